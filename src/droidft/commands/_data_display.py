"""Data reports in the terminal: faults, counts, histograms, and rows token by token."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from droidft.commands._terminal import line, show_table
from droidft.data.report import FileReport, LengthBin, RowView, SetReport, State, StructureReport, TokenReport
from droidft.support.faults import Fault
from droidft.support.words import count, size

BAR = 40
_STYLES: dict[State, str] = {"trained": "bold green", "masked": "dim", "cut": "red strike"}
_MARKS: dict[State, str] = {"trained": "[+]", "masked": "[ ]", "cut": "[x]"}


def show_faults(console: Console, faults: list[Fault], number: int) -> None:
    """Each fault with its place, reason and fix; then how many there are."""
    for fault in faults:
        place = f"{fault.file}:{fault.line}" if fault.line is not None else fault.file
        byte = f" (byte {fault.offset:,})" if fault.offset is not None else ""
        console.print(Text.assemble((place, "bold"), byte), soft_wrap=True)
        console.print(Text.assemble("  ", (fault.reason, "red")), soft_wrap=True)
        line(console, f"  {fault.fix}")
    if number > len(faults):
        line(console, f"… and {number - len(faults):,} more")
    if number:
        line(console, f"{count(number, 'fault')}: this data cannot be trained on", style="red")


def show_check(console: Console, report: StructureReport | TokenReport) -> None:
    """What data without faults holds."""
    if isinstance(report, TokenReport):
        show_statistics(console, report)
        return
    for name, part in (("training", report.train), ("validation", report.validation)):
        if part is not None:
            line(console, f"{name}: {_structure(part)}")
            _repeats(console, part)
    if report.overlap.count:
        rows = count(report.overlap.count, "validation row is", "validation rows are")
        line(console, f"! {rows} in the training data too ({report.overlap})", style="yellow")
    _notes(console, report.notes)
    console.print("no faults; with --model M the tokens are checked too", style="green")


def _structure(part: FileReport) -> str:
    files = part.files[0] if len(part.files) == 1 else f"{len(part.files)} files"
    return f"{count(part.rows, f'{part.format} row')}, {size(part.bytes)} ({files})"


def _repeats(console: Console, part: FileReport) -> None:
    if part.duplicates.count:
        rows = count(part.duplicates.count, "row repeats an earlier one", "rows repeat earlier ones")
        line(console, f"! {rows} ({part.duplicates})", style="yellow")


def show_statistics(console: Console, report: TokenReport) -> None:
    """Counts of both sets, lengths, the histogram of the training set, warnings and notes."""
    sets = ("training", "validation")
    rows = [(name, *values) for name, values in _lines((report.train, report.validation))]
    show_table(console, ("", *sets), rows, right=sets)
    line(console, f"\nformat {report.format}; max_seq_length {report.max_seq_length:,}; {report.split}")
    console.print("\ntokens a row, training set", style="bold")
    limit = report.max_seq_length if report.train.truncated.count else None
    for bar in histogram(report.train.histogram, limit):
        console.print(bar)
    if report.warnings:
        console.print()
    for warning in report.warnings:
        line(console, f"! {warning}", style="yellow")
    _notes(console, report.notes)
    console.print("no faults", style="green")


def _lines(sets: tuple[SetReport, SetReport]) -> list[tuple[str, list[str]]]:
    def each(value: str) -> list[str]:
        return [f"{getattr(part, value):,}" for part in sets]

    trains = any(part.supervised_tokens for part in sets)
    shares = [f"{100 * part.supervised_tokens / max(part.tokens, 1):.1f} %" for part in sets]
    return [
        ("rows", each("rows")),
        ("tokens", each("tokens")),
        *([("trained tokens", each("supervised_tokens")), ("  share", shares)] if trains else []),
        *[
            (label, [f"{part.lengths.get(name, 0):,}" for part in sets])
            for label, name in (("shortest row", "min"), ("median", "p50"), ("95 %", "p95"), ("longest row", "max"))
        ],
        *([("cut rows", [f"{part.truncated.count:,}" for part in sets])] if trains else []),
        ("repeated rows", [f"{part.duplicates.count:,}" for part in sets]),
        *(
            [("end in EOS", [f"{100 * part.ends_in_eos / max(part.rows, 1):.0f} %" for part in sets])]
            if trains
            else []
        ),
    ]


def histogram(bins: list[LengthBin], limit: int | None) -> list[Text]:
    """A bar for each bin; the rows beyond `limit` are marked."""
    most = max((part.rows for part in bins), default=0)
    width = len(f"{bins[-1].high:,}") if bins else 0
    lines = []
    for part in bins:
        bar = "█" * max(round(BAR * part.rows / most), part.rows > 0)
        cut = limit is not None and part.high - 1 > limit
        mark = "" if limit is None or not cut or not part.rows else " cut" if part.low > limit else " partly cut"
        label = f"{part.low:>{width},} – {part.high - 1:<{width},} "
        lines.append(Text.assemble(label, (bar, "red" if cut else "cyan"), f" {part.rows:,}{mark}"))
    return lines


def show_rows(console: Console, views: list[RowView]) -> None:
    """Rows token by token: coloured in a terminal, marked where there is no colour."""
    names = [state if console.is_terminal else f"{mark} {state}" for state, mark in _MARKS.items()]
    legend = Text("  ").join(Text(name, style) for name, style in zip(names, _STYLES.values(), strict=True))
    console.print(Text("tokens: ").append(legend))
    for view in views:
        part = f" ({view.part})" if view.part else ""
        counts = ", ".join(f"{view.count(state):,} {state}" for state in _MARKS)
        line(console, f"\nrow {view.row}{part}, {view.file}:{view.line}: {counts}", style="bold")
        if view.warnings:
            line(console, f"! {', '.join(view.warnings)}", style="yellow")
        console.print(_row(view, marked=not console.is_terminal), soft_wrap=not console.is_terminal)


def _row(view: RowView, *, marked: bool) -> Text:
    """Tokens parted by thin bars. Line breaks are shown and kept."""
    text = Text()
    before: State | None = None
    for piece in view.pieces:
        if marked and piece.state != before:
            text.append(("\n" if before else "") + _MARKS[piece.state] + " ")
        elif before is not None and not text.plain.endswith("\n"):
            text.append("│", "bright_black")
        before = piece.state
        shown = piece.text.replace("\r", "␍").replace("\t", "⇥").replace("\n", "↵" if marked else "↵\n")
        text.append("".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in shown))
        text.stylize(_STYLES[piece.state], len(text) - len(shown))
    return text


def _notes(console: Console, notes: list[str]) -> None:
    for note in notes:
        line(console, f"  {note}", style="dim")
