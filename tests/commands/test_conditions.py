"""Every command under conditions that a user can meet: a sentence each time, and never a traceback.

The commands come from the program itself, so a new one is tested without a line here; `ARGUMENTS` says what those
need that take more than their name.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from droidft import cli
from tests import old_home
from tests.tiny import write_model

ARGUMENTS = {
    "train": ["--model-path", "nothing", "--train-data-path", "nothing.jsonl"],
    "resume": ["last"],
    "runs show": ["last"],
    "runs watch": ["last"],
    "runs stop": ["last"],
    "runs delete": ["last"],
    "models pull": ["acme/tiny", "--offline"],
    "models import": ["nothing"],
    "models inspect": ["nothing"],
    "models delete": ["nothing", "--yes"],
    "adapters show": ["nothing"],
    "adapters pack": ["nothing"],
    "adapters import": ["nothing"],
    "adapters delete": ["nothing"],
    "export": ["nothing", "--to", "peft"],
    "exports show": ["nothing"],
    "exports delete": ["nothing", "--yes"],
    "data check": ["nothing.jsonl"],
    "data stats": ["nothing.jsonl", "--model", "nothing"],
    "data show": ["nothing.jsonl", "--model", "nothing"],
    "rewards try": ["--model-path", "nothing", "--train-data-path", "nothing.jsonl", "--method", "grpo"],
    "chat": ["--model", "nothing", "--prompt", "hello"],
    "compare": ["--model", "nothing", "--adapter", "nothing", "--prompt", "hello"],
    "experiment": ["nothing", "--plan-only"],
    "experiments show": ["last"],
    "experiments stop": ["last"],
    "experiments report": ["last"],
    "experiments delete": ["last", "--yes"],
    "demo": ["--questions", "0"],
    "serve": ["--no-browser", "--port", "0", "--parallel", "0"],
}
WITHOUT_JSON = {"demo"}
"""What shows itself to a person alone."""
ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "ascii": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    "home is a file": {"DROIDFT_HOME": "/dev/null/home"},
    "home cannot be made": {"DROIDFT_HOME": "/proc/nothing/home"},
    "no home": {"HOME": None, "DROIDFT_HOME": "~nobody-of-that-name/home"},
    "home is not in UTF-8": {"DROIDFT_HOME": "/tmp/nothing\udce9"},
    "proxies": {"ALL_PROXY": "socks5://127.0.0.1:1", "http_proxy": "nonsense", "HTTPS_PROXY": "http://x:y"},
}
FAST = ("config", "rewards list")
"""Commands that print something in an empty home folder, and at once."""


def _leaves(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    actions = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not actions:
        yield name, parser
    for action in actions:
        for word, child in action.choices.items():
            yield from _leaves(child, f"{name} {word}")


LEAVES = dict(leaf for name in cli.COMMANDS for leaf in _leaves(cli.load_command(name)[0], name))


def words_of(name: str) -> list[str]:
    """The command with what it needs."""
    return [*name.split(), *ARGUMENTS.get(name, [])]


@pytest.mark.parametrize("name", sorted(set(LEAVES) - WITHOUT_JSON))
def test_every_command_that_shows_something_has_json(name: str) -> None:
    assert "--json" in LEAVES[name]._option_string_actions


@pytest.mark.parametrize("condition", ENVIRONMENTS)
@pytest.mark.parametrize("name", LEAVES)
def test_the_environment_ends_no_command_in_a_traceback(
    name: str,
    condition: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: what escapes `main` would be a traceback."""
    if name == "doctor" and condition.startswith("home"):
        pytest.skip("without a cache it compiles the kernels, for minutes; tests/test_cli.py has it once")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    for variable, value in ENVIRONMENTS[condition].items():
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    status = cli.main(words_of(name))
    shown = capsys.readouterr()
    assert status in (0, 1, 2)
    assert "Traceback" not in shown.out + shown.err
    if condition == "home is not in UTF-8":
        assert name != "runs list" or "the name of the home folder is not UTF-8" in shown.err
        assert not Path(os.environ["DROIDFT_HOME"]).exists()
    if condition in ("home is a file", "home cannot be made", "no home") and "error: cannot make" in shown.err:
        assert "DROIDFT_HOME" in shown.err


@pytest.mark.parametrize("name", LEAVES)
def test_an_error_as_json_is_json(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in WITHOUT_JSON:
        return
    monkeypatch.chdir(tmp_path)
    status = cli.main([*words_of(name), "--json"])
    out = capsys.readouterr().out
    value = json.loads(out)
    if status == 2:
        assert value["error"]["message"]


def shell(command: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as a shell starts it."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", command.replace("droidft", f"{sys.executable} -m droidft.cli")],
        capture_output=True,
        text=True,
        env=known | {"DROIDFT_HOME": str(home)} | environment,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("redirection", "status"),
    [(">&-", 0), (">/dev/full", 1), (">&- 2>&- <&-", 0), ("2>/dev/full", 0), ("<&-", 0)],
)
def test_a_stream_that_is_closed_or_full_is_no_traceback(home: Path, redirection: str, status: int) -> None:
    script = "; ".join(f"droidft {name} {redirection}; echo $? >&9" for name in FAST)
    done = shell(f"exec 9>&1; {script}", home)
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    assert [line for line in done.stdout.splitlines() if line.isdecimal()][-1:] == [str(status)]
    if "full" in redirection and redirection.startswith(">"):
        assert done.stderr.count("error: cannot write to standard output: No space left on device") == 2


@pytest.mark.parametrize("variable", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_a_reader_that_leaves_early_is_no_error(home: Path, variable: dict[str, str]) -> None:
    done = shell(
        "droidft config | head -1; droidft config --json | head -1; droidft --help | head -1", home, **variable
    )
    assert done.stderr == ""


def test_a_working_directory_that_is_gone(home: Path, tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    done = shell(f"cd {room}; rmdir {room}; droidft runs; droidft data check a.jsonl; droidft train x.yaml", home)
    assert "Traceback" not in done.stderr
    assert "no runs yet" in done.stderr
    assert "no runs yet" not in done.stdout, "each line of a pipe is an entry"
    relative = shell(f"mkdir {room}; cd {room}; rmdir {room}; droidft runs", home, DROIDFT_HOME="home")
    assert "DROIDFT_HOME=home begins in the working directory, which is gone" in relative.stderr


def test_a_home_on_a_read_only_disk_shows_what_it_holds(home: Path) -> None:
    mount = f"mount --bind {home} {home} && mount -o remount,ro,bind {home}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount anything")
    old_home.copy(home)
    done = shell(
        f"unshare -rm sh -c '{mount} && droidft runs list && droidft adapters list && droidft models list'", home
    )
    assert done.returncode == 0, done.stderr
    assert "20261130-050538-tiny\tfinished" in done.stdout
    assert "unreadable" not in done.stdout
    assert "tiny\tllama" in done.stdout


def test_without_a_place_for_downloads_the_models_of_the_home_are_listed(home: Path) -> None:
    write_model(home / "models" / "tiny")
    done = shell("unset HOME HF_HOME HF_HUB_CACHE; droidft models list", home)
    assert (done.returncode, "tiny\tllama" in done.stdout) == (0, True), done.stderr


def test_a_terminal_in_ascii_gets_everything_else(home: Path) -> None:
    done = shell("droidft config; droidft config --json; droidft doctor", home, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert "Traceback" not in done.stderr
    assert "learning_rate = 0.0001  number > 0, ? 1" in done.stdout


def test_our_own_server_is_never_asked_through_a_proxy(home: Path) -> None:
    from tests.server import live

    with live.running(home) as server:
        done = shell(
            "droidft serve --no-browser", home, http_proxy="http://127.0.0.1:1", ALL_PROXY="socks5://127.0.0.1:1"
        )
        assert done.returncode == 0, done.stderr
        assert f"a server is running already at {server.url}" in done.stdout
