"""Every architecture of the installed mlx-lm: what full-layer LoRA finds in it, and that all of it trains."""

import sys
import types

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten, tree_map_with_path, tree_unflatten

from droidft.config import LoraRouters, LoraTargets, TrainingConfig
from droidft.engine.model import lora
from droidft.engine.model.architectures import blocks, build_lazily, model_types
from droidft.engine.model.projections import projections, stored_bytes
from droidft.engine.model.targets import TargetPlan, resolve
from droidft.errors import TargetError
from scripts import architectures_page
from tests.engine.model.architectures import TABLE
from tests.engine.model.architectures.entry import Architecture
from tests.places import ROOT

RANK = 2
every = pytest.mark.parametrize("entry", TABLE.values(), ids=TABLE.keys())
adaptable = pytest.mark.parametrize(
    "entry",
    [entry for entry in TABLE.values() if not entry.unadaptable],
    ids=[name for name, entry in TABLE.items() if not entry.unadaptable],
)


@pytest.fixture
def model(entry: Architecture, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    if entry.package is not None:  # mlx-lm only asks whether it can be imported
        monkeypatch.setitem(sys.modules, entry.package, types.ModuleType(entry.package))
    mx.random.seed(0)
    return build_lazily({"model_type": entry.model_type, **entry.config})


def test_the_table_has_every_architecture_of_the_installed_mlx_lm() -> None:
    missing = sorted(set(model_types()) - set(TABLE))
    gone = sorted(set(TABLE) - set(model_types()))
    assert not missing, f"new in mlx-lm: {missing}; add each to tests/engine/model/architectures"
    assert not gone, f"no longer in mlx-lm: {gone}"


@adaptable
def test_full_layer_finds_what_the_table_says(entry: Architecture, model: nn.Module) -> None:
    def keys(routers: LoraRouters) -> set[str]:
        return set(resolve(model, routers=routers).keys)

    assert keys(LoraRouters.OFF) == set(entry.full_layer)
    assert keys(LoraRouters.AUTO) == {*entry.full_layer, *entry.auto_routers}
    assert keys(LoraRouters.ON) == {*entry.full_layer, *entry.routers}
    # Nothing adaptable is forgotten: what full-layer leaves out is named in the table.
    found = {found.key for block in blocks(model) for found in projections(block)}
    assert found == {*entry.full_layer, *entry.routers, *entry.outside}


@adaptable
def test_the_count_is_exactly_what_mlx_lm_trains(entry: Architecture, model: nn.Module) -> None:
    plan = resolve(model, routers=LoraRouters.OFF)
    trained = attach(model, plan)
    assert plan.trainable(RANK) == entry.trainable == sum(array.size for _, array in trained)
    assert {name.split(".lora_")[0] for name, _ in trained} == {target.path for target in plan.targets}


@adaptable
def test_every_key_trains(entry: Architecture, model: nn.Module) -> None:
    # all-linear holds full-layer, every router, and what is outside both but can be adapted.
    plan = resolve(model, preset=LoraTargets.ALL_LINEAR)
    assert {*entry.full_layer, *entry.routers} <= set(plan.keys)
    if entry.untrainable is not None:
        if not mx.metal.is_available():
            with pytest.raises((ValueError, RuntimeError)):  # when this stops failing, the table is out of date
                gradients(model, plan)
        pytest.skip(entry.untrainable)
    found = gradients(model, plan)
    assert all(mx.isfinite(gradient).all().item() for _, gradient in found)
    still = {name for name, gradient in found if not mx.any(gradient != 0).item()}
    expected = {name for name, _ in found if any(name.endswith(f".{array}") for array in entry.dead)}
    assert still == expected


@pytest.mark.parametrize(
    "entry", [entry for entry in TABLE.values() if entry.unadaptable], ids=lambda e: e.model_type
)
def test_an_architecture_without_linear_layers_is_refused_with_its_reason(
    entry: Architecture, model: nn.Module
) -> None:
    for preset in (LoraTargets.FULL_LAYER, LoraTargets.ALL_LINEAR):
        with pytest.raises(TargetError, match=f"matches nothing in {entry.model_type}: its blocks are made of Bit"):
            resolve(model, preset=preset)


@every
def test_building_from_a_config_evaluates_nothing_and_leaves_the_config_alone(
    entry: Architecture, model: nn.Module
) -> None:
    config = {"model_type": entry.model_type, **entry.config}
    before = repr(config)
    mx.synchronize()
    held = mx.get_active_memory()
    again = build_lazily(config)
    grown = mx.get_active_memory() - held
    # Bounds of the random numbers are made at once, eight bytes a layer; the numbers themselves are not.
    assert grown < 0.02 * stored_bytes(again, bytes_per_value=4)
    assert len(blocks(again)) == len(blocks(model))
    assert repr(config) == before


def test_the_page_of_architectures_is_up_to_date() -> None:
    written = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    assert written == architectures_page.page(), "stale: run `python -m scripts.architectures_page`"


def attach(model: nn.Module, plan: TargetPlan) -> list[tuple[str, mx.array]]:
    """Lay our adapters over the targets of the plan; the trained arrays by name."""
    settings = TrainingConfig(model_path="model", train_data_path="data", lora_rank=RANK, lora_alpha=RANK)
    lora.attach(model, plan, settings)
    return tree_flatten(model.trainable_parameters())


def gradients(model: nn.Module, plan: TargetPlan) -> list[tuple[str, mx.array]]:
    """Gradients of a batch's cross-entropy, with no weight of base or adapter left at zero."""

    def shaken(_: str, array: mx.array) -> mx.array:
        floating = mx.issubdtype(array.dtype, mx.floating)
        return array + 0.1 * mx.random.normal(array.shape).astype(array.dtype) if floating else array

    model.update(tree_map_with_path(shaken, model.parameters()))
    trained = attach(model, plan)
    model.update(tree_unflatten([(name, shaken(name, a)) for name, a in trained if ".lora_b" in name]))
    model.train()
    tokens = mx.random.randint(0, 64, (2, 14))

    def loss(model: nn.Module) -> mx.array:
        logits = model(tokens[:, :-1]).astype(mx.float32)
        return nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean")

    found = tree_flatten(nn.value_and_grad(model, loss)(model)[1])
    mx.eval(found)
    assert [name for name, _ in found] == [name for name, _ in trained]
    return found
