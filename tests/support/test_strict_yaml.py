"""YAML texts that are refused, each with its line, before anything large is built from them."""

from __future__ import annotations

import json
import time

import pytest

from droidft.support import strict_yaml
from droidft.support.strict_json import MAX_DEPTH, MOST_VALUES, Refused

BOMB = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30))
LISTS = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "duplicate-key", "line 3: has 'a' a second time, first in line 1"),
        ('{"a": 1, "a": 2}', "duplicate-key", "line 1: has 'a' a second time"),
        ("a:\n  - b: 1\n    c: 2\n    b: 1\n", "duplicate-key", "line 4: has 'b' a second time, first in line 2"),
        ("1: a\n1: b\n", "duplicate-key", "line 2: has 1 a second time"),
        ("a: &x 1\nb: *x\n", "alias", r"line 2: refers to another place \(\*x\)"),
        ("a: &a\n  b: *a\n", "alias", "line 2"),
        ("a: {<<: {b: 1}}\n", "merge", "line 1: merges another value"),
        (BOMB, "alias", "line 2"),
        (LISTS, "alias", "line 2"),
        ("[" * 200_000, "depth", f"more than {MAX_DEPTH} levels"),
        ("\n".join(" " * i + "a:" for i in range(400)), "depth", "line 100: is nested more than"),
        ("- " * 5000 + "a", "depth", "line 1"),
        ("{a: " * 5000, "depth", "line 1"),
        ("? " * 5000 + "a", "depth", "line 1"),
        ("[" + "1," * (MOST_VALUES + 1) + "1]", "many", "more than 20,000 values"),
        ("a" * (strict_yaml.MAX_BYTES + 1), "size", "more than 1 MB"),
        ("a: 2026-02-30\n", "yaml", "day is out of range"),
        ("a: " + "9" * 5000, "yaml", "is not valid YAML"),
        ("[a, b]: 1\n", "name", "line 1: has a name that is no text"),
        ("a: [1\n", "yaml", r"\(line 2, column 1\)"),
        ("a: \x07\n", "yaml", "is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "yaml", "could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", "yaml", "expected a single document"),
    ],
    ids=lambda part: part[:20].strip() if isinstance(part, str) else None,
)
def test_refused_at_once_with_the_line(text: str, kind: str, words: str) -> None:
    start = time.process_time()
    with pytest.raises(Refused, match=words) as caught:
        strict_yaml.parse(text)
    assert caught.value.kind == kind
    assert time.process_time() - start < 5


def test_everything_else_is_read_as_pyyaml_reads_it() -> None:
    text = "a: 1\nb: [x, {c: 2.5, d: null}]\n'yes': on\nanchor: &here 3\ntext: |\n  two\n  lines\n"
    values = {"a": 1, "b": ["x", {"c": 2.5, "d": None}], "yes": True, "anchor": 3, "text": "two\nlines\n"}
    assert strict_yaml.parse(text) == values
    assert strict_yaml.parse(json.dumps(values)) == values
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert strict_yaml.parse(deep) == json.loads(deep)
    assert strict_yaml.parse("") is None
