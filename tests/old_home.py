"""A home folder of an earlier version, asked through the command line alone.

`tests/golden/make_home.py` writes such a home and its answers; `tests/test_old_home.py` asks again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import typed

GOLDEN = Path(__file__).parent / "golden"
HOME = GOLDEN / "home"
EXPECTED = GOLDEN / "home_expected.json"
PLACEHOLDER = "@HOME@"
"""Stands in the committed files for the home folder, whose whole path runs and plans keep."""
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class OldHome:
    """A home folder and the questions that are asked of it."""

    root: Path

    def droidft(self, *words: str) -> str:
        """What a command prints; it has to succeed."""
        done = typed.droidft(*words, folder=self.root, DROIDFT_HOME=str(self.root), HF_HUB_OFFLINE="1", COLUMNS="200")
        assert done.status == 0, (words, done)
        return done.out

    def json(self, *words: str) -> Any:
        """The same as JSON."""
        return json.loads(self.droidft(*words))

    def run(self, run_id: str) -> dict[str, Any]:
        """What `runs show` says of a run, with its settings and losses by step; after a resume, the later ones."""
        shown = self.json("runs", "show", run_id, "--json")
        events = [record["event"] for record in shown.pop("events")]
        folder = self.root / "runs" / run_id / CHECKPOINTS
        states = [json.loads(file.read_text()) for file in sorted(folder.glob("*/state.json"))]
        return shown | {
            "training": losses(events, "train_report"),
            "validation": losses(events, "eval_report"),
            "ending": _ending(events[-1]),
            "warnings": sorted({event["code"] for event in events if event["type"] == "warned"}),
            "checkpoints": [state["step"] for state in states],
            "hashes": {name: states[-1][name] for name in ("config_hash", "data_hash", "base_hash", "rewards_hash")},
        }

    def adapter(self, name: str) -> dict[str, Any]:
        """What `adapters show` says on the model, without paths; weights as the sum of their magnitudes."""
        from safetensors.numpy import load_file

        shown: dict[str, Any] = self.json("adapters", "show", f"{name}@latest", "--model", "tiny", "--json")
        arrays = load_file(Path(shown.pop("path")) / shown["weights"])
        shown["base"] = Path(shown["base"]).name
        shown["warnings"] = [warning["code"] for warning in shown["warnings"]]
        return shown | {"magnitude": sum(float(abs(array).sum()) for array in arrays.values())}

    def answer(self, name: str) -> dict[str, Any]:
        """What `chat` answers with an adapter, and how far the adapter moves the model."""
        asked = ["--model", "tiny", "--adapter", f"{name}@latest", "--prompt", "hello"]
        words = [*asked, "--max-tokens", "6", "--temperature", "0"]
        found = self.json("chat", *words, "--json")
        moved = found["adapter"]["difference"]["max_logit"]
        return {"tokens": found["tokens"], "answer": found["response"], "max_logit": moved}

    def experiment(self, experiment_id: str) -> dict[str, Any]:
        """The verdict and the figures of an experiment's report."""
        report = self.json("experiments", "report", experiment_id, "--form", "json", "--out", "-")
        found = report["analysis"]
        figures = ("complete", "verdict", "base", "arms", "contrasts", "noise_floor", "table")
        return {name: found[name] for name in figures} | {"measured": sorted(report["measured"])}


def losses(events: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """Loss by step, of training or validation reports."""
    return {str(event["step"]): event["loss"] for event in events if event["type"] == kind}


def _ending(event: dict[str, Any]) -> dict[str, Any]:
    names = ("type", "step", "best_step", "best_loss", "final_loss")
    return {name: event[name] for name in names if name in event}


def expected() -> dict[str, Any]:
    """The answers of the version that wrote the home."""
    found: dict[str, Any] = json.loads(EXPECTED.read_text())
    return found


def copy(folder: Path) -> OldHome:
    """The committed home in `folder`, which then leads to its own files."""
    shutil.copytree(HOME, folder, symlinks=True, dirs_exist_ok=True)
    replace(folder, PLACEHOLDER, str(folder))
    return OldHome(folder)


def replace(home: Path, old: str, new: str) -> None:
    """Change a path in everything but checkpoints, which hold none and are hashed."""
    for folder in ("runs", "adapters", "experiments"):
        for file in (home / folder).rglob("*.json*"):
            if CHECKPOINTS not in file.parts and not file.is_symlink():
                file.write_text(file.read_text().replace(old, new))
