from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from droidft.adapters.diagnostics import BaseModel, check_fits, diagnose
from droidft.adapters.folder import read_adapter
from droidft.engine.model import adapter_weights
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.lora import base_only
from droidft.engine.model.targets import resolve
from droidft.errors import AdapterError
from tests.adapters.files import ATTENTION_QV, FULL_LAYER, edit_config, edit_weights, write_adapter
from tests.tiny import LLAMA, llama, write_model

TOKENS = [1, 7, 99, 200, 3]


def logits(model: nn.Module) -> np.ndarray:
    return np.array(model(mx.array([TOKENS])))


def parameters(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in tree_flatten(model.parameters())}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keys": ATTENTION_QV},
        {"keys": None},
        {"kind": "dora"},
        {"num_layers": 1},
        {"kind": "full"},
        {"kind": "full", "num_layers": 1},
        {"keys": [*FULL_LAYER, "model.embed_tokens"]},
    ],
    ids=str,
)
def test_the_answer_is_that_of_mlx_lm_and_the_base_comes_back(tmp_path: Path, options: dict[str, Any]) -> None:
    from mlx_lm.tuner.utils import load_adapters

    folder = write_adapter(tmp_path / "a", llama(), **options)
    theirs = load_adapters(llama(), str(folder))
    theirs.eval()
    model = llama()
    before, weights = logits(model), parameters(model)
    adapter_weights.apply(model, read_adapter(folder))
    np.testing.assert_array_equal(logits(model), logits(theirs))
    assert np.abs(logits(model) - before).max() > 0.01
    adapter_weights.remove(model)
    np.testing.assert_array_equal(logits(model), before)
    after = parameters(model)
    assert after.keys() == weights.keys()
    assert all(np.array_equal(after[name], weights[name]) for name in weights)


def test_one_base_serves_several_adapters(tmp_path: Path) -> None:
    infos = [
        read_adapter(write_adapter(tmp_path / f"{number}", llama(), **options))
        for number, options in enumerate([{}, {"kind": "dora"}, {"kind": "full"}, {"rank": 8, "keys": ATTENTION_QV}])
    ]
    alone = []
    for info in infos:
        fresh = llama()
        adapter_weights.apply(fresh, info)
        alone.append(logits(fresh))
    model = llama()
    base = logits(model)
    for number in (0, 1, 2, 3, 0, 2, 1):
        adapter_weights.apply(model, infos[number])
        current = adapter_weights.current(model)
        assert current is not None
        assert current.info is infos[number]
        np.testing.assert_array_equal(logits(model), alone[number])
        with base_only(model):
            np.testing.assert_array_equal(logits(model), base)
        np.testing.assert_array_equal(logits(model), alone[number])
    adapter_weights.remove(model)
    adapter_weights.remove(model)
    assert adapter_weights.current(model) is None
    np.testing.assert_array_equal(logits(model), base)


def test_on_a_quantised_base(tmp_path: Path) -> None:
    wide = {"hidden_size": 64, "intermediate_size": 64}
    folder = write_adapter(tmp_path / "a", llama(**wide))
    model = llama(**wide)
    nn.quantize(model, group_size=32, bits=4)
    before = logits(model)
    adapter_weights.apply(model, read_adapter(folder))
    assert np.abs(logits(model) - before).max() > 0.01
    adapter_weights.remove(model)
    np.testing.assert_array_equal(logits(model), before)


def delete_one(arrays: dict[str, Any]) -> None:
    del arrays["model.layers.1.mlp.up_proj.lora_a"], arrays["model.layers.1.mlp.up_proj.lora_b"]


@pytest.mark.parametrize(
    ("made_for", "options", "reason"),
    [
        ({"hidden_size": 64}, {}, "has shape .*, the model needs"),
        ({"num_hidden_layers": 3}, {}, "have no place in this model, such as model.layers.2"),
        ({}, {"edit": delete_one}, "2 of 28 tensors are missing"),
        ({"intermediate_size": 96}, {"kind": "full"}, "has shape"),
        ({"num_hidden_layers": 3}, {"kind": "full"}, "no place"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_model_untouched(
    tmp_path: Path, made_for: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    edit = options.pop("edit", None)
    folder = write_adapter(tmp_path / "a", llama(**made_for), **options)
    if edit:
        edit_weights(folder, edit)
    model = llama()
    before = logits(model)
    with pytest.raises(AdapterError, match=reason):
        adapter_weights.apply(model, read_adapter(folder))
    np.testing.assert_array_equal(logits(model), before)
    assert adapter_weights.current(model) is None
    assert not [name for name, _ in tree_flatten(model.parameters()) if "lora" in name]


def test_an_adapter_is_checked_without_weights(tmp_path: Path) -> None:
    info = read_adapter(write_adapter(tmp_path / "a", llama(), kind="dora"))
    lazy = build_lazily(LLAMA)
    expected = adapter_weights.expected_tensors(lazy, info)
    assert expected == dict(info.tensors)
    check_fits(info, expected)
    assert resolve(lazy).num_blocks == 2, "the model is as it was"
    narrow = build_lazily({**LLAMA, "intermediate_size": 96})
    with pytest.raises(AdapterError, match="shape"):
        check_fits(info, adapter_weights.expected_tensors(narrow, info))


def test_dora_on_experts_is_refused(tmp_path: Path) -> None:
    config = {**LLAMA, "model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 1}
    folder = write_adapter(tmp_path / "a", llama(), kind="dora")
    keys = ["block_sparse_moe.switch_mlp.up_proj", "self_attn.q_proj"]
    edit_config(folder, lora_parameters={"rank": 4, "scale": 1.0, "dropout": 0.0, "keys": keys})
    with pytest.raises(AdapterError, match="cannot be put on this model"):
        adapter_weights.apply(build_lazily(config), read_adapter(folder))


def test_the_difference_is_measured(tmp_path: Path) -> None:
    model = llama()
    strong = read_adapter(write_adapter(tmp_path / "strong", llama()))
    idle = read_adapter(write_adapter(tmp_path / "idle", llama(), strength=0))
    base = logits(model)
    adapter_weights.apply(model, strong)
    moved = adapter_weights.difference(model, TOKENS)
    gap = np.abs(logits(model) - base)
    assert moved.max_logit == pytest.approx(gap.max(), rel=1e-5)
    assert moved.mean_logit == pytest.approx(gap.mean(), rel=1e-5)
    p, q = (
        np.exp(x) / np.exp(x).sum(-1, keepdims=True)
        for x in (logits(model).astype(np.float64), base.astype(np.float64))
    )
    assert moved.kl == pytest.approx((p * np.log(p / q)).sum(-1).mean(), rel=1e-3)
    adapter_weights.apply(model, idle)
    nothing = adapter_weights.difference(model, TOKENS)
    assert (nothing.max_logit, nothing.kl) == (0.0, pytest.approx(0.0, abs=1e-6))


def test_details_of_a_loaded_model(tmp_path: Path) -> None:
    from droidft.engine.generation.loaded import load

    write_model(tmp_path / "models" / "tiny")
    loaded = load("tiny", models_dir=tmp_path / "models", cache_dir=tmp_path)
    assert loaded.base.full_layer == resolve(loaded.model).keys
    assert loaded.context_length == 512
    idle = read_adapter(write_adapter(tmp_path / "idle", llama(), strength=0))
    details = loaded.use(idle)
    assert details is not None
    assert [warning.code for warning in details.warnings] == ["no_effect", "base_unknown", "no_best"]
    fields = details.as_dict()
    assert {
        "name",
        "type",
        "rank",
        "alpha",
        "scale",
        "dropout",
        "keys",
        "num_layers",
        "expected_layers",
    } <= fields.keys()
    assert (fields["num_layers"], fields["expected_layers"], fields["type"]) == (2, 2, "latest")
    assert loaded.use(None) is None
    assert adapter_weights.current(loaded.model) is None


def test_keys_that_name_nothing_in_the_file_give_way_to_what_is_in_it(tmp_path: Path) -> None:
    right, wrong = (write_adapter(tmp_path / name, llama()) for name in ("right", "wrong"))
    edit_config(wrong, lora_parameters={"rank": 4, "scale": 1.0, "dropout": 0.0, "keys": ["auto"]})
    edit_config(right, lora_parameters={"rank": 4, "scale": 1.0, "dropout": 0.0, "keys": FULL_LAYER})
    found = []
    for folder in (right, wrong):
        model = llama()
        adapter_weights.apply(model, read_adapter(folder))
        found.append(logits(model))
    np.testing.assert_array_equal(*found)
    base = BaseModel(path=tmp_path, ref="m", num_layers=2, full_layer=tuple(FULL_LAYER))
    warned = {warning.code: warning.message for warning in diagnose(read_adapter(wrong), base)}
    assert "auto" in warned["no_keys"]
