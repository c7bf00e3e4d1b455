"""Write `tests/golden/home`, a home folder as today's code leaves it, and what it says, for later versions to open.

    python -m tests.golden.make_home

It is written once and kept: what users have on their disks stays readable only if this folder does. Run it to add
something that a home could not hold before, never to make a failing test pass. It holds

- `finished`, a supervised run with its adapter;
- `stopped`, its twin, stopped between two reports: resumed, it has to have the losses of `finished`;
- `rewarded`, a GRPO run with a reward of the user's own, stopped between two rollouts: resumed, it has to have the
  losses that a twin had, which is not kept;
- an experiment of two arms with three seeds, all of it done.

Everything goes through the command line. Paths are replaced by `@HOME@`; logs, caches and reports are left out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests import tiny
from tests.conftest import CACHE
from tests.old_home import EXPECTED, HOME, PLACEHOLDER, OldHome, replace

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
SHARED = {
    "model_path": "tiny",
    "lora_rank": 2,
    "lora_alpha": 4,
    "early_stop": False,
    "keep_checkpoints": 2,
    "save_every": 4,
    "steps_per_report": 2,
}
SUPERVISED = SHARED | {
    "mask_prompt": True,
    "lora_dropout": 0.1,
    "batch_size": 4,
    "grad_accumulation_steps": 2,
    "iterations": 24,
    "steps_per_eval": 6,
    "learning_rate": 0.02,
    "lr_schedule": "cosine",
    "warmup_steps": 3,
}
REWARDED = SHARED | {
    "method": "grpo",
    "rewards": [
        {"kind": "length_window", "maximum": 8, "unit": "characters", "falloff": 10},
        {"kind": "python", "file": "capitals.py", "weight": 2},
    ],
    "num_generations": 4,
    "prompts_per_step": 2,
    "steps_per_generation": 2,
    "num_iterations": 2,
    "max_completion_length": 8,
    "beta": 0.02,
    "iterations": 16,
    "steps_per_eval": 8,
    "max_eval_prompts": 2,
    "shown_completions": 1,
    "learning_rate": 0.01,
}
REWARD = '''"""A reward of one's own: the share of capital letters."""


def reward(prompts: list[str], completions: list[str]) -> list[float]:
    """A number from 0 to 1 for each completion."""
    return [sum(letter.isupper() for letter in text) / max(1, len(text)) for text in completions]
'''
PLAN = {
    "title": "Does a higher learning rate help on the tiny model?",
    "settings": {
        "model_path": "tiny",
        "mask_prompt": True,
        "lora_rank": 2,
        "lora_alpha": 4,
        "batch_size": 4,
        "iterations": 12,
        "steps_per_report": 4,
        "test_fraction": 0.3,
    },
    "arms": {"fast": {"learning_rate": 0.02}, "slow": {"learning_rate": 0.0005, "lora_targets": "attention-qv"}},
    "seeds": [0, 1, 2],
    "measurement": {"questions": {"check": "exact_answer", "most": 4, "max_tokens": 4}},
}
LEFT_OUT = ("cache", "server", "log.txt", "report.html", ".lock")


def main() -> None:
    """Make the home and its answers."""
    with tempfile.TemporaryDirectory() as folder:
        home = OldHome(Path(folder).resolve() / "home")
        _furnish(home.root)
        expected = _fill(home)
        _keep(home.root)
    EXPECTED.write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


def _furnish(root: Path) -> None:
    CACHE.mkdir(exist_ok=True)
    for name in ("data", "rewards"):
        (root / name).mkdir(parents=True)
    (root / "cache").symlink_to(CACHE, target_is_directory=True)
    tiny.write_model(root / "models" / "tiny", **SMALL)
    tiny.write_chat(root / "data" / "chat.jsonl", rows=60)
    texts = ["a small text that nobody has trained on", "another one, about rivers and stones"]
    (root / "data" / "general.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (root / "rewards" / "capitals.py").write_text(REWARD)


def _fill(home: OldHome) -> dict[str, Any]:
    finished = _train(home, SUPERVISED, "finished")
    stopped = _stopped(home, SUPERVISED, "stopped")
    twin = _train(home, REWARDED, "twin")
    rewarded = _stopped(home, REWARDED, "rewarded")
    experiment = _experiment(home)
    found = {
        "runs": {name: home.run(name) for name in (finished, stopped, rewarded)},
        "resumed": {stopped: home.run(finished), rewarded: home.run(twin)},
        "adapters": {"finished": home.adapter("finished")},
        "answer": home.answer("finished"),
        "experiment": {"id": experiment, **home.experiment(experiment)},
    }
    home.droidft("runs", "delete", twin, "--files")
    for run in found["runs"].values():
        del run["config"]  # its file is kept
    for run, later in found["resumed"].items():
        found["resumed"][run] = {name: later[name] for name in ("training", "validation", "ending", "hashes")}
    return found


def _train(home: OldHome, settings: dict[str, Any], name: str, *flags: str) -> str:
    file = home.root.parent / f"{name}.json"
    data = {"train_data_path": str(home.root / "data" / "chat.jsonl"), "adapter_name": name}
    file.write_text(json.dumps(settings | data))
    home.droidft("train", str(file), *flags)
    return str(home.json("runs", "list", "--json")[0]["id"])


def _stopped(home: OldHome, settings: dict[str, Any], name: str) -> str:
    """A run stopped between two reports, in the middle: at an odd step, which takes some attempts."""
    for attempt in range(1, 30):
        run = _train(home, settings, name, "--detach")
        folder = home.root / "runs" / run
        while _last(folder, "train_report").get("step", 0) < settings["iterations"] // 2 - 2:
            time.sleep(0.001)
        time.sleep(0.005 * attempt)  # into the step after the next
        os.kill(json.loads((folder / "worker.json").read_text())["pid"], signal.SIGTERM)
        while not (last := _last(folder, "stopped", "finished")):
            time.sleep(0.01)
        time.sleep(1)  # until its worker is gone
        if last["type"] == "stopped" and last["step"] % 2:
            return run
        home.droidft("runs", "delete", run, "--files")
    raise SystemExit(f"{name} always ended at an even step")


def _last(folder: Path, *kinds: str) -> dict[str, Any]:
    """The last event of these types; empty if there is none."""
    try:
        lines = (folder / "events.jsonl").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return {}
    events = [json.loads(line)["event"] for line in lines]
    return next((event for event in reversed(events) if event["type"] in kinds), {})


def _experiment(home: OldHome) -> str:
    file = home.root.parent / "plan.json"
    data = home.root / "data"
    settings = PLAN["settings"] | {"train_data_path": str(data / "chat.jsonl")}
    measurement = PLAN["measurement"] | {"general_data_path": str(data / "general.jsonl")}
    file.write_text(json.dumps(PLAN | {"settings": settings, "measurement": measurement}))
    home.droidft("experiment", str(file), "--yes")
    return str(home.json("experiments", "list", "--json")[0]["id"])


def _keep(root: Path) -> None:
    """Copy the home to where it is kept, with nothing in it that tells of this machine's folders."""
    (root / "cache").unlink()
    for old, new in ((str(root), PLACEHOLDER), (str(CACHE), f"{PLACEHOLDER}/cache"), (sys.prefix, "/opt/droidft")):
        replace(root, old, new)
    shutil.rmtree(HOME, ignore_errors=True)
    shutil.copytree(root, HOME, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    own = [str(root.parent), sys.prefix, f"{Path.home()}/", str(Path.cwd())]
    for file in HOME.rglob("*"):
        if file.is_file() and (told := [word for word in own if word.encode() in file.read_bytes()]):
            raise SystemExit(f"{file} tells of this machine: {told}")


if __name__ == "__main__":
    main()
