"""What no client should send, to every address: the answer is a sentence, never a defect."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest

from droidft.support import strict_json
from tests.server.caller import Answer, calling
from tests.server.furnished import Furnished, furnish
from tests.server.parameters import Operation, operations

HUGE = "9" * 5001

BODIES = [
    b"", b" ", b"\n", b"{", b"}", b"[", b"]", b"{]", b"[}", b'"', b"'", b",", b":", b"{,}", b"[,]", b"[1,]", b'{"a"}',
    b'{"a":}', b'{"a":1,}', b"{'a':1}", b"{a:1}", b"{1:1}", b'{"a" 1}', b'{"a":1}}', b'{"a":1}{"b":1}', b"{} []",
    b"nul", b"NULL", b"None", b"True", b"undefined", b"NaN", b"Infinity", b"-Infinity", b"+1", b"01", b".5", b"5.",
    b"1e", b"0x10", b"1_000", b"--1", b"1e999", b"-1e999", HUGE.encode(), b"-" + HUGE.encode(), b"1." + HUGE.encode(),
    b"null", b"true", b"0", b"-0", b"1.5", b'""', b'"x"', b"[]", b"[[]]", b"[null]", b"[{}]", b"{}",
    b'{"":null}', b'{"__proto__":{}}', b'{"constructor":1}', b'{"a":1,"a":2}', b'{"\\u0000":1}', b'{"a":"\x00"}',
    b'{"a":"\x01"}', b'{"a":"\t"}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":"\\ud800"}', b'{"a":"\\udc00\\ud800"}',
    b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}', b"\xef\xbb\xbf{}", "{}".encode("utf-16"),
    "{}".encode("utf-32"), b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"<?xml version='1.0'?><a/>", b"a=1&b=2", b"--x\r\n",
    b"[" * 101 + b"]" * 101, b'{"a":' * 101 + b"1" + b"}" * 101, b"[" * 100_000, b'{"a":' * 100_000,
    b'"' + b"x" * 1_000_000 + b'"', b'{"' + b"k" * 1_000_000 + b'":1}', b"[" + b"0," * 200_000 + b"0]",
    b"{" + b",".join(b'"k%d":0' % n for n in range(20_000)) + b"}",
    b"{" + b",".join(b'"k%d":0' % n for n in range(20_000)) + b',"k0":1}', b"\x00" * 100, b"// x\n{}", b"/* */{}",
]  # fmt: skip
VALUES = [
    "null", "true", "false", "0", "-0", "-0.0", "1", "-1", "0.5", "1e-320", "1e308", "-1e308", "2147483648",
    "-2147483649", "9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
    "18446744073709551616", HUGE, "1e999", "NaN", "-Infinity", '""', '" "', '"\\n"', '"x"', '"0"', '"true"', '"null"',
    '"NaN"', '"1e5"', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d\\ude00"', '"\\ufeff"',
    '"\\ufffe\\uffff"', '"\\u202e\\u2066"', '"\\u001b[2J"', '"\\u007f"', '"e\\u0301"', '"\\ud835\\udc00"',
    '"' + "a\\u0300" * 2000 + '"', '"' + "x" * 300 + '"', '"' + "x" * 5000 + '"', '"' + "x" * 200_000 + '"',
    '"' + "/" * 5000 + '"', '"../../../../etc/passwd"', '"/etc/passwd"', '"/dev/zero"', '"/proc/self/mem"', '"~"',
    '"~/.ssh/id_rsa"', '"~nobody/x"', '"file:///etc/passwd"', '"http://127.0.0.1:1/"', '"hub:a/b"', '"hub:"',
    '"a/b"', '"a/b/c"', '"C:\\\\x"', '"\\\\\\\\host\\\\x"', '"-rf"', '"--help"', '"$(id)"', '"`id`"', '"; id"',
    '"%s%n"', '"{0.__class__}"', '"{{7*7}}"', '"!!python/object/apply:os.system [id]"', '"<script>alert(1)</script>"',
    '"\' OR 1=1 --"', '"\\"\\"\\"+__import__(\\"os\\")+\\"\\"\\""', '"CON"', '"nul."', '"..."', '"a."', '"a "',
    "[]", "[null]", "[[]]", '[""]', '["x"]', "[1]", "[-1]", '["x","x"]', "[" + "0," * 5000 + "0]", "{}", '{"a":1}',
    '{"a":{"b":[]}}', "[" * 90 + "]" * 90, '{"type":"x"}', "[" + "null," * 10 + "null]", "[1e999]", '{"":""}',
]  # fmt: skip
TEXTS = [
    "", " ", "\t", "\n", "\r\n", "\0", "a\0", "\x7f", "\x1b[2J", "0", "-0", "-1", "+1", "1.0", "1e3", "1e999", "NaN",
    "inf", HUGE, "-" + HUGE, "9223372036854775808", "9007199254740993", "0x10", "１２", "٣", "²", "true", "null",
    "None", "[]", "{}", "x" * 65, "x" * 300, "x" * 5000, "é", "e\u0301", "\u202e", "\ufeff", "\U0001f600", "..", ".",
    "...", "/", "//", "a/b", "a/../b", "\\", "~", "a:b", "a@b", "a", "@best", "till@", "till@best", "till@-1",
    "till@99999999999", "%", "%00", "%2e%2e", "a%", "&", "=", "?", "#", ";", "$(id)", "`id`", "'", '"', "<b>", "*",
    "|", "-rf", "--help", "CON", "latest", "best", "0" * 9, "20261124-000000-x",
]  # fmt: skip
RAW_TEXTS = ["%", "%0", "%zz", "%ff", "%c0%af", "%ed%a0%80", "%u0041", "%25%30%30", "a&run=b", "%2", "+"]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    return furnish(tmp_path_factory.mktemp("poison"))


@pytest.fixture(autouse=True)
def offline(known: Furnished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DROIDFT_HOME", str(known.home))


class Findings:
    """Counts answers, and keeps those that are no answer to bad input."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.defects: list[str] = []

    def note(self, answer: Answer, operation: Operation, what: object) -> None:
        self.statuses[answer.status] += 1
        if answer.status >= 400:
            assert answer.error["code"]
        if answer.status >= 500:
            self.defects.append(f"{operation.id} {what!r:.120} -> {answer.status} {answer.body[:200]!r}")

    def judge(self, *, least: int) -> None:
        print(self.statuses.total(), sorted(self.statuses.items()))
        assert not self.defects, f"{len(self.defects)} defects:\n" + "\n".join(self.defects[:40])
        assert self.statuses.total() >= least


def test_the_corpus_is_large_and_without_repetition() -> None:
    assert len(set(BODIES)) == len(BODIES)
    assert len(set(VALUES)) == len(VALUES)
    assert len(BODIES) + len(VALUES) >= 150
    assert len(set(TEXTS)) >= 75


def test_bodies_that_are_no_json_or_of_another_kind(known: Furnished) -> None:
    async def check() -> Findings:
        found = Findings()
        async with calling(known.home) as caller:
            for operation in operations(caller.app.openapi()):
                if operation.method in ("GET", "DELETE"):
                    continue
                for body in BODIES:
                    answer = await caller.call(operation.method, operation.target(known), body)
                    found.note(answer, operation, body)
                    if body.strip() and operation.id != "uploadData" and not _is_strict(body):
                        assert (answer.status, answer.error["code"]) == (400, "json"), (operation.id, body[:80])
        return found

    asyncio.run(check()).judge(least=1500)


def test_fields_with_values_of_any_kind(known: Furnished) -> None:
    async def check() -> Findings:
        found = Findings()
        async with calling(known.home) as caller:
            for operation in operations(caller.app.openapi()):
                fields = list(operation.fields)
                if not fields or operation.id == "login":
                    continue
                right = {name: json.dumps(value) for name, value in operation.body(known).items()}
                for number, value in enumerate(VALUES):
                    for wrong in ([fields[number % len(fields)]], fields):
                        mixed = right | dict.fromkeys(wrong, value)
                        if value not in ("null", "true") and "max_tokens" in mixed and wrong is not fields:
                            mixed["max_tokens"] = "2"  # a long answer is not what this is about
                        text = "{" + ",".join(f"{json.dumps(name)}:{item}" for name, item in mixed.items()) + "}"
                        answer = await caller.call(operation.method, operation.target(known), text.encode())
                        found.note(answer, operation, (wrong[:2], value))
        return found

    asyncio.run(check()).judge(least=1500)


def test_parameters_with_texts_of_any_kind(known: Furnished) -> None:
    async def check() -> Findings:
        found = Findings()
        texts = [*map(quote, TEXTS), *(quote(text, safe="") for text in TEXTS if "/" in text), *RAW_TEXTS]
        async with calling(known.home) as caller:
            for operation in operations(caller.app.openapi()):
                body = json.dumps(operation.body(known)).encode() if operation.fields else b""
                for name, (place, _) in operation.parameters.items():
                    for text in texts:
                        if place == "header":
                            headers = {name: text}
                            answer = await caller.call(operation.method, operation.target(known), body, headers)
                        else:
                            target = operation.target(known, name, text)
                            answer = await caller.call(operation.method, target, body)
                        found.note(answer, operation, (name, text))
        return found

    asyncio.run(check()).judge(least=1500)


def test_files_of_any_kind_can_be_uploaded_and_judged(known: Furnished) -> None:
    """The same bodies as data files: the check names what is wrong, or finds nothing wrong."""

    async def check() -> Findings:
        found = Findings()
        async with calling(known.home) as caller:
            chosen = {item.id: item for item in operations(caller.app.openapi())}
            headers = {"content-type": "application/octet-stream"}
            for number, body in enumerate(BODIES):
                target = f"/api/data/files/poison{number}.jsonl"
                answer = await caller.call("PUT", target, body, headers)
                found.note(answer, chosen["uploadData"], body)
        return found

    asyncio.run(check()).judge(least=len(BODIES))


def _is_strict(body: bytes) -> bool:
    try:
        strict_json.parse(body)
    except strict_json.Refused:
        return False
    return True


def test_the_corpus_is_kept_out_of_this_folder(known: Furnished) -> None:
    assert not (Path.cwd() / "poison0.jsonl").exists()
