"""PEFT's files come in: every layout gives the logits that it was made from, and the rest is refused by name."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.peft import write_peft
from droidft.adapters.exports.updates import updates
from droidft.adapters.folder import read_adapter
from droidft.adapters.imports.experts import by_expert, written_in_turn
from droidft.adapters.imports.peft import PeftFolder
from droidft.adapters.imports.sources import open_source
from droidft.engine.model import adapter_weights, loading
from droidft.engine.model.foundation import foundation
from droidft.errors import AdapterError
from droidft.models.catalog import load_config
from droidft.models.fingerprint import fingerprint
from tests.adapters.exports.trained import Logits, Trained, difference, read, trained

CLOSE = 1e-4
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def exported(made: Trained, target: Path) -> Path:
    base, config = Checkpoint(made.base, []), load_config(made.base)
    pairs = factors(updates(made.info, made.origins()), {name: base.shape(name) for name in base.names})
    target.mkdir()
    tied = bool(config.get("tie_word_embeddings"))
    write_peft(pairs, target, base=str(made.base), model_type=config["model_type"], dropout=0.1, tied=tied)
    return target


def imported(base: Path, folder: Path, target: Path) -> Logits:
    """Logits of the base with the adapter that came in."""
    source = open_source(folder)
    assert isinstance(source, PeftFolder)
    source.on(foundation(base), fingerprint(base))
    target.mkdir()
    source.write(target)
    model, _ = loading.load_model(base)
    adapter_weights.apply(model, read_adapter(target))
    return read(model)


@pytest.mark.parametrize(
    "case",
    [
        "llama", "qwen2", "phi3", "gemma2", "gpt2", "mixtral", "qwen2_moe", "qwen3_5_moe", "gpt_oss", "granitemoe",
        "gpt_neox", "kimi_linear", "phimoe", "laguna", "minimax_m3_vl", "qwen3_next", "olmoe", "mistral3", "qwen2_vl",
        "deepseek_v3", "exaone", "cohere2",
    ],
)  # fmt: skip
def test_what_was_written_for_peft_comes_back(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path)
    assert difference(imported(made.base, exported(made, tmp_path / "peft"), tmp_path / "in"), made.adapted) < CLOSE


@pytest.mark.parametrize("case", ["llama", "phi3", "gpt2"])
def test_dora(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path, fine_tune_type="dora")
    assert difference(imported(made.base, exported(made, tmp_path / "peft"), tmp_path / "in"), made.adapted) < CLOSE
    assert read_adapter(tmp_path / "in").fine_tune_type == "dora"


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        ("llama", {"lora_num_layers": 1}),
        ("llama", {"lora_targets": "custom", "lora_keys": ["model.embed_tokens", "lm_head", "self_attn.q_proj"]}),
        ("gemma2", {"lora_targets": "custom", "lora_keys": ["model.embed_tokens"]}),
        ("llama", {"lora_targets": "custom", "lora_keys": ["model.embed_tokens"]}),
    ],
)
def test_parts_of_a_model(case: str, settings: dict[str, Any], tmp_path: Path) -> None:
    made = trained(case, tmp_path, **settings)
    assert difference(imported(made.base, exported(made, tmp_path / "peft"), tmp_path / "in"), made.adapted) < CLOSE
    assert read_adapter(tmp_path / "in").num_layers == settings.get("lora_num_layers", -1)


class Peft:
    """A folder of PEFT's for the tiny llama, written by hand."""

    def __init__(self, folder: Path, made: Trained) -> None:
        self.folder, self.made = folder, made
        self.random = np.random.default_rng(5)
        self.tensors: dict[str, NDArray[np.float32]] = {}
        self.config: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
        self.added: dict[str, NDArray[np.float32]] = {}

    def adapt(self, module: str, rank: int, scale: float) -> None:
        shape = Checkpoint(self.made.base, []).shape(f"{module}.weight")
        a, b = (self.random.normal(0, 0.2, size).astype(np.float32) for size in ((rank, shape[1]), (shape[0], rank)))
        self.tensors[f"base_model.model.{module}.lora_A.weight"] = a
        self.tensors[f"base_model.model.{module}.lora_B.weight"] = b
        self.added[f"{module}.weight"] = scale * b @ a

    def write(self) -> Path:
        self.folder.mkdir()
        save_file(self.tensors, self.folder / WEIGHTS)
        (self.folder / CONFIG).write_text(json.dumps(self.config))
        return self.folder

    def expected(self, target: Path) -> Logits:
        """Of the base with the updates in its weights."""
        target.mkdir()
        tensors = load_file(self.made.base / "model.safetensors")
        save_file(
            {name: values + self.added.get(name, np.float32(0)) for name, values in tensors.items()},
            target / "model.safetensors",
        )
        (target / "config.json").write_bytes((self.made.base / "config.json").read_bytes())
        return read(loading.load_model(target)[0])


@pytest.fixture
def peft(tmp_path: Path) -> Peft:
    return Peft(tmp_path / "peft", trained("llama", tmp_path))


def test_ranks_and_alphas_differ_from_layer_to_layer(peft: Peft, tmp_path: Path) -> None:
    peft.config |= {"use_rslora": True, "rank_pattern": {"k_proj": 2}, "alpha_pattern": {r"layers\.1\..*k_proj": 3}}
    peft.adapt("model.layers.1.self_attn.q_proj", 4, 8 / 2)
    peft.adapt("model.layers.2.self_attn.q_proj", 9, 8 / 3)
    peft.adapt("model.layers.1.self_attn.k_proj", 4, 3 / 2)
    got = imported(peft.made.base, peft.write(), tmp_path / "in")
    assert difference(got, peft.expected(tmp_path / "merged")) < CLOSE
    info = read_adapter(tmp_path / "in")
    assert (info.rank, info.num_layers) == (9, 3)
    assert set(info.modules) == {"self_attn.q_proj", "self_attn.k_proj"}
    # What the adapter left out is there, and changes nothing.
    assert not load_file(info.file)["model.layers.3.self_attn.k_proj.lora_b"].any()


def test_what_is_recorded(peft: Peft, tmp_path: Path) -> None:
    peft.adapt("model.layers.0.self_attn.q_proj", 4, 2)
    peft.config |= {"peft_version": "0.21.2", "lora_dropout": 0.1}
    imported(peft.made.base, peft.write(), tmp_path / "in")
    info = read_adapter(tmp_path / "in")
    assert (info.scale, info.alpha, info.dropout) == (2.0, 8.0, 0.1)
    assert info.record["from"] == "PEFT 0.21.2"
    assert info.record["base"]["weights_sha256"] == fingerprint(peft.made.base)["weights_sha256"]


@pytest.mark.parametrize(
    ("change", "named", "way_out"),
    [
        ({"peft_type": "IA3"}, "type 'IA3'; only LORA", "merge_and_unload"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save \['lm_head'\]", "merge_and_unload"),
        ({"bias": "lora_only"}, "bias 'lora_only'", "merge_and_unload"),
        ({"init_lora_weights": "pissa_niter_16"}, "'pissa_niter_16', which changes the base", "conversion"),
        ({"lora_bias": True}, "lora_bias True", "merge_and_unload"),
        ({"use_qalora": True}, "use_qalora True", "merge_and_unload"),
        ({"layer_replication": [[0, 4]]}, "layer_replication", "merge_and_unload"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens", "merge_and_unload"),
        ({"trainable_token_indices": [5]}, "trainable_token_indices", "merge_and_unload"),
        ({"lora_alpha": "many"}, "lora_alpha 'many', which is no number", ""),
    ],
)
def test_settings_that_compute_something_else_are_refused(
    change: dict[str, Any], named: str, way_out: str, peft: Peft
) -> None:
    peft.adapt("model.layers.0.self_attn.q_proj", 4, 2)
    peft.config |= change
    with pytest.raises(AdapterError, match=named) as refused:
        PeftFolder(peft.write())
    assert way_out in refused.value.hint


@pytest.mark.parametrize(
    ("name", "shape", "named"),
    [
        ("model.norm.weight", (32,), "holds base_model.model.model.norm.weight: weights that were trained whole"),
        ("model.layers.0.self_attn.q_proj.lora_B.bias", (32,), "weights that were trained whole"),
        ("model.layers.0.self_attn.k_proj.lora_A.weight", (4, 32), "has only lora_A of model.layers.0.self_attn.k_p"),
        ("model.layers.9.self_attn.q_proj", (4, 32), r"adapts model.layers.9.self_attn.q_proj, which the model base"),
        ("model.layers.0.self_attn.v_proj", (4, 24), r"v_proj of 16 x 24, and this model of 16 x 32"),
        ("model.layers.0.input_layernorm", (4, 32), "which the model base does not have"),
    ],
)
def test_tensors_that_cannot_come_in_are_named(
    name: str, shape: tuple[int, ...], named: str, peft: Peft, tmp_path: Path
) -> None:
    peft.adapt("model.layers.0.self_attn.q_proj", 4, 2)
    if name.endswith(("weight", "bias")):
        peft.tensors[f"base_model.model.{name}"] = np.ones(shape, np.float32)
    else:
        peft.tensors[f"base_model.model.{name}.lora_A.weight"] = np.ones(shape, np.float32)
        peft.tensors[f"base_model.model.{name}.lora_B.weight"] = np.ones((16, shape[0]), np.float32)
    with pytest.raises(AdapterError, match=named):
        imported(peft.made.base, peft.write(), tmp_path / "in")


def test_embeddings_that_were_stored_as_they_are_do_no_harm(peft: Peft, tmp_path: Path) -> None:
    peft.adapt("model.layers.0.self_attn.q_proj", 4, 2)
    stored = load_file(peft.made.base / "model.safetensors")["model.embed_tokens.weight"]
    peft.tensors["base_model.model.model.embed_tokens.base_layer.weight"] = stored
    got = imported(peft.made.base, peft.write(), tmp_path / "in")
    assert difference(got, peft.expected(tmp_path / "merged")) < CLOSE


def test_of_a_tied_embedding_both_or_neither_change(tmp_path: Path) -> None:
    made = trained("gemma2", tmp_path, lora_targets="custom", lora_keys=["model.embed_tokens"])
    folder = exported(made, tmp_path / "peft")
    tensors = load_file(folder / WEIGHTS)
    alone = {name: values for name, values in tensors.items() if "lm_head" not in name}
    save_file(alone, folder / WEIGHTS)
    with pytest.raises(AdapterError, match=r"changes model.embed_tokens alone, and in base the output head is"):
        imported(made.base, folder, tmp_path / "in")
    save_file({name: values for name, values in tensors.items() if "lm_head" in name}, folder / WEIGHTS)
    with pytest.raises(AdapterError, match=r"changes lm_head alone"):
        imported(made.base, folder, tmp_path / "again")


def test_pickles_are_never_read(peft: Peft) -> None:
    folder = peft.write()
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin, a pickle") as refused:
        PeftFolder(folder)
    assert "safetensors" in refused.value.hint


def test_a_quantised_base_takes_it_too(tmp_path: Path) -> None:
    made = trained("llama", tmp_path)
    model, _ = loading.load_model(made.base)
    nn.quantize(model, 32, 8, class_predicate=lambda _, it: hasattr(it, "to_quantized") and it.weight.shape[-1] == 32)
    packed = tmp_path / "packed"
    packed.mkdir()
    mx.save_safetensors(str(packed / "model.safetensors"), dict(tree_flatten(model.parameters())))
    config = load_config(made.base) | {"quantization": {"group_size": 32, "bits": 8}}
    (packed / "config.json").write_text(json.dumps(config))
    got = imported(packed, exported(made, tmp_path / "peft"), tmp_path / "in")
    model, _ = loading.load_model(packed)
    adapter_weights.apply(model, made.info)
    assert difference(got, read(model)) < CLOSE


def test_a_damaged_file_is_refused(peft: Peft) -> None:
    peft.adapt("model.layers.0.self_attn.q_proj", 4, 2)
    folder = peft.write()
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-8])
    with pytest.raises(AdapterError, match="is damaged"):
        PeftFolder(folder)


def test_experts_one_by_one_as_older_versions_name_them(tmp_path: Path) -> None:
    made = trained("mixtral", tmp_path)
    base = Checkpoint(made.base, [])
    tensors: dict[str, NDArray[np.float32]] = {}
    for pair in factors(updates(made.info, made.origins()), {name: base.shape(name) for name in base.names}):
        module = f"base_model.model.{pair.tensor.removesuffix('.weight')}"
        for name, values in (("lora_A", pair.a), ("lora_B", pair.b)):
            tensors[f"{module}.{name}.weight"] = np.ascontiguousarray(values)
    folder = tmp_path / "peft"
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    (folder / CONFIG).write_text(json.dumps(config))
    assert difference(imported(made.base, folder, tmp_path / "in"), made.adapted) < CLOSE


def test_experts_one_after_the_other_are_noticed() -> None:
    random = np.random.default_rng(0)
    stacks = []
    for rank in (4, 8, 16, 8):
        directions = random.normal(size=(8, 24, 1)) * random.normal(size=(8, 1, rank))
        stacks.append(0.5 * directions + random.normal(size=(8, 24, rank)))
    in_turn = [(stack.transpose(1, 0, 2).reshape(24, -1), 8) for stack in stacks]
    fastest = [(stack.transpose(1, 2, 0).reshape(24, -1), 8) for stack in stacks]
    assert written_in_turn(in_turn)
    assert not written_in_turn(fastest)
    for (b, count), stack in zip(in_turn, stacks, strict=True):
        np.testing.assert_array_equal(by_expert(b, count, in_turn=True), stack)
    for (b, count), stack in zip(fastest, stacks, strict=True):
        np.testing.assert_array_equal(by_expert(b, count, in_turn=False), stack)


def test_what_has_learned_nothing_is_in_the_order_of_peft() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        assert not written_in_turn([(random.normal(size=(24, 32)), 8) for _ in range(4)])
    assert not written_in_turn([(np.zeros((24, 32)), 8)])
