"""Kill a real training run at random, again and again: python -m bench.reliability [--kills 200]

Each run is killed with SIGKILL while it starts, loads, steps, evaluates or saves, resumed, and compared with one
that was never killed: every reported loss to the bit, the final adapter by SHA-256.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--per-run", type=int, default=20, help="kills of one run before it may finish")
    args = parser.parse_args()
    cache = Path(".cache").absolute()
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DROIDFT_HOME"] = folder
        (Path(folder) / "cache").symlink_to(cache)
        _kill(args.kills, args.per_run, Path(folder))


def _kill(kills: int, per_run: int, folder: Path) -> None:
    from tests import tiny
    from tests.workers import test_train as test_worker

    from droidft.events import Finished

    material = {
        "model_path": str(tiny.write_model(folder / "model")),
        "train_data_path": str(tiny.write_chat(folder / "chat.jsonl")),
    }
    began, done, differing, damaged = time.perf_counter(), 0, 0, 0
    reference = test_worker.create(material)
    expected = test_worker.losses(test_worker.finish(reference))
    while done < kills:
        run = test_worker.create(material)
        count = min(per_run, kills - done)
        test_worker.kill_repeatedly(run, kills=count, seed=done)
        done += count
        events = test_worker.finish(run)
        assert isinstance(events[-1], Finished), events[-1]
        found = test_worker.losses(events)
        differing += sum(found[key] != loss for key, loss in expected.items())
        for which in ("adapters", "best_adapters"):
            differing += test_worker.adapter_hash(run, which) != test_worker.adapter_hash(reference, which)
        damaged += sum(getattr(event, "code", "") == "damaged_checkpoint" for event in events)
        print(f"{done} kills, {damaged} damaged checkpoints, {differing} differing losses or adapters", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
