"""What `compute_dtype` means on this machine, what it does to a model's weights, and that a run keeps to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from droidft.adapters.folder import read_adapter
from droidft.config import ComputeDtype, parse_config
from droidft.engine import assemble
from droidft.engine.machine import kernels
from droidft.engine.machine.device import Device, computing
from droidft.engine.model import adapter_weights, loading, lora
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.estimate import Estimator
from droidft.engine.model.loss import SplitModel
from droidft.engine.model.precision import AUTO, Precision, hold, precision
from droidft.engine.model.targets import Survey
from droidft.engine.training.loop import train
from droidft.errors import ConfigError
from droidft.events import Event, RunStarted, TrainReport
from droidft.models.catalog import load_config
from droidft.support.places import Places
from tests import tiny
from tests.adapters.files import write_adapter
from tests.conftest import CACHE
from tests.engine import jobs

SHORT = Precision("float32", short=True)
ROUNDED = {"lora": 1e-6, "dora": 2e-2}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The kernels in place, and `auto` as it is without the tests' own default."""
    monkeypatch.delenv(AUTO)
    with computing(CACHE) as found:
        if not found.fused_kernels:
            pytest.skip(f"no fused kernels here: {found.warnings}")
        yield found


def test_without_kernels_auto_is_float32_and_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AUTO)
    assert precision() == Precision("float32")
    with pytest.raises(ConfigError, match="kernels") as refused:
        precision(ComputeDtype.BFLOAT16)
    assert refused.value.field == "compute_dtype"


def test_a_variable_that_is_no_type_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTO, "fp32")
    with pytest.raises(ConfigError, match=f"{AUTO}=fp32") as refused:
        precision()
    assert "float32" in refused.value.hint
    monkeypatch.setenv(AUTO, "")
    assert precision() == Precision("float32")


def test_auto_is_bfloat16_where_the_processor_has_it(machine: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = kernels.active()
    assert fused is not None
    assert precision().short == bool(fused.short_products)
    assert precision(ComputeDtype.BFLOAT16) == SHORT
    assert precision(ComputeDtype.FLOAT32) == Precision("float32")
    assert precision(ComputeDtype.BFLOAT16, trains_base=True) == Precision("float32")
    monkeypatch.setenv(AUTO, "float32")
    assert precision() == Precision("float32")


def test_matrices_are_held_once_in_bfloat16_and_all_else_in_float32(machine: Device, tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path / "model")
    model, _ = loading.load_model(folder, precision=SHORT)
    types = {name: array.dtype for name, array in tree_flatten(model.parameters())}
    matrices = {name for name in types if "norm" not in name}
    assert {types[name] for name in matrices} == {mx.bfloat16}
    assert {types[name] for name in types.keys() - matrices} == {mx.float32}
    survey = Survey(build_lazily(load_config(folder)))
    held = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
    assert Estimator(survey, bytes_per_value=4, short_products=True).weights == held


def test_routers_stay_float32(machine: Device) -> None:
    model = build_lazily(
        {
            "model_type": "mixtral", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2,
            "vocab_size": 50, "rms_norm_eps": 1e-5,
        }
    )  # fmt: skip
    hold(model, SHORT)
    block: Any = model.layers[0]
    assert block.block_sparse_moe.gate.weight.dtype == mx.float32
    assert block.self_attn.q_proj.weight.dtype == mx.bfloat16
    assert model(mx.array([[1, 2, 3]])).dtype == mx.float32


def test_logits_are_those_of_float32_but_for_the_rounding(machine: Device, tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path / "model")
    text = mx.arange(40)[None]
    plain, short = (loading.load_model(folder, precision=each)[0] for each in (Precision("float32"), SHORT))
    want, found = np.asarray(plain(text)), np.asarray(short(text))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - want).max() < 0.02 * np.abs(want).max()


def test_what_full_fine_tuning_changed_is_not_rounded_away(machine: Device, tmp_path: Path) -> None:
    folder, name = tiny.write_model(tmp_path / "model"), "model.layers.0.mlp.up_proj.weight"
    model, _ = loading.load_model(folder, precision=SHORT)
    stored = {key: array.astype(mx.float32) for key, array in tree_flatten(model.parameters())}
    source = tiny.llama()
    source.load_weights(list(stored.items()))
    for strength, moves in ((1e-6, True), (0.0, False)):
        made = write_adapter(tmp_path / f"full {moves}", source, kind="full", strength=strength)
        adapter_weights.apply(model, read_adapter(made))
        trained = dict(tree_flatten(model.parameters()))[name]
        saved: Any = mx.load(str(made / "adapters.safetensors"))
        assert mx.array_equal(trained, saved[name])
        assert (adapter_weights.difference(model, range(1, 40)).max_logit > 0) is moves
        adapter_weights.remove(model)
        assert model.layers[0].mlp.up_proj.weight.dtype == mx.bfloat16


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_adapters_are_float32_and_begin_as_nothing(machine: Device, tmp_path: Path, kind: str) -> None:
    model, _ = loading.load_model(tiny.write_model(tmp_path / "model"), precision=SHORT)
    base = model(mx.arange(40)[None])
    keys = ["mlp.up_proj", "model.embed_tokens"]
    config = jobs.config(fine_tune_type=kind, lora_targets="custom", lora_keys=keys)
    lora.attach(model, lora.targets_of(model, config), config)
    assert {array.dtype for array in lora.trainable(model).values()} == {mx.float32}
    # DoRA's own layer does not round activations, ours for the base does.
    np.testing.assert_allclose(np.asarray(model(mx.arange(40)[None])), np.asarray(base), atol=ROUNDED[kind])


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_takes_the_head_without_its_logits(machine: Device, tmp_path: Path, tied: bool) -> None:
    folder = tiny.write_model(tmp_path / "model", tie_word_embeddings=tied)
    model, _ = loading.load_model(folder, precision=SHORT)
    model.freeze()
    head = SplitModel(model).projection
    assert head is not None
    assert head[0].dtype == mx.bfloat16


def run(root: Path, name: str, device: Device, *, stop_after: int | None = None, **changes: Any) -> list[Event]:
    settings = {"model_path": str(root / "model"), "train_data_path": str(root / "chat.jsonl"), "iterations": 6}
    config = parse_config({**settings, "steps_per_report": 1, "save_every": 1, "early_stop": False, **changes})
    places = Places(root, root, root, root / name, root)
    events: list[Event] = []
    job = assemble.assembled(config, places, device).job
    steps = assemble.assemble(config, places, device)
    events.append(next(steps))
    steps.close()

    def stop() -> bool:
        return stop_after is not None and sum(isinstance(event, TrainReport) for event in events) >= stop_after

    for event in train(job, should_stop=stop):
        events.append(event)
    return events


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, TrainReport)]


def products(events: list[Event]) -> str:
    (started,) = (event for event in events if isinstance(event, RunStarted))
    return str(started.device.get("products", "")).partition(" ")[0]


def test_a_run_says_what_it_multiplies_in_and_goes_on_with_it(
    machine: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_model(tmp_path / "model")
    tiny.write_chat(tmp_path / "chat.jsonl")
    monkeypatch.setenv(AUTO, "bfloat16")
    whole = run(tmp_path, "whole", machine)
    first = run(tmp_path, "stopped", machine, stop_after=2)
    monkeypatch.setenv(AUTO, "float32")
    rest = run(tmp_path, "stopped", machine)
    assert products(whole) == products(first) == products(rest) == "bfloat16"
    assert losses(whole) == losses(first) + losses(rest)
    plain = run(tmp_path, "plain", machine)
    assert products(plain) == ""
    np.testing.assert_allclose(losses(plain), losses(whole), rtol=5e-3)
    assert losses(plain) != losses(whole)


def test_quantised_bases_train_through_the_same_products(
    machine: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlx.nn as nn
    from mlx_lm import utils

    folder = tiny.write_model(tmp_path / "model")
    tiny.write_chat(tmp_path / "chat.jsonl")
    model, config = loading.load_model(folder)
    nn.quantize(model, group_size=32, bits=4)
    config["quantization"] = {"group_size": 32, "bits": 4}
    utils.save_model(folder, model)
    utils.save_config(config, folder / "config.json")
    short = run(tmp_path, "short", machine, compute_dtype="bfloat16")
    plain = run(tmp_path, "plain", machine, compute_dtype="float32")
    np.testing.assert_allclose(losses(short), losses(plain), rtol=5e-3)
    assert losses(short) != losses(plain)
