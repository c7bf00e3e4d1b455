"""Check an adapter against a base model: an error if it does not fit, otherwise a list of warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droidft.adapters.folder import BEST, AdapterInfo, Shape
from droidft.errors import AdapterError
from droidft.support.shapes import shape


@shape
class AdapterWarning:
    """A warning about an adapter that can be used."""

    code: str
    message: str


@dataclass(frozen=True)
class BaseModel:
    """The base model that an adapter is checked against.

    `ref` is how the user named it, `full_layer` the keys of the full-layer preset, `num_layers` the number of
    blocks. The hashes are None where they are not known.
    """

    path: Path
    ref: str
    num_layers: int
    full_layer: tuple[str, ...]
    config_sha256: str | None = None
    weights_sha256: str | None = None
    chat_template_sha256: str | None = None


def check_fits(info: AdapterInfo, expected: Mapping[str, Shape]) -> None:
    """Compare an adapter's tensors with the `expected` ones: those that its config asks for on a base model.

    Raises:
        AdapterError: names of another model, shapes that differ, or missing tensors.
    """
    if unknown := [name for name in info.tensors if name not in expected]:
        raise _unfit(info, f"{len(unknown)} of its tensors have no place in this model, such as {unknown[0]}")
    wrong = [name for name, shape in info.tensors.items() if expected[name] != shape]
    if wrong:
        name = wrong[0]
        raise _unfit(info, f"{name} has shape {list(info.tensors[name])}, the model needs {list(expected[name])}")
    if missing := [name for name in expected if name not in info.tensors]:
        raise AdapterError(
            f"adapter {info.name} is incomplete: {len(missing)} of {len(expected)} tensors are missing, "
            f"such as {missing[0]}",
            hint="its config asks for them; the file was cut or edited: use another checkpoint or train again",
        )


def diagnose(info: AdapterInfo, base: BaseModel | None = None) -> list[AdapterWarning]:
    """Warnings about an adapter that loads, most serious first; `base` is the model it is used with."""
    warnings: list[AdapterWarning | None] = []
    if base is not None:
        warnings += [
            _base_mismatch(info, base),
            _layers(info, base),
            _keys_missing(info, base),
            _template(info, base),
        ]
    warnings += [_no_keys(info), _scale(info), _no_best(info)]
    return [warning for warning in warnings if warning is not None]


def refuse_other_base(info: AdapterInfo, weights_sha256: str | None, *, ref: str, allowed: bool) -> None:
    """Refuse to use an adapter on a model whose weights have another hash than those it was trained on.

    `ref` is how the user named the model. Where either hash is not known there is nothing to refuse.

    Raises:
        AdapterError: they differ, and that was not `allowed`.
    """
    trained = _recorded(info).get("weights_sha256")
    if allowed or weights_sha256 is None or trained in (None, weights_sha256):
        return
    raise AdapterError(
        f"adapter {info.name} {_other_weights(info, ref)}; the shapes fit, but its answers would mean little",
        hint="use the model it was trained on, or go on with allow_mismatch (in the terminal --allow-mismatch)",
        field="adapter",
    )


def asked_otherwise(info: AdapterInfo, *, chat_template_used: bool, system: str | None) -> list[AdapterWarning]:
    """Warnings about a prompt that is put in another way than those the adapter was trained on.

    `system` is the system message of the prompt, if it has one.
    """
    record, warnings = info.record, []
    trained_on, template = record.get("data_format"), record.get("chat_template_sha256")
    if trained_on not in (None, "text") and template is not None and not chat_template_used:
        text = "was trained on prompts in the chat template, and this one was put without it"
        warnings.append(AdapterWarning("template_unused", text))
    if trained_on == "text" and chat_template_used:
        text = "was trained on plain texts, and this prompt was put in the chat template"
        warnings.append(AdapterWarning("template_added", text))
    trained = record.get("system_prompt")
    if isinstance(trained, str) and trained and chat_template_used and system != trained:
        instead = "another one" if system else "none"
        text = f"was trained with the system prompt {trained[:200]!r}, and was asked with {instead}"
        warnings.append(AdapterWarning("system_prompt", text))
    return warnings


def _recorded(info: AdapterInfo) -> Mapping[str, Any]:
    """What the adapter's config says of its base."""
    recorded = info.record.get("base")
    return recorded if isinstance(recorded, dict) else {}


def _other_weights(info: AdapterInfo, ref: str) -> str:
    trained = info.base or _recorded(info).get("path") or "another model"
    if trained == ref:
        return f"was trained on other weights than those that {ref} has now"
    return f"was trained on other weights ({trained}) than those of {ref}"


def _base_mismatch(info: AdapterInfo, base: BaseModel) -> AdapterWarning | None:
    recorded = _recorded(info)
    weights = recorded.get("weights_sha256")
    if weights is not None and base.weights_sha256 is not None:
        if weights != base.weights_sha256:
            message = f"{_other_weights(info, base.ref)}; the shapes fit, but its answers mean little"
            return AdapterWarning("base_mismatch", message)
        if recorded.get("config_sha256") not in (None, base.config_sha256):
            message = f"the config.json of {base.ref} was changed since the training"
            return AdapterWarning("base_config_changed", message)
        return None
    if info.base is None:
        return AdapterWarning("base_unknown", "does not say which base model it was trained on")
    if not _same_place(info.base, base):
        message = (
            f"was trained on {info.base}, and is used with {base.ref}; without hashes nothing shows they are one"
        )
        return AdapterWarning("base_mismatch", message)
    return None


def _same_place(recorded: str, base: BaseModel) -> bool:
    """Whether two paths or hub ids mean one model: links followed, cache folders read as hub ids."""
    from droidft.models.hub import repo_id_of

    there = Path(recorded).expanduser()
    ours = {base.ref, str(base.path.resolve()), repo_id_of(base.path)}
    theirs = {recorded, str(there.resolve()), repo_id_of(there)}
    return bool((ours & theirs) - {None})


def _layers(info: AdapterInfo, base: BaseModel) -> AdapterWarning | None:
    covered = len(info.layers)
    if not covered or covered >= base.num_layers:
        return None
    why = "; 16 is mlx-lm's default num_layers" if covered == 16 else ""
    return AdapterWarning("layers", f"adapts {covered} of the model's {base.num_layers} blocks{why}")


def _keys_missing(info: AdapterInfo, base: BaseModel) -> AdapterWarning | None:
    missing = [key for key in base.full_layer if key not in info.modules]
    if info.fine_tune_type == "full" or not missing:
        return None
    message = (
        f"adapts {len(base.full_layer) - len(missing)} of the {len(base.full_layer)} projections of a full-layer "
        f"adapter; unchanged are {', '.join(missing)}"
    )
    if not any("mlp" in key or "moe" in key or "ffn" in key for key in info.modules):
        return AdapterWarning("attention_only", f"{message}: attention-only, as older trainings were by default")
    return AdapterWarning("keys_missing", message)


def _template(info: AdapterInfo, base: BaseModel) -> AdapterWarning | None:
    recorded = info.record.get("chat_template_sha256")
    if recorded is None or base.chat_template_sha256 is None or recorded == base.chat_template_sha256:
        return None
    return AdapterWarning("template_mismatch", f"was trained with another chat template than {base.ref} has now")


def _no_keys(info: AdapterInfo) -> AdapterWarning | None:
    if info.fine_tune_type == "full" or info.keys == info.adapted:
        return None
    why = "names no keys: mlx-lm takes that for every linear layer since 0.28.2 and for queries and values before"
    if info.keys:
        why = f"names keys that the file has nothing for ({', '.join(info.keys)}): mlx-lm would load none of it"
    held = ", ".join(info.modules)
    return AdapterWarning("no_keys", f"its config {why}; the file holds {held}, and these are loaded")


def _scale(info: AdapterInfo) -> AdapterWarning | None:
    if info.scale is None or info.rank is None or info.record.get("scaling") == "raw":
        return None
    # An alpha written where the factor belongs: mlx-lm never divides it by the rank. Where no alpha was
    # recorded, alpha = rank is the usual choice.
    alpha = info.record.get("alpha", info.rank)
    if info.scale >= 16 and info.rank > 1 and info.scale == alpha:
        return AdapterWarning(
            "scale_raw",
            f"its scale {info.scale:g} looks like an alpha that was never divided by the rank {info.rank}: "
            f"it acts as alpha {info.scale * info.rank:g}",
        )
    return None


def _no_best(info: AdapterInfo) -> AdapterWarning | None:
    if info.which != "latest" or info.has_best:
        return None
    return AdapterWarning(
        "no_best", f"has no {BEST}: these are the weights of the last save, not the best evaluated ones"
    )


def _unfit(info: AdapterInfo, why: str) -> AdapterError:
    trained = f"it was trained on {info.base}" if info.base else "it was trained on another model"
    return AdapterError(f"adapter {info.name} does not fit this model: {why}", hint=trained)
