"""Adapters side by side, against mlx-lm's own layers one at a time."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

from droidft.engine.model.lora import Attached, Slot
from droidft.engine.model.stacked import Stack, stackable


def shaken(layer: Any) -> Any:
    layer.lora_b = 0.3 * mx.random.normal(layer.lora_b.shape)
    if "m" in layer:
        layer.m = layer.m * mx.random.uniform(0.5, 2, layer.m.shape)
    layer.eval()
    return layer


def stack_of(base: Any, layers: list[Any]) -> Stack:
    holder = {"place": base}
    return Stack([Attached([Slot(holder, "place", base, layer)]) for layer in layers])


def bases() -> list[Any]:
    mx.random.seed(0)
    plain = nn.Linear(64, 96, bias=False)
    return [plain, nn.Linear(64, 96), nn.QuantizedLinear.from_linear(nn.Linear(64, 96), 32, 4)]


@pytest.mark.parametrize("base", bases(), ids=["plain", "with a bias", "quantised"])
def test_each_row_has_the_term_of_its_own_adapter(base: Any) -> None:
    layers = [
        shaken(LoRALinear.from_base(base, r=4, scale=2.0)),
        shaken(DoRALinear.from_base(base, r=8, scale=1.0)),
        shaken(LoRALinear.from_base(base, r=16, scale=0.5)),
    ]
    stack = stack_of(base, layers)
    members = stack.members
    rows = [members[2], None, members[1], members[0], members[1]]
    stack.choose(rows)
    x = mx.random.normal((len(rows), 3, 64))
    found = stack.slots[0].adapted(x)
    for number, row in enumerate(rows):
        layer = base if row is None else row.slots[0].adapted
        assert mx.allclose(found[number], layer(x[number : number + 1])[0], rtol=1e-4, atol=1e-4), number


def test_embeddings_and_the_head_that_is_one() -> None:
    mx.random.seed(1)
    base = nn.Embedding(40, 32)
    layers = [
        shaken(LoRAEmbedding.from_base(base, r=4, scale=2.0)),
        shaken(DoRAEmbedding.from_base(base, r=3, scale=1.0)),
    ]
    stack = stack_of(base, layers)
    rows = [stack.members[1], None, stack.members[0]]
    stack.choose(rows)
    tokens, x = mx.array([[5, 1], [6, 6], [39, 0]]), mx.random.normal((3, 2, 32))
    made = stack.slots[0].adapted
    for number, row in enumerate(rows):
        layer, one = base if row is None else row.slots[0].adapted, slice(number, number + 1)
        assert mx.allclose(made(tokens)[one], layer(tokens[one]), rtol=1e-4, atol=1e-5)
        assert mx.allclose(made.as_linear(x)[one], layer.as_linear(x[one]), rtol=1e-4, atol=1e-5)


def test_what_does_not_stack() -> None:
    holder: dict[str, Any] = {}
    full = Attached([Slot(holder, "weight", mx.zeros(3), mx.ones(3))])
    experts = Attached([Slot(holder, "mlp", None, LoRASwitchLinear(8, 8, 2))])
    assert stackable(Attached([Slot(holder, "q", None, LoRALinear(8, 8))]))
    assert not stackable(full)
    assert not stackable(experts)
