"""PEFT's files, read as PEFT documents them: W + alpha / r * B A, module by module."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.peft import write_peft
from droidft.adapters.exports.updates import updates
from droidft.errors import AdapterError
from tests.adapters.exports.trained import Trained, trained


def written(made: Trained, target: Path, *, tied: bool = False) -> dict[str, object]:
    wanted = updates(made.info, made.origins())
    base = Checkpoint(made.base, [])
    target.mkdir()
    shapes = {name: base.shape(name) for name in base.names}
    write_peft(factors(wanted, shapes), target, base="org/name", dropout=0.1, tied=tied)
    settings: dict[str, object] = json.loads((target / "adapter_config.json").read_text())
    return settings


@pytest.mark.parametrize("case", ["llama", "qwen2", "phi3", "mixtral", "gemma2"])
def test_alpha_over_rank_times_b_a_is_what_merging_adds(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path, lora_routers="off")
    settings = written(made, tmp_path / "peft")
    tensors = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    base = Checkpoint(made.base, [])
    merged = Checkpoint(made.base, updates(made.info, made.origins()))
    ranks, alphas = settings["rank_pattern"], settings["alpha_pattern"]
    assert isinstance(ranks, dict)
    assert isinstance(alphas, dict)
    modules = settings["target_modules"]
    assert isinstance(modules, list)
    assert {f"{module}.weight" for module in modules} == set(merged.changed)
    assert len(tensors) == 2 * len(modules)
    for module in modules:
        a, b = (tensors[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
        scale = alphas.get(module, settings["lora_alpha"]) / ranks.get(module, settings["r"])
        assert a.shape[0] == ranks.get(module, settings["r"])
        added = merged.load(f"{module}.weight") - base.load(f"{module}.weight")
        np.testing.assert_allclose(scale * b @ a, added, atol=2e-5)


def test_an_embedding_is_one_of_the_head_too_where_they_are_tied(tmp_path: Path) -> None:
    made = trained("gemma2", tmp_path, lora_targets="custom", lora_keys=["model.embed_tokens"])
    settings = written(made, tmp_path / "peft", tied=True)
    assert settings["target_modules"] == ["lm_head", "model.embed_tokens"]
    tensors = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    embedding = [tensors[f"base_model.model.model.embed_tokens.lora_embedding_{side}"] for side in "AB"]
    head = [tensors[f"base_model.model.lm_head.lora_{side}.weight"] for side in "AB"]
    np.testing.assert_array_equal((embedding[1] @ embedding[0]).T, head[1] @ head[0])


def test_routers_are_refused_by_name(tmp_path: Path) -> None:
    made = trained("mixtral", tmp_path, lora_routers="on")
    with pytest.raises(AdapterError, match=r"block_sparse_moe.gate: it is a router"):
        written(made, tmp_path / "peft")
