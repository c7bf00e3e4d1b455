"""A merged model computes what base and adapter compute together, whatever mlx-lm does to the weights it loads."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.merged import write_merged
from droidft.adapters.exports.updates import updates
from tests.adapters.exports.trained import Trained, difference, trained
from tests.engine.model.logits.cases import CASES, REFUSED

CLOSE = 1e-3
RESCALED = {"falcon_h1"}
"""Weights that mlx-lm multiplies while it loads them: they have no origin, and `forms` refuses the export."""
MERGED = [case for case in CASES if case not in REFUSED and case not in RESCALED]


def merge(made: Trained, target: Path) -> Path:
    origins = made.origins()
    assert not origins.unknown
    target.mkdir()
    write_merged(Checkpoint(made.base, updates(made.info, origins)), target)
    return target


@pytest.mark.parametrize("case", MERGED)
def test_logits_of_the_merged_model_are_those_of_the_adapter(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path)
    assert difference(made.plain, made.adapted) > 0.1, "the adapter changes nothing"
    assert made.apart(merge(made, tmp_path / "merged")) < CLOSE


@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2", "phi3", "qwen3_next", "mamba2", "cohere2"])
@pytest.mark.parametrize("kind", ["dora", "full"])
def test_dora_and_whole_weights_are_merged_too(case: str, kind: str, tmp_path: Path) -> None:
    if (case, kind) == ("qwen3_next", "dora"):
        kind = "full"  # mlx-lm has no DoRA for experts
    made = trained(case, tmp_path, fine_tune_type=kind)
    assert made.apart(merge(made, tmp_path / "merged")) < CLOSE


def test_an_adapter_of_the_last_block_changes_that_block_only(tmp_path: Path) -> None:
    made = trained("llama", tmp_path, lora_num_layers=1)
    checkpoint = Checkpoint(made.base, updates(made.info, made.origins()))
    blocks = {name.split(".")[2] for name in checkpoint.changed}
    assert len(checkpoint.changed) == 7
    assert len(blocks) == 1


def test_what_is_not_adapted_stays_byte_for_byte(tmp_path: Path) -> None:
    made = trained("qwen2", tmp_path, lora_targets="attention-qv")
    merged = merge(made, tmp_path / "merged")
    changed = set(Checkpoint(made.base, updates(made.info, made.origins())).changed)
    with (
        safe_open(made.base / "model.safetensors", "numpy") as before,
        safe_open(merged / "model.safetensors", "numpy") as after,
    ):
        assert before.metadata() == after.metadata()
        for name in before.keys():  # noqa: SIM118
            same = np.array_equal(before.get_tensor(name), after.get_tensor(name))
            assert same is (name not in changed), name
    for file in made.base.iterdir():
        if file.suffix == ".json":
            assert (merged / file.name).read_bytes() == file.read_bytes()
