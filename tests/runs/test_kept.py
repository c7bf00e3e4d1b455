"""Long logs: read once, in parts, with flat memory; what is kept of them is used only for the log that it is of."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from droidft.config import TrainingConfig
from droidft.events import Completions, EvalReport, Event, Finished, Record, RunStarted, TrainReport
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.runs import kept, log
from droidft.runs.folder import Run
from droidft.runs.history import History, thinned
from droidft.runs.kept import Account, summary_of


def report(step: int, **metrics: float) -> TrainReport:
    return TrainReport(
        step=step, epoch=step / 10, loss=3 - step / 100 + step % 3, learning_rate=1e-4, grad_norm=1.5,
        tokens_per_second=900.0, supervised_tokens_per_second=450.0, tokens=step, supervised_tokens=step,
        peak_memory_bytes=1, rss_bytes=1, seconds_left=None, metrics=metrics,
    )  # fmt: skip


def evaluation(step: int) -> EvalReport:
    return EvalReport(step=step, loss=1, tokens=1, best=True, best_loss=1, best_step=step, seconds=0)


def start(resumed_from: int | None = None) -> RunStarted:
    return RunStarted(config={}, versions={}, device={}, resumed_from_step=resumed_from)


def with_events(*events: Event) -> Run:
    run = runs.create(Home.find(), TrainingConfig(model_path="model", train_data_path="data"))
    lines = (Record(seq=number, time=1000.0 + 2.5 * number, event=event) for number, event in enumerate(events, 1))
    run.events_file.write_text("".join(line.model_dump_json() + "\n" for line in lines))
    return run


@pytest.fixture
def resumed(home: Path) -> Run:
    """A run that crashed at step 60 and went on from step 40."""
    rewarded = [report(step, reward=step / 10, kl=0.1) for step in range(41, 120)]
    first = [report(step) for step in range(1, 61)]
    return with_events(
        start(), evaluation(0), *first, evaluation(60), start(40), Completions(step=41, rows=[]), *rewarded,
        evaluation(119), Finished(step=119, seconds=1.0, final_loss=2.0, best_step=119, best_loss=1.0),
    )  # fmt: skip


def test_a_curve_of_all_points_is_the_history(resumed: Run) -> None:
    whole = History.of(resumed)
    assert thinned(resumed, points=1000) == whole
    assert [it["step"] for it in whole.reports] == list(range(1, 120))
    assert [it["step"] for it in whole.evaluations] == [0, 119]


def test_a_thinned_curve_is_a_part_of_the_history(resumed: Run) -> None:
    whole, some = History.of(resumed), thinned(resumed, points=20)
    assert 10 <= len(some.reports) <= 22
    assert all(it in whole.reports for it in some.reports)
    assert some.reports[0] == whole.reports[0]
    assert some.reports[-1] == whole.reports[-1]
    assert some.evaluations == whole.evaluations


def test_damaged_lines_are_left_out_of_a_curve(resumed: Run) -> None:
    lines = resumed.events_file.read_bytes().split(b"\n")
    lines[5] = lines[5].replace(b'"loss":', b'"loss":1e999,"x":')
    lines[6] = lines[6][:100]
    lines[7] = b"\xff" * 50
    resumed.events_file.write_bytes(b"\n".join(lines))
    assert [it["step"] for it in thinned(resumed, points=1000).reports[:5]] == [1, 2, 3, 7, 8]
    assert thinned(resumed, points=1000) == History.of(resumed)


def test_what_is_kept_goes_on_where_it_ended(resumed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LEAST_BYTES", 1)
    fresh = summary_of(resumed)
    assert resumed.kept_file.is_file()
    account = Account.of(resumed)
    assert (account.summary, account.offset) == (fresh, resumed.events_file.stat().st_size)
    with resumed.events_file.open("a") as file:
        file.write(Record(seq=1000, time=9e3, event=report(200)).model_dump_json() + "\n")
    assert summary_of(resumed).step == 200
    whole = Account(resumed)
    whole.read()
    assert Account.of(resumed).summary == whole.summary


@pytest.mark.parametrize("damage", ["another log", "shorter", "no JSON", "null", "another format", "negative"])
def test_what_is_kept_of_something_else_is_not_used(
    damage: str, resumed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LEAST_BYTES", 1)
    expected = summary_of(resumed)
    text = resumed.kept_file.read_text()
    match damage:
        case "another log":
            lines = resumed.events_file.read_text().splitlines(keepends=True)
            resumed.events_file.write_text("".join(lines[:-1]) + lines[-1].replace("1.0", "2.0"))
            expected = _read_anew(resumed)
        case "shorter":
            lines = resumed.events_file.read_text().splitlines(keepends=True)
            resumed.events_file.write_text("".join(lines[:20]))
            expected = _read_anew(resumed)
        case "no JSON":
            resumed.kept_file.write_text(text[:100])
        case "null":
            resumed.kept_file.write_text("null")
        case "another format":
            resumed.kept_file.write_text(text.replace('"format":1', '"format":0'))
        case "negative":
            resumed.kept_file.write_text(text.replace('"offset":', '"offset":-'))
    assert summary_of(resumed) == expected


def _read_anew(run: Run) -> object:
    account = Account(run)
    account.read()
    return account.summary


def test_a_long_log_is_read_in_parts(home: Path) -> None:
    run = with_events(start(), *(report(step) for step in range(1, 1000)))
    account, parts = Account.of(run), 1
    while not account.read(until=time.monotonic()):
        parts += 1
    assert parts > 10
    assert account.summary.step == 999
    assert account.offset == log.end(run.events_file) == run.events_file.stat().st_size


def test_completions_are_not_read_where_nobody_looks_at_them(resumed: Run) -> None:
    line = b'{"seq":7,"time":1.5,"event":{"type":"completions","step":41,"rows":[' + b'"never parsed"' + b"]}}"
    assert log.brief(line) == Record(seq=7, time=1.5, event=Completions(step=41, rows=[]))
    assert log.parse_record(line) is None


def test_the_end_of_a_log_is_the_end_of_its_last_whole_line(home: Path) -> None:
    run = with_events(start(), report(1))
    size = run.events_file.stat().st_size
    with run.events_file.open("a") as file:
        file.write('{"seq":3' + "x" * 50_000)
    assert log.end(run.events_file) == size
    run.events_file.write_text("x" * 50_000)
    assert log.end(run.events_file) == 0
    run.events_file.unlink()
    assert log.end(run.events_file) == 0


def test_what_is_kept_goes_with_its_run(resumed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LEAST_BYTES", 1)
    summary_of(resumed)
    resumed.delete(Home.find(), files=True)
    assert not resumed.kept_file.exists()
