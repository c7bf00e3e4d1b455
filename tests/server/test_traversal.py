"""Names and paths that lead elsewhere, in every parameter: nothing outside of the home folder is read or written."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests import tiny
from tests.server.caller import Answer, Caller, calling
from tests.server.furnished import Furnished, furnish
from tests.server.parameters import Operation, operations

CANARY = "canary-5d1f0c"
NAMED = {
    "model_path", "train_data_path", "val_data_path", "init_adapter", "adapter_name", "resume", "model_name",
    "adapters", "path", "name", "model", "lora_keys", "settings", "changes",
}  # fmt: skip
"""Fields of bodies that name something; others hold text that nobody takes for a name."""
DOTS = [
    "..", "%2e%2e", "%252e%252e", "%25252e%25252e", ".%2e", "%2e.", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae",
    "%u002e%u002e", "．．", "․․", "‥", "..;", "..%00", "..%09", "..%0d%0a", ".. ", "...", "....", ". .",
    "..\u200b", "\u202e..",
]  # fmt: skip
SLASHES = [
    "/", "%2f", "%252f", "\\", "%5c", "%255c", "%c0%af", "%e0%80%af", "%u2215", "／", "∕", "⁄", "＼", "//", "/./",
    "\\/",
]  # fmt: skip
ODD = [
    "~", "~/", "~root", "~+", "$HOME", "${HOME}", "%HOME%", "`pwd`", "$(pwd)", "file:///etc/passwd",
    "file://localhost/etc", "\\\\127.0.0.1\\share\\x", "//127.0.0.1/share/x", "\\\\?\\C:\\x", "C:\\Windows\\win.ini",
    "C:/Windows/win.ini", "C:x", "CON", "con.jsonl", "NUL", "AUX", "COM1", "LPT1.txt", "x.jsonl::$DATA", "x.jsonl.",
    "x.jsonl ", " x.jsonl", ".x", "-x", "--help", ".", "..", "./", "../", "/", "//", "///", "/.", "/..", "/./..",
    "\\", "x/..", "x/../..", "x/.", "x//y", "/proc/self/environ", "/proc/self/cwd/x", "/proc/self/task/1/root",
    "/dev/stdin", "/dev/fd/0", "/dev/null", "/etc/passwd", "/etc/passwd%00.jsonl", "/etc/passwd\0.jsonl",
    "/etc/passwd#.jsonl", "/etc/passwd?.jsonl", "/etc/passwd;.jsonl", "hub:../../etc", "hub:/etc/passwd",
    "hub:a/../../etc", "hub:..", "a/../b", "../a", "a/..", "till@../../x", "till@/etc/passwd", "tiny:../x",
    "tiny:/etc", "tiny:till@..", "x\ny", "x\r\ny", "x\ty", "x" * 255, "x" * 256, "x" * 5000, "/" + "x/" * 2500,
    "../" * 1700, "ＴＩＬＬ", "tiłl", "TILL", "Tiny", "ﬁle", "ſerver", unicodedata.normalize("NFD", "é"),
    unicodedata.normalize("NFC", "é"), "server", "server/token", "../server/token", ".droidft", "sessions.json",
    "lock", "..%5c..%5cserver%5ctoken", "till/../../server/token", "chat.jsonl/../../server/token",
]  # fmt: skip

OPENED: list[str] = []
WATCHED: list[str] = []
EVENTS = {
    "open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
    "os.truncate", "shutil.copyfile", "shutil.copytree", "shutil.rmtree", "shutil.move", "glob.glob",
}  # fmt: skip


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note every file of a watched folder that this process touches."""
    if WATCHED and event in EVENTS:
        for given in arguments[:2]:
            if isinstance(given, str | bytes | os.PathLike):
                place = os.path.abspath(os.fsdecode(given))
                if any(place == folder or place.startswith(f"{folder}/") for folder in WATCHED):
                    OPENED.append(f"{event} {place}")


sys.addaudithook(watch)


class Place:
    """A home folder, and beside it what must not be reached."""

    def __init__(self, root: Path) -> None:
        self.known: Furnished = furnish(root / "home")
        self.home = self.known.home
        self.outside = root / "outside"
        self.outside.mkdir()
        (self.outside / "secret.jsonl").write_text(json.dumps({"text": CANARY}) + "\n")
        tiny.write_model(self.outside / "model", canary=CANARY)
        shutil.copytree(self.home / "adapters" / "till", self.outside / "adapter", symlinks=True)
        shutil.copytree(self.home / "runs" / self.known.run, self.outside / "run")
        (self.home / "data" / "link.jsonl").symlink_to(self.outside / "secret.jsonl")
        (self.home / "data" / "linked").symlink_to(self.outside)
        (self.home / "runs" / "linked").symlink_to(self.outside / "run")

    def payloads(self) -> list[str]:
        """Some 550 names and paths."""
        targets = ["outside/secret.jsonl", "outside/model", "outside/adapter", "outside/run"]
        made = [*ODD, *(str(self.outside.parent / target) for target in targets)]
        made += [f"{self.home}/../{target}" for target in targets]
        for number, (dots, slash) in enumerate(product(DOTS, SLASHES)):
            begin, *end = ("x", "outside", "model") if number % 3 else ("", "outside", "secret.jsonl")
            made.append(slash.join([*begin, *[dots] * (1 + number % 4), *end]))
        for depth in range(1, 9):
            made += ["../" * depth + target for target in targets]
            made.append("..%2f" * depth + "etc%2fpasswd")
        made += [
            "data/link.jsonl",
            "link.jsonl",
            "linked",
            "linked/secret.jsonl",
            str(self.home / "data" / "link.jsonl"),
        ]
        made += [str(self.home / "data" / "linked" / "secret.jsonl"), str(self.home / "server" / "token")]
        return list(dict.fromkeys(made))

    def around(self) -> dict[str, str]:
        """Every file outside of the home folder, with a hash of its content."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for path in self.home.parent.rglob("*")
            if not path.is_relative_to(self.home)
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("traversal")
    (root / "home").mkdir()
    return Place(root)


@pytest.fixture(autouse=True)
def environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DROIDFT_HOME", str(place.home))
    monkeypatch.chdir(place.home)


def test_the_payloads_are_many(place: Place) -> None:
    assert len(place.payloads()) >= 500


def test_nothing_outside_is_reached_by_any_parameter(place: Place) -> None:
    async def check() -> Counter[int]:
        statuses: Counter[int] = Counter()
        async with calling(place.home) as caller:
            token, payloads = caller.token, place.payloads()
            for operation in operations(caller.app.openapi()):
                for number, payload in enumerate(payloads):
                    async for where, answer in ask(caller, operation, place.known, number, payload):
                        statuses[answer.status] += 1
                        for fault in faults(answer, [CANARY, token], str(place.outside)):
                            told = f"{operation.id} {where}={payload[:100]!r} {answer.status} {answer.body[:200]!r}"
                            found.append(f"{fault}: {told}")
        return statuses

    found: list[str] = []
    before = place.around()
    WATCHED[:] = [str(place.outside), str(place.home / "server" / "token"), "/etc", "/dev/stdin"]
    try:
        statuses = asyncio.run(check())
    finally:
        WATCHED.clear()
    print(statuses.total(), sorted(statuses.items()))
    assert not found, f"{len(found)}\n" + "\n".join(found[:50])
    assert place.around() == before
    assert not [item for item in OPENED if not item.endswith("/server/token")], OPENED[:20]
    assert statuses.total() >= 10_000
    stray = [
        path.name for path in (place.home / "data").iterdir() if not path.name.isascii() or path.name.startswith(".")
    ]
    assert not stray


async def ask(
    caller: Caller, operation: Operation, known: Furnished, number: int, payload: str
) -> AsyncIterator[tuple[str, Answer]]:
    """The answers of an operation to a payload in each of its parameters."""
    body = json.dumps(operation.body(known)).encode() if operation.fields else b""
    for name, (where, schema) in operation.parameters.items():
        if where == "header" or schema.get("type") in ("integer", "boolean"):
            continue
        if name == "keys" and len(payload) % 10:
            continue  # names of modules: each is looked for in the model itself, which takes a while
        forms = [quote(payload, safe=""), quote(payload, safe="/%;:@\\~$`()")]
        if "pattern" in schema:
            # Many addresses take a name of one pattern: each gets every sixth of all, in turns.
            turn = number + len(operation.id)
            forms = [forms[turn % 2]] if turn % 6 < 2 else []
        for written in forms:
            if operation.id == "uploadData":
                headers = {"content-type": "application/octet-stream"}
                target = operation.target(known, name, written)
                yield name, await caller.call("PUT", target, b'{"text": "x"}\n', headers)
            else:
                yield name, await caller.call(operation.method, operation.target(known, name, written), body)
    for name in operation.fields.keys() & NAMED:
        value: Any = payload
        if name in ("adapters", "lora_keys"):
            value = [payload]
        elif name in ("settings", "changes"):
            value = {"val_data_path": payload}
        changed = json.dumps(operation.body(known) | {name: value}).encode()
        yield name, await caller.call(operation.method, operation.target(known), changed)


def faults(answer: Answer, secrets: list[str], outside: str) -> list[str]:
    """Defects, secrets, and success with what lies outside. An error may repeat what was asked for."""
    found = [f"tells {secret}" for secret in secrets if secret.encode() in answer.body]
    if answer.status >= 500:
        found.append("is a defect")
    if (
        answer.status < 300
        and outside.encode() in answer.body
        and b'"error"' not in answer.body
        and b'"problem"' not in answer.body
    ):
        found.append("takes it")
    return found
