"""How long the readers of a long event log take, and what they hold in memory: `python -m bench.long_log`.

Writes a run with reports, or with completions of some kilobytes each, and asks of it what the server and the terminal
ask: the list's entry (first, then again with what the cache keeps), the curves, the last event, the end of the log.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from droidft.config import TrainingConfig
from droidft.events import Completions, Event, Record, RunStarted, SampledCompletion, TrainReport
from droidft.home import Home
from droidft.runs import folder, log
from droidft.runs.folder import Run
from droidft.runs.writer import EventLog
from droidft.server.runs.history import completions, curves
from droidft.server.runs.index import open_entry


def written(home: Home, *, reports: int, completion_bytes: int) -> Run:
    """A run with so many reports, each followed by completions of that size, if any."""
    run = folder.create(home, TrainingConfig(model_path="model", train_data_path="data"))
    with run.events_file.open("wb") as file:

        def write(number: int, event: Event) -> None:
            record = Record(seq=number, time=1e9 + number, event=event)
            file.write(record.model_dump_json().encode() + b"\n")

        write(1, RunStarted(config={}, versions={}, device={}))
        for step in range(1, reports + 1):
            write(2 * step, report(step))
            if completion_bytes:
                write(2 * step + 1, Completions(step=step, rows=[completion(completion_bytes)]))
    return run


def report(step: int) -> TrainReport:
    """A report as the loop makes them."""
    return TrainReport(
        step=step, epoch=step / 1000, loss=2 + step % 7 / 9, learning_rate=1e-4, grad_norm=1.5,
        tokens_per_second=900.0, supervised_tokens_per_second=450.0, tokens=step * 1000, supervised_tokens=step * 500,
        peak_memory_bytes=10**9, rss_bytes=10**9, seconds_left=60.0,
    )  # fmt: skip


def completion(size: int) -> SampledCompletion:
    """A completion of `size` characters."""
    return SampledCompletion(
        place="data.jsonl:1", prompt="p", completion="x" * size, rewards={"r": 1.0}, reward=1.0, advantage=0.0,
        tokens=size, truncated=False,
    )  # fmt: skip


def main() -> None:
    """Print a line for each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=100_000)
    parser.add_argument("--completion-bytes", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = written(Home(Path(place)), reports=args.reports, completion_bytes=args.completion_bytes)
        print(f"log: {run.events_file.stat().st_size / 1e6:.0f} MB, {args.reports:,} reports")
        questions: dict[str, Callable[[], object]] = {
            "curves, 2,000 points": lambda: curves(run, points=2000),
            "completions of the newest step": lambda: completions(run, None),
            "entry of the list, 0.2 s of it": lambda: open_entry(run.path, until=time.monotonic() + 0.2),
            "entry of the list, first": lambda: open_entry(run.path),
            "entry of the list, again": lambda: open_entry(run.path),
            "every record, briefly": lambda: sum(1 for _ in run.stream()),
            "last event and end": lambda: (run.last_record(), log.end(run.events_file)),
            "a worker that begins": lambda: EventLog(run).close(),
        }
        for name, ask in questions.items():
            began, cpu = time.perf_counter(), time.process_time()
            ask()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name:<32}{seconds * 1e3:10.1f} ms{cpu * 1e3:10.1f} ms of CPU   peak {peak:6.0f} MB")


if __name__ == "__main__":
    main()
