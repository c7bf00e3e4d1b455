"""What reaches a terminal or a pipe: whole names, no control characters, no markup of somebody else's."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest
from rich.console import Console
from rich.text import Text

from droidft.commands import _terminal
from droidft.support.plain import json_safe, safe

HOSTILE = "a\x1b[31mb\x9bc\u202ed[bold]e[/bold][/x]:smile:\\[f]\ud800"
ROWS = [("n" * 70, "12", "why " * 30), (HOSTILE, "3", "short")]
NAMES = ("name", "size", "why")


def shown(*, width: int | None, encoding: str = "utf-8") -> str:
    """The table in a terminal of that width, or in a pipe."""
    console = _terminal.terminal()
    console.file = file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    if width is not None:
        console._force_terminal, console._width = True, width
    _terminal.show_table(console, NAMES, ROWS, right=("size",), flowing=("why",))
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined,no-any-return]


def test_a_pipe_gets_whole_cells_between_tabs() -> None:
    lines = shown(width=None).splitlines()
    assert [line.split("\t") for line in lines] == [
        list(NAMES),
        ["n" * 70, "12", ("why " * 30).strip()],
        [safe(HOSTILE), "3", "short"],
    ]


@pytest.mark.parametrize("width", [20, 60, 80, 120, 300])
def test_a_terminal_of_any_width_gets_the_whole_names(width: int) -> None:
    text = shown(width=width)
    assert "n" * 70 in text
    assert safe(HOSTILE) in text
    assert "…" not in text


def test_an_encoding_without_the_characters_is_no_failure() -> None:
    assert "n" * 70 in shown(width=80, encoding="ascii")


@pytest.mark.parametrize("style", [None, "bold"])
def test_no_way_of_printing_lets_control_characters_or_markup_through(style: str | None) -> None:
    console = _terminal.terminal()
    console.file = file = io.StringIO()
    _terminal.line(console, HOSTILE, style)
    console.print(HOSTILE)
    console.print(Text(HOSTILE))
    console.out(HOSTILE)
    console.rule(HOSTILE)
    console.print({"key": HOSTILE})
    _terminal.warn(console, HOSTILE)
    with _terminal.spinner(console, HOSTILE) as status:
        _terminal.turn(status, HOSTILE)
    text = file.getvalue()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)
    assert text.count("[bold]e[/bold][/x]:smile:") >= 6


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_is_read_back_as_it_was(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    value = {HOSTILE: ["é", "\x85", "日本", HOSTILE], "loss": float("nan"), "rate": 1.5}
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    monkeypatch.setattr(sys, "stdout", out)
    _terminal.print_json(value)
    text = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert json.loads(text) == {**value, "loss": None}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)


def test_safe_keeps_what_text_consists_of() -> None:
    assert safe("a\tb\nc\r\nd é 日本 👍🏽") == "a\tb\nc\nd é 日本 👍🏽"
    assert safe("a\rb") == "a�b"
    assert json.loads(json_safe(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE


def test_a_log_shows_what_begins_and_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr(_terminal.time, "monotonic", lambda: now[0])
    with _terminal.progress_bar(Console(file=out, width=80)) as report:
        for second in range(41):
            now[0] = float(second)
            report("answering 80 orders", 2 * second, 80)
        report("loading", 0, 0)
        now[0] += 60
        report("loading", 0, 0)
    assert out.getvalue().splitlines() == [
        "answering 80 orders",
        "answering 80 orders  25%, about 30 s left",
        "answering 80 orders  50%, about 20 s left",
        "answering 80 orders  75%, about 10 s left",
        "answering 80 orders  100%",
        "loading",
    ]
