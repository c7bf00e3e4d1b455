"""PEFT's files, read as PEFT documents them: W + alpha / r * B A, module by module."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.peft import write_peft
from droidft.adapters.exports.places import place
from droidft.adapters.exports.updates import updates
from droidft.errors import AdapterError
from droidft.models.catalog import load_config
from droidft.models.factors import Factors
from tests.adapters.exports.trained import Trained, trained


def written(made: Trained, target: Path, *, tied: bool = False) -> dict[str, Any]:
    wanted = updates(made.info, made.origins())
    base = Checkpoint(made.base, [])
    target.mkdir()
    pairs = factors(wanted, {name: base.shape(name) for name in base.names})
    model_type = load_config(made.base)["model_type"]
    write_peft(pairs, target, base="org/name", model_type=model_type, dropout=0.1, tied=tied)
    settings: dict[str, Any] = json.loads((target / "adapter_config.json").read_text())
    return settings


def tensors_of(folder: Path) -> dict[str, NDArray[np.float32]]:
    return {
        name.removeprefix("base_model.model."): values
        for name, values in load_file(folder / "adapter_model.safetensors").items()
    }


def scale(settings: dict[str, Any], name: str) -> float:
    alpha = settings["alpha_pattern"].get(name, settings["lora_alpha"])
    return float(alpha / settings["rank_pattern"].get(name, settings["r"]))


@dataclass
class Added:
    """What an adapter adds to the tensors of its base's checkpoint."""

    base: Checkpoint
    merged: Checkpoint

    def __init__(self, made: Trained) -> None:
        self.base, self.merged = (Checkpoint(made.base, each) for each in ([], updates(made.info, made.origins())))

    def __call__(self, name: str) -> NDArray[np.float32]:
        return self.merged.load(name) - self.base.load(name)


@pytest.mark.parametrize("case", ["llama", "qwen2", "phi3", "gemma2", "exaone"])
def test_alpha_over_rank_times_b_a_is_what_merging_adds(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path)
    settings = written(made, tmp_path / "peft")
    tensors, added = tensors_of(tmp_path / "peft"), Added(made)
    modules = settings["target_modules"]
    assert {f"{module}.weight" for module in modules} == set(added.merged.changed)
    assert len(tensors) == 2 * len(modules)
    assert "target_parameters" not in settings
    assert settings["lora_dropout"] == 0.1
    for module in modules:
        a, b = (tensors[f"{module}.lora_{side}.weight"] for side in "AB")
        assert a.shape[0] == settings["rank_pattern"].get(module, settings["r"])
        np.testing.assert_allclose(scale(settings, module) * b @ a, added(f"{module}.weight"), atol=2e-5)


def by_expert(tensors: dict[str, NDArray[np.float32]], module: str) -> NDArray[np.float32]:
    """PEFT's rule for a parameter (experts, out, in), of four experts."""
    a, b = (tensors[f"{module}.lora_{side}.weight"] for side in "AB")
    made: NDArray[np.float32] = np.einsum("ore,eri->eoi", b.reshape(len(b), -1, 4), a.reshape(4, -1, a.shape[1]))
    return made


def test_experts_are_written_as_the_parameters_that_transformers_makes_of_them(tmp_path: Path) -> None:
    made = trained("mixtral", tmp_path)
    settings = written(made, tmp_path / "peft")
    tensors, added = tensors_of(tmp_path / "peft"), Added(made)
    assert settings["lora_dropout"] == 0.0, "PEFT has none for parameters"
    assert all(".self_attn." in module for module in settings["target_modules"])
    layers = range(4)
    assert settings["target_parameters"] == sorted(
        f"model.layers.{layer}.mlp.{name}"
        for layer in layers
        for name in ("experts.gate_up_proj", "experts.down_proj", "gate.weight")
    )
    for layer in layers:
        stored = f"model.layers.{layer}.block_sparse_moe"
        module = f"model.layers.{layer}.mlp"
        # The wrapper of gate_up_proj is within that of down_proj.
        made_up = scale(settings, f"{module}.experts.gate_up_proj") * by_expert(
            tensors, f"{module}.experts.base_layer"
        )
        down = scale(settings, f"{module}.experts.down_proj") * by_expert(tensors, f"{module}.experts")
        for expert in range(4):
            gate, up, out = (added(f"{stored}.experts.{expert}.w{number}.weight") for number in (1, 3, 2))
            np.testing.assert_allclose(made_up[expert], np.concatenate([gate, up]), atol=2e-5)
            np.testing.assert_allclose(down[expert], out, atol=2e-5)
        a, b = (tensors[f"{module}.gate.lora_{side}.weight"] for side in "AB")
        np.testing.assert_allclose(
            scale(settings, f"{module}.gate.weight") * b @ a, added(f"{stored}.gate.weight"), atol=2e-5
        )


def test_one_half_of_a_joined_parameter_is_adapted_alone(tmp_path: Path) -> None:
    made = trained("qwen3_moe", tmp_path, lora_targets="custom", lora_keys=["mlp.switch_mlp.up_proj"])
    settings = written(made, tmp_path / "peft")
    tensors, added = tensors_of(tmp_path / "peft"), Added(made)
    name = "model.layers.1.mlp.experts"
    both = scale(settings, f"{name}.gate_up_proj") * by_expert(tensors, f"{name}")
    np.testing.assert_array_equal(both[:, :16], 0)
    np.testing.assert_allclose(both[2, 16:], added(f"{name}.2.up_proj.weight"), atol=2e-5)


@pytest.mark.parametrize("case", ["gpt_oss", "granitemoe"])
def test_stacks_of_experts_keep_their_layout(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path)
    settings = written(made, tmp_path / "peft")
    tensors, added = tensors_of(tmp_path / "peft"), Added(made)
    module = {"gpt_oss": "model.layers.0.mlp", "granitemoe": "model.layers.0.block_sparse_moe"}[case]
    stored = {
        "gpt_oss": f"{module}.experts.gate_up_proj",
        "granitemoe": f"{module}.input_linear.weight",
    }[case]
    got = scale(settings, f"{module}.experts.gate_up_proj") * by_expert(tensors, f"{module}.experts.base_layer")
    want = added(stored)
    np.testing.assert_allclose(got.swapaxes(1, 2) if case == "gpt_oss" else got, want, atol=2e-5)


def test_what_peft_takes_for_experts_is_named_as_a_parameter(tmp_path: Path) -> None:
    made = trained("qwen2_moe", tmp_path, lora_targets="custom", lora_keys=["mlp.shared_expert.gate_proj"])
    settings = written(made, tmp_path / "peft")
    assert settings["target_modules"] == []
    assert settings["target_parameters"][0] == "model.layers.0.mlp.shared_expert.gate_proj.weight"


def test_an_embedding_is_one_of_the_head_too_where_they_are_tied(tmp_path: Path) -> None:
    made = trained("gemma2", tmp_path, lora_targets="custom", lora_keys=["model.embed_tokens"])
    settings = written(made, tmp_path / "peft", tied=True)
    assert settings["target_modules"] == ["lm_head", "model.embed_tokens"]
    tensors = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    embedding = [tensors[f"base_model.model.model.embed_tokens.lora_embedding_{side}"] for side in "AB"]
    head = [tensors[f"base_model.model.lm_head.lora_{side}.weight"] for side in "AB"]
    np.testing.assert_array_equal((embedding[1] @ embedding[0]).T, head[1] @ head[0])


@pytest.mark.parametrize(
    ("case", "settings", "named"),
    [
        ("qwen2_moe", {"fine_tune_type": "dora", "lora_targets": "custom", "lora_keys": ["mlp.gate"]}, "no DoRA"),
        (
            "llama",
            {"fine_tune_type": "dora", "lora_targets": "custom", "lora_keys": ["model.embed_tokens"]},
            "PEFT's DoRA scales columns and mlx-lm's rows",
        ),
        ("mamba", {}, r"mixer\.dt_proj: models of type mamba use its weight without calling it"),
        ("jamba", {}, r"mamba\.dt_proj: models of type jamba"),
        ("llama", {"fine_tune_type": "full"}, "trained whole"),
    ],
)
def test_what_peft_cannot_hold_is_refused_by_name(
    case: str, settings: dict[str, Any], named: str, tmp_path: Path
) -> None:
    made = trained(case, tmp_path, **settings)
    with pytest.raises(AdapterError, match=named) as refused:
        written(made, tmp_path / "peft")
    assert refused.value.hint is not None
    assert "`merged`" in refused.value.hint
    assert not list((tmp_path / "peft").iterdir())


def test_a_stack_in_a_model_that_transformers_does_not_have_is_refused() -> None:
    values = np.zeros((2, 2), np.float32)
    pair = Factors("transformer.experts.w1", values, values, 0)
    with pytest.raises(AdapterError, match="PEFT reaches it in no model of type unheard_of"):
        place(pair, "unheard_of")
