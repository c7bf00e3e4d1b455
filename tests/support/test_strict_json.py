"""The JSON of requests: what passes is the same value for every reader, and what does not has its reason."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droidft.support import strict_json
from droidft.support.strict_json import Refused, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_is_json_comes_back_as_it_was(value: Any, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_refused(raw: bytes) -> None:
    try:
        value = parse(raw)
    except Refused:
        pass
    else:
        assert json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("NaN", "nan"), ("[Infinity]", "nan"), ("1e309", "overflow"), ("-1e309", "overflow"),
        ("9223372036854775808", "number"), ("-9223372036854775809", "number"), ("1" * 5000, "number"),
        ('{"a":1,"a":1}', "duplicate-key"), ('{"a":{"b":1,"b":2}}', "duplicate-key"), ('"\\ud800"', "surrogate"),
        ('{"\\udfff":1}', "surrogate"), ('"\\u0000"', "nul"), ('{"\\u0000":1}', "nul"), ('"\0"', "control"),
        ("\0", "nul"), ("[" * 101 + "]" * 101, "depth"), ("[" * 100_000, "depth"), ("\ufeff1", "bom"),
        ("", "cut-off"),
        ('"a', "cut-off"), ("[1", "cut-off"), ("1 2", "extra"), ("{} {}", "two-values"), ("[1,]", "trailing-comma"),
        ("{'a':1}", "single-quotes"), ("nope", "json"),
    ],
)  # fmt: skip
def test_each_fault_has_its_name(text: str, kind: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text.encode())
    assert refused.value.kind == kind
    assert refused.value.reason
    assert refused.value.fix


@pytest.mark.parametrize(
    "text", ["9223372036854775807", "-9223372036854775808", "1e308", "[" * 100 + "]" * 100, " 1 "]
)
def test_the_limits_themselves_are_allowed(text: str) -> None:
    assert parse(text.encode()) is not None


def test_bombs_are_refused_quickly() -> None:
    many = b'{"a":0,' + b",".join(b'"%d":0' % n for n in range(300_000)) + b',"a":0}'
    bombs = [
        b"[" * 5_000_000,
        b"[" + b"0," * 5_000_000 + b"0]",
        many,
        b"9" * 10_000_000,
        b'"' + b"\\ud83d" * 1_000_000 + b'"',
    ]
    for bomb in bombs:
        begun = time.process_time()
        with pytest.raises(Refused):
            parse(bomb)
        assert time.process_time() - begun < 5, bomb[:10]


def test_many_commas_in_a_text_are_no_many_values() -> None:
    assert parse(json.dumps({"prompt": "," * 1_000_000}).encode())
    with pytest.raises(Refused, match="values"):
        parse(b"[" + b"0," * strict_json.MOST_VALUES + b"0]")
