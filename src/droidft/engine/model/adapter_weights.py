"""Put an adapter on a loaded model and take it off again, so that one base serves many adapters.

The layers are made by mlx-lm from the adapter's config (its meaning of `keys` and `num_layers`); before a
number is loaded, names and shapes are compared with what that config asks for on this model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from droidft.adapters.diagnostics import AdapterWarning, BaseModel, check_fits, diagnose
from droidft.adapters.folder import AdapterInfo, Shape
from droidft.engine.machine import kernels
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.lora import ATTACHED, REFERENCE, Attached, base_only, fill, slot_of
from droidft.engine.model.targets import resolve
from droidft.errors import AdapterError, TargetError
from droidft.models import catalog
from droidft.models.fingerprint import Fingerprint

_LEAVES = ("lora_a", "lora_b", "m")


@dataclass(eq=False)
class Applied(Attached):
    """An adapter of a folder, made for a model."""

    info: AdapterInfo
    bytes: int
    """Memory that it takes in addition to the base's."""


@dataclass(frozen=True)
class Difference:
    """How far an adapter moves the model's output on some text; all zero if it does nothing.

    Logits are compared at every position: largest and mean absolute difference, and the mean Kullback-Leibler
    divergence (nats) of the adapted next-token distribution from the base's.
    """

    max_logit: float
    mean_logit: float
    kl: float


def apply(model: nn.Module, info: AdapterInfo) -> Applied:
    """Put the adapter on `model`, replacing the one that is on it; the model is set to evaluation.

    Raises:
        AdapterError: it does not fit this model, or is incomplete. The model is then the base alone.
    """
    remove(model)
    applied = _load_full(model, info) if info.fine_tune_type == "full" else _load_lora(model, info)
    setattr(model, ATTACHED, applied)
    model.eval()
    return applied


def keep_as_reference(model: nn.Module, info: AdapterInfo) -> None:
    """Make the adapter what `lora.reference` shows of `model`, whatever is trained on it.

    Raises:
        AdapterError: it does not fit this model, or is incomplete.
    """
    with base_only(model):
        made = _load_full(model, info) if info.fine_tune_type == "full" else _load_lora(model, info)
        model.eval()  # no dropout in its layers, which later calls do not reach
        fill(made.slots, adapted=False)
    model.train()
    setattr(model, REFERENCE, made)


def put(model: nn.Module, applied: Attached | None) -> None:
    """Put an adapter that `apply` made for `model` on it again, or a stack of them, or nothing.

    In well under a millisecond.
    """
    if getattr(model, ATTACHED, None) is applied:
        return
    remove(model)
    if applied is not None:
        fill(applied.slots, adapted=True)
        setattr(model, ATTACHED, applied)


def remove(model: nn.Module) -> None:
    """Take the adapter off, if one is on; the base's own modules and weights come back untouched."""
    attached: Attached | None = getattr(model, ATTACHED, None)
    if attached is None:
        return
    fill(attached.slots, adapted=False)
    delattr(model, ATTACHED)


def current(model: nn.Module) -> Applied | None:
    """The adapter that `apply` put on the model."""
    applied = getattr(model, ATTACHED, None)
    return applied if isinstance(applied, Applied) else None


def difference(model: nn.Module, tokens: Sequence[int]) -> Difference:
    """Compare the output with and without the adapter that is on `model`, over `tokens`."""
    batch = mx.array([list(tokens)])
    adapted = model(batch).astype(mx.float32)
    mx.eval(adapted)
    with base_only(model):
        base = model(batch).astype(mx.float32)
        mx.eval(base)
    gap = mx.abs(adapted - base)
    log_p, log_q = nn.log_softmax(adapted), nn.log_softmax(base)
    kl = (mx.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean()
    return Difference(_number(gap.max()), _number(gap.mean()), max(0.0, _number(kl)))


def expected_tensors(model: nn.Module, info: AdapterInfo) -> dict[str, Shape]:
    """Names and shapes that the adapter's config asks for on `model`, which may be built lazily.

    Raises:
        AdapterError: mlx-lm has no such layers for this model.
    """
    if info.fine_tune_type == "full":
        shapes = {name: array.shape for name, array in tree_flatten(model.parameters())}
        # Only the trained blocks are in the file, so a missing tensor is no fault.
        return {name: shapes[name] for name in info.tensors if name in shapes}
    with base_only(model):
        replaced = _attach(model, info)
        shapes = _shapes(model, replaced)
        _restore(model, replaced)
    return shapes


def describe_base(
    model: nn.Module,
    *,
    path: Path,
    ref: str,
    fingerprint: Fingerprint | None = None,
    chat_template: str | dict[str, str] | None = None,
) -> BaseModel:
    """What `diagnostics.diagnose` needs to know of a base model, loaded or built lazily."""
    with base_only(model):
        try:
            plan = resolve(model)
            full_layer, blocks = plan.keys, plan.num_blocks
        except TargetError:
            full_layer, blocks = (), len(model.layers)
    return BaseModel(
        path=path,
        ref=ref,
        num_layers=blocks,
        full_layer=full_layer,
        config_sha256=fingerprint["config_sha256"] if fingerprint else None,
        weights_sha256=fingerprint["weights_sha256"] if fingerprint else None,
        chat_template_sha256=template_hash(chat_template),
    )


def judge(
    info: AdapterInfo, ref: str, *, models_dir: Path, cache_dir: Path, offline: bool = False
) -> list[AdapterWarning]:
    """Warnings about the adapter on the model that `ref` means; links and hub ids are resolved. Loads no weights.

    The first time, the model's weight files are hashed, which takes a while.

    Raises:
        AdapterError: it does not fit the model.
        NotFound, ModelError, DownloadError: see `catalog.find_config`.
    """
    path = catalog.find_config(ref, models_dir=models_dir, offline=offline)
    built = build_lazily(catalog.load_config(path), stored=catalog.stored_names(path))
    check_fits(info, expected_tensors(built, info))
    known = catalog.fingerprint(path, cache=cache_dir / "fingerprints.json") if catalog.weight_files(path) else None
    return diagnose(info, describe_base(built, path=path, ref=ref, fingerprint=known))


def template_hash(chat_template: str | dict[str, str] | None) -> str | None:
    """SHA-256 of a chat template's text, or of several by name, as adapters record it; None where there is none."""
    if isinstance(chat_template, dict):
        chat_template = json.dumps(chat_template, sort_keys=True)
    return hashlib.sha256(chat_template.encode()).hexdigest() if isinstance(chat_template, str) else None


def _load_lora(model: nn.Module, info: AdapterInfo) -> Applied:
    replaced = _attach(model, info)
    try:
        check_fits(info, _shapes(model, replaced))
        weights = _read(info)
        model.load_weights(list(weights.items()), strict=False)
    except AdapterError:
        _restore(model, replaced)
        raise
    modules = dict(model.named_modules())
    slots = [slot_of(model, name, base, modules[name]) for name, base in replaced.items()]
    return Applied(slots, info, sum(array.nbytes for array in weights.values()))


def _load_full(model: nn.Module, info: AdapterInfo) -> Applied:
    check_fits(info, expected_tensors(model, info))
    parameters, modules = dict(tree_flatten(model.parameters())), dict(model.named_modules())

    def held(name: str, trained: mx.array) -> mx.array:
        base = parameters[name]
        if not kernels.rounds(modules[name.rpartition(".")[0]]) or base.dtype != mx.bfloat16:
            return trained.astype(base.dtype)
        # In bfloat16 most of what was trained would be rounded away.
        return base if mx.array_equal(trained, base) else trained.astype(mx.float32)

    weights = {name: held(name, array) for name, array in _read(info).items()}
    mx.eval(weights)
    slots = [slot_of(model, name, parameters[name], array) for name, array in weights.items()]
    applied = Applied(slots, info, sum(array.nbytes for array in weights.values()))
    fill(applied.slots, adapted=True)
    return applied


def _attach(model: nn.Module, info: AdapterInfo) -> dict[str, nn.Module]:
    """Put fresh layers where the config says; returns the modules they replaced, by name."""
    from mlx_lm.tuner.utils import linear_to_lora_layers

    before = dict(model.named_modules())
    settings = {
        "rank": info.rank,
        "scale": info.scale,
        "dropout": info.dropout,
        # Without keys mlx-lm's meaning depends on its version; the file itself holds what was trained.
        "keys": list(info.adapted),
    }
    try:
        linear_to_lora_layers(model, info.num_layers, settings, use_dora=info.fine_tune_type == "dora")
    except (ValueError, TypeError, AttributeError) as error:
        _restore(model, _changed(model, before))
        raise AdapterError(
            f"adapter {info.name} cannot be put on this model: {error}", hint="it was made for another architecture"
        ) from error
    return _changed(model, before)


def _changed(model: nn.Module, before: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    after = dict(model.named_modules())
    return {name: module for name, module in before.items() if after.get(name) is not module}


def _shapes(model: nn.Module, replaced: Mapping[str, nn.Module]) -> dict[str, Shape]:
    names = {f"{owner}.{leaf}" for owner in replaced for leaf in _LEAVES}
    return {name: tuple(array.shape) for name, array in tree_flatten(model.parameters()) if name in names}


def _restore(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    if modules:
        model.update_modules(tree_unflatten(list(modules.items())))


def _read(info: AdapterInfo) -> dict[str, mx.array]:
    """The tensors, read to the end: MLX reads a file when a value is asked for, and it may have changed by then."""
    try:
        loaded = mx.load(str(info.file))
        mx.eval(loaded)
    except RuntimeError as error:
        raise AdapterError(f"{info.file.name} of adapter {info.name} cannot be read: {error}") from error
    assert isinstance(loaded, dict)
    return loaded


def _number(array: mx.array) -> float:
    return float(array.tolist())  # type: ignore[arg-type]
