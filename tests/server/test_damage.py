"""Every file that the program writes, damaged in every way between two reads: a sentence, never a defect; one bad
folder never takes a list along.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from droidft import cli
from droidft.home import Home
from tests.conftest import own_cache
from tests.experiments import furnished as plans
from tests.server.caller import Caller, calling
from tests.server.furnished import Furnished, furnish


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _surrogate(path: Path) -> None:
    """Half of a character pair as the first string value, or where there is none, instead of everything."""
    text = path.read_text(errors="replace")
    before, colon, after = text.partition('": "')
    path.write_text(f"{before}{colon}\\ud800{after}" if colon else '"\\ud800"\n')


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing-here")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": _half,
    "emptied": lambda path: path.write_bytes(b""),
    "null": lambda path: path.write_text("null\n"),
    "a list": lambda path: path.write_text("[1]\n"),
    "a string": lambda path: path.write_text('"x"\n'),
    "an empty object": lambda path: path.write_text("{}\n"),
    "deep": lambda path: path.write_text("[" * 200_000),
    "deep objects": lambda path: path.write_text('{"a":' * 5000 + "1" + "}" * 5000),
    "not UTF-8": lambda path: path.write_bytes(b'{"a": "\xff"}\n'),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "half a character": _surrogate,
    "huge numbers": lambda path: path.write_text('{"a": ' + "9" * 5000 + "}\n"),
    "removed": lambda path: path.unlink(),
    "a folder": _folder,
    "a link to nothing": _link_to_nothing,
    "a pipe": _pipe,
}


@dataclass(frozen=True)
class Kept:
    """A file that holds state: where it lies, and which routes have to name it where it is damaged.

    `tolerated`: it can be made again, or what is left of it still says something.
    """

    pattern: str
    tolerated: bool = False


FILES = [
    Kept("runs/{run}/config.json"),
    Kept("runs/{run}/events.jsonl", tolerated=True),
    Kept("runs/{run}/worker.json", tolerated=True),
    Kept("runs/{run}/log.txt", tolerated=True),
    Kept("runs/{run}/checkpoints/*/state.json", tolerated=True),
    Kept("runs/{run}/checkpoints/*/manifest.json", tolerated=True),
    Kept("runs/{run}/checkpoints/*/adapter.safetensors", tolerated=True),
    Kept("runs/{experiment}.full.s0/measure.json", tolerated=True),
    Kept("runs/{experiment}.full.s0/measured.json", tolerated=True),
    Kept("runs/{experiment}.full.s0/config.json"),
    Kept("runs/{experiment}.full.s0/events.jsonl", tolerated=True),
    Kept("experiments/{experiment}/request.json"),
    Kept("experiments/{experiment}/plan.json", tolerated=True),
    Kept("experiments/{experiment}/wanted.json", tolerated=True),
    Kept("experiments/{experiment}/driver.json", tolerated=True),
    Kept("adapters/till/adapter_config.json"),
    Kept("adapters/till/0000004_adapters.safetensors"),
    Kept("adapters/till/.run", tolerated=True),
    Kept("models/tiny/config.json"),
    Kept("models/tiny/model.safetensors", tolerated=True),
    Kept("models/tiny/tokenizer.json", tolerated=True),
    Kept("models/tiny/tokenizer_config.json", tolerated=True),
    Kept("models/tiny/generation_config.json", tolerated=True),
    Kept("models/tiny/model.safetensors.index.json", tolerated=True),
    Kept("cache/fingerprints.json", tolerated=True),
    Kept("server/sessions.json", tolerated=True),
    Kept("server/server.sqlite", tolerated=True),
    Kept("data/chat.jsonl", tolerated=True),
]


@dataclass(frozen=True)
class Place:
    """A home folder with something of everything."""

    known: Furnished
    experiment: str

    @property
    def home(self) -> Path:
        return self.known.home

    def file(self, kept: Kept) -> Path:
        pattern = kept.pattern.format(run=self.known.run, experiment=self.experiment)
        return next(iter(sorted(self.home.glob(pattern))))

    def routes(self, kept: Kept) -> list[str]:
        """Those that may read the file, and all lists."""
        room = kept.pattern.partition("/")[0]
        rooms = {"runs": ("runs", "diff", "experiments"), "adapters": ("adapters", "v1", "runs"), "data": ("data",)}
        rooms |= {
            "models": ("models", "v1", "adapters"),
            "cache": ("adapters", "models"),
            "server": ("runs", "queue"),
        }
        wanted = rooms.get(room, (room,))
        lists = {"/api/runs", "/api/models", "/api/adapters", "/api/experiments"}
        return [route for route in self._routes if route in lists or any(f"/{part}" in route for part in wanted)]

    @property
    def _routes(self) -> list[str]:
        run, experiment = f"/api/runs/{self.known.run}", f"/api/experiments/{self.experiment}"
        cell = f"/api/runs/{self.experiment}.full.s0"
        return [
            "/api/runs", run, f"{run}/curves", f"{run}/completions", f"{run}/events", f"{run}/log",
            f"{run}/report.html", f"{run}/export.json", cell, f"{cell}/curves", f"/api/diff?run={self.known.run}"
            f"&run={self.experiment}.full.s0", "/api/queue", "/api/models", "/api/models/tiny/targets",
            "/api/adapters", "/api/adapters/till", "/api/adapters/till?model=tiny", "/api/experiments", experiment,
            f"{experiment}/report?form=json", f"{experiment}/report?form=html", "/api/data", "/v1/models",
        ]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    known = furnish(tmp_path_factory.mktemp("damage"))
    own_cache(known.home)  # the tests' shared cache stays whole
    folder = tmp_path_factory.mktemp("experiment")
    home = Home(known.home)
    plan = plans.plan(folder, plans.furnish(folder, rows=24), seeds=[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROIDFT_HOME", str(known.home))
        experiment, fixed = plans.planned(home, plan)
        plans.finish(experiment, fixed)
    model = known.home / "models" / "tiny"
    for name, values in (
        ("generation_config.json", {"eos_token_id": 2}),
        ("model.safetensors.index.json", {"metadata": {}, "weight_map": {"x": "model.safetensors"}}),
    ):
        (model / name).write_text(json.dumps(values))
    (known.home / "server").mkdir(exist_ok=True)
    (known.home / "server" / "sessions.json").write_text("{}")
    return Place(known, experiment.id)


@dataclass(frozen=True)
class Opened:
    """The application on the place, for all files, and the loop that it runs in."""

    caller: Caller
    loop: asyncio.Runner


@pytest.fixture(scope="module")
def opened(place: Place) -> Iterator[Opened]:
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as loop:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("DROIDFT_HOME", str(place.home))
        application = calling(place.home)
        yield Opened(loop.run(application.__aenter__()), loop)
        loop.run(application.__aexit__(None, None, None))


@pytest.fixture(autouse=True)
def offline(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DROIDFT_HOME", str(place.home))


@contextmanager
def damaged(path: Path, damage: Callable[[Path], object], aside: Path) -> Iterator[None]:
    """Damage a file, and put it back as it was."""
    shutil.copy2(path, aside)
    damage(path)
    try:
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        shutil.copy2(aside, path)


async def _look(caller: Caller) -> None:
    supervisor = caller.app.state.droidft.supervisor
    supervisor._scanned = 0.0
    await supervisor.look()


@pytest.mark.parametrize("kept", FILES, ids=lambda kept: kept.pattern)
def test_a_damaged_file_is_a_sentence_at_every_route(
    kept: Kept, place: Place, opened: Opened, tmp_path: Path
) -> None:
    path, caller = place.file(kept), opened.caller
    aside = tmp_path / "aside"

    async def check() -> list[str]:
        faults = []
        for name, damage in DAMAGES.items():
            with damaged(path, damage, aside):
                await _look(caller)
                named = False
                for route in place.routes(kept):
                    answer = await asyncio.wait_for(caller.call("GET", route), 60)
                    named = named or path.name.rpartition("_")[2] in answer.body.decode(errors="replace")
                    if answer.status >= 500:
                        faults.append(f"{name}: {route} -> {answer.status} {answer.body[:300]!r}")
                    elif answer.status >= 400:
                        assert answer.error["message"]
                    if route in ("/api/runs", "/api/models", "/api/adapters", "/api/experiments"):
                        assert answer.status == 200, (name, route, answer.body)
                if not named and not kept.tolerated and name != "huge numbers":
                    faults.append(f"{name}: no route names {path.name}")
            await _look(caller)
        state = json.loads((await caller.call("GET", f"/api/runs/{place.known.run}")).body)
        assert state["summary"]["state"] == "finished", "put back, it is what it was"
        return faults

    faults = opened.loop.run(check())
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("kept", FILES, ids=lambda kept: kept.pattern)
def test_a_damaged_file_is_a_sentence_in_the_terminal(
    kept: Kept, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place.file(kept)
    commands = [
        ["runs"], ["runs", "list", "--json"], ["runs", "show", place.known.run],
        ["runs", "show", place.known.run, "--json"], ["models"], ["models", "list", "--json"], ["adapters"],
        ["adapters", "list", "--json"], ["adapters", "show", "till"], ["experiments"],
        ["experiments", "list", "--json"], ["experiments", "show", place.experiment],
        ["experiments", "report", place.experiment, "--out", "-"],
    ]  # fmt: skip
    for name, damage in DAMAGES.items():
        with damaged(path, damage, tmp_path / "aside"):
            for words in commands:
                status = cli.main(words)
                shown = capsys.readouterr()
                assert status in (0, 1), (name, words, shown.err)
                if words[1:2] != ["show"] and words[1:2] != ["report"]:
                    assert status == 0, (name, words, shown.err)
                if status:
                    assert shown.err.startswith("error: ") or '"error"' in shown.out, (name, words, shown)


ODD_NAMES = ["r1 copy", "é", "x" * 65, "-rf", "a b%2Fc", "\udcff", "%00"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_run_with_an_odd_name_is_shown_and_can_be_deleted(name: str, place: Place) -> None:
    source = place.home / "runs" / place.known.run
    odd = place.home / "runs" / name
    shutil.copytree(source, odd)

    async def check() -> None:
        async with calling(place.home) as caller:
            runs = json.loads((await caller.call("GET", "/api/runs")).body)
            assert {run["state"] for run in runs if run["id"] == place.known.run} == {"finished"}
            shown = name.encode("utf-8", "backslashreplace").decode()
            [entry] = [run for run in runs if run["id"] == shown]
            assert entry["state"] == "unreadable"
            assert "name" in entry["problem"]["message"]
            target = f"/api/runs/{quote(shown, safe='')}"
            assert (await caller.call("GET", target)).error["code"] == "run"
            assert (await caller.call("DELETE", target)).status == 204
        assert not os.path.lexists(odd)
        assert (place.home / "adapters" / "till").is_dir()

    try:
        asyncio.run(check())
    finally:
        shutil.rmtree(odd, ignore_errors=True)


@pytest.mark.parametrize("inner", ["events.jsonl", "checkpoints", "worker.json", "log.txt", "config.json"])
def test_a_run_with_an_odd_part_is_deletable(inner: str, place: Place) -> None:
    odd = place.home / "runs" / "odd"
    shutil.copytree(place.home / "runs" / place.known.run, odd)
    part = odd / inner
    if part.is_dir():
        shutil.rmtree(part)
        part.write_text("x")
    else:
        part.unlink()
        part.mkdir()

    async def check() -> None:
        async with calling(place.home) as caller:
            runs = {run["id"]: run for run in json.loads((await caller.call("GET", "/api/runs")).body)}
            assert runs["odd"]["state"] == ("finished" if inner == "log.txt" else "unreadable")
            if inner != "log.txt":
                assert inner in runs["odd"]["problem"]["message"]
            assert runs[place.known.run]["state"] == "finished"
            assert (await caller.call("DELETE", "/api/runs/odd")).status == 204
        assert not odd.exists()

    asyncio.run(check())


def test_a_plan_that_was_edited_after_its_runs_is_not_reported(place: Place) -> None:
    path = place.home / "experiments" / place.experiment / "plan.json"
    whole = path.read_text()
    path.write_text(whole.replace('"learning_rate": 0.01', '"learning_rate": 0.5'))
    assert path.read_text() != whole

    async def check() -> None:
        async with calling(place.home) as caller:
            for route in ("", "/report?form=json", "/report?form=md"):
                answer = await caller.call("GET", f"/api/experiments/{place.experiment}{route}")
                assert answer.status == 409, answer.body
                assert "was trained with learning_rate 0.01, and the plan has 0.5" in answer.error["message"]
                assert "plan.json" in answer.error["message"]

    try:
        asyncio.run(check())
    finally:
        path.write_text(whole)
