"""The chunked loss against the plain one, on the heads that architectures really have."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from droidft.data import batches
from droidft.engine.model import lora, loss
from droidft.engine.model.architectures import build_lazily
from tests import tiny
from tests.engine import jobs

GEMMA2 = {
    "model_type": "gemma2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-6,
    "vocab_size": tiny.VOCABULARY,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 3.0,
    "query_pre_attn_scalar": 8.0,
}


def plain(model: Any, batch: batches.Batch) -> mx.array:
    logits = model(mx.array(batch.inputs))
    logits = logits.reshape(-1, logits.shape[-1])[mx.array(batch.positions)]
    return nn.losses.cross_entropy(logits, mx.array(batch.targets)).sum()


def make_model(kind: str, **changes: Any) -> Any:
    mx.random.seed(0)
    if kind == "gemma2":
        model: Any = build_lazily(GEMMA2)
    else:
        model = tiny.llama(tie_word_embeddings=kind == "tied")
    settings = jobs.config(**changes)
    lora.attach(model, lora.targets_of(model, settings), settings)
    noise = [(n, a + 0.1 * mx.random.normal(a.shape)) for n, a in lora.trainable(model).items()]
    model.load_weights(noise, strict=False)
    return model


@pytest.mark.parametrize("kind", ["tied", "untied", "gemma2"])
@pytest.mark.parametrize("chunk", [1 << 24, tiny.VOCABULARY * 7])
def test_loss_and_gradients_equal_the_plain_ones(
    kind: str, chunk: int, arithmetic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "chunk_logits", lambda: chunk)
    model = make_model(kind)
    split = loss.SplitModel(model)
    assert split.split
    assert not split.head_is_trained()
    assert (split.projection is None) == (kind == "gemma2")
    batch = batches.make_batch(tiny.Rows(5), range(5))
    expected, wanted = nn.value_and_grad(model, lambda: plain(model, batch))()
    value, gradients = nn.value_and_grad(model, lambda: loss.token_losses(split, batch).sum())()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert float(loss.losses(split, batch).sum().item()) == pytest.approx(expected.item(), rel=1e-6)
    for (name, ours), (_, theirs) in zip(tree_flatten(gradients), tree_flatten(wanted), strict=True):
        assert np.allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-4, atol=2e-5), name


@pytest.mark.parametrize("kind", ["tied", "gemma2", "trained head"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1 << 24, tiny.VOCABULARY * 7])
def test_each_log_probability_carries_a_gradient_of_its_own(
    kind: str, temperature: float, chunk: int, arithmetic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "chunk_logits", lambda: chunk)
    trained = {"lora_targets": "custom", "lora_keys": ["mlp.up_proj", "lm_head"]}
    model = make_model("untied", **trained) if kind == "trained head" else make_model(kind)
    split, batch = loss.SplitModel(model), batches.make_batch(tiny.Rows(5), range(5))
    factors = mx.random.normal((batch.supervised,), key=mx.random.key(1))

    def expected() -> mx.array:
        logits = model(mx.array(batch.inputs)).reshape(-1, tiny.VOCABULARY)[mx.array(batch.positions)]
        found = nn.log_softmax(logits / temperature)
        return mx.take_along_axis(found, mx.array(batch.targets)[:, None], axis=-1)[:, 0]

    def ours() -> mx.array:
        return loss.log_probabilities(split, batch, temperature=temperature)

    assert np.allclose(np.asarray(ours()), np.asarray(expected()), atol=2e-5)
    without = loss.losses(split, batch, temperature=temperature)
    assert np.allclose(-np.asarray(without), np.asarray(expected()), atol=2e-5)
    _, wanted = nn.value_and_grad(model, lambda: (expected() * factors).sum())()
    _, gradients = nn.value_and_grad(model, lambda: (ours() * factors).sum())()
    for (name, mine), (_, theirs) in zip(tree_flatten(gradients), tree_flatten(wanted), strict=True):
        assert np.allclose(np.asarray(mine), np.asarray(theirs), rtol=1e-4, atol=2e-5), name


def test_a_trained_head_gets_its_gradient() -> None:
    model = make_model("untied", lora_targets="custom", lora_keys=["mlp.up_proj", "lm_head"])
    split = loss.SplitModel(model)
    assert split.head_is_trained()
    batch = batches.make_batch(tiny.Rows(5), range(5))
    _, wanted = nn.value_and_grad(model, lambda: plain(model, batch))()
    _, gradients = nn.value_and_grad(model, lambda: loss.token_losses(split, batch).sum())()
    found, theirs = dict(tree_flatten(gradients)), dict(tree_flatten(wanted))
    assert np.abs(np.asarray(found["lm_head.lora_b"])).max() > 0
    for name, array in found.items():
        assert np.allclose(np.asarray(array), np.asarray(theirs[name]), rtol=1e-4, atol=2e-5), name


def test_an_adapter_on_the_head_is_trained_from_the_start(arithmetic: None) -> None:
    """Its B is zero, so that logits are those of the frozen matrix alone."""
    model = tiny.llama(tie_word_embeddings=False)
    settings = jobs.config(lora_targets="custom", lora_keys=["mlp.up_proj", "lm_head"])
    lora.attach(model, lora.targets_of(model, settings), settings)
    split, batch = loss.SplitModel(model), batches.make_batch(tiny.Rows(5), range(5))
    _, gradients = nn.value_and_grad(model, lambda: loss.token_losses(split, batch).sum())()
    assert np.abs(np.asarray(dict(tree_flatten(gradients))["lm_head.lora_b"])).max() > 0


def test_dropout_does_not_hide_that_a_model_splits() -> None:
    """The check of the split compares two passes, which dropout would make differ."""
    model = make_model("tied", lora_dropout=0.5)
    assert loss.SplitModel(model).split
    assert model.training


def test_positions_name_the_targets_and_nothing_else() -> None:
    rows = tiny.Rows(3)
    batch = batches.make_batch(rows, [2, 0])
    width = batch.inputs.shape[1]
    assert width % batches.PAD_TO == 0
    for position, target in zip(batch.positions, batch.targets, strict=True):
        row = rows[(2, 0)[position // width]]
        assert row.supervised[position % width + 1]
        assert row.tokens[position % width + 1] == target
    assert batch.supervised == sum(int(rows[index].supervised[1:].sum()) for index in (2, 0))
