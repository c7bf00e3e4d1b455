"""What PEFT's `adapter_config.json` says of an adapter: how much each layer counts, and what cannot come in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from droidft.adapters.imports.matrices import MERGE
from droidft.errors import AdapterError
from droidft.support.limits import TimeUp, timed

_SECONDS = 5
"""For the patterns of an adapter, which may be of anyone."""

KNOWN = frozenset({
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "fan_in_fan_out", "bias", "use_rslora",
    "init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_core",
    "loftq_config", "eva_config", "corda_config", "lora_ga_config", "use_dora", "qalora_group_size", "runtime_config",
    "target_parameters", "ensure_weight_tying", "velora_config", "modules_to_save", "layer_replication", "lora_bias",
})  # fmt: skip
"""Settings of PEFT 0.21 that are understood; those of them that change the result are checked by name."""
_CHANGING = ("pissa", "corda", "olora", "lora_ga", "loftq")
"""Ways to begin that change the base's weights too."""


def refuse_settings(name: str, config: Mapping[str, Any]) -> None:
    """Refuse what would compute something else here.

    Raises:
        AdapterError: it names the setting and the way out.
    """
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdapterError(f"adapter {name} is of PEFT's type {_brief(kind)}; only LORA can come in", hint=MERGE)
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.startswith(_CHANGING):
        raise AdapterError(
            f"adapter {name} began with init_lora_weights {begun!r}, which changes the base's weights too",
            hint="save it as plain LoRA: save_pretrained(folder, path_initial_model_for_weight_conversion=...)",
        )
    if whole := config.get("modules_to_save"):
        raise AdapterError(
            f"adapter {name} has modules_to_save {_brief(whole)}: weights that were trained whole, beside LoRA",
            hint=MERGE,
        )
    if config.get("bias", "none") != "none":
        raise AdapterError(f"adapter {name} was trained with bias {_brief(config['bias'])}", hint=MERGE)
    changing = [each for each in ("layer_replication", "lora_bias") if config.get(each)]
    unknown = [each for each, value in config.items() if value and each not in KNOWN and not _default(each, value)]
    if changing or unknown:
        each = (changing + unknown)[0]
        raise AdapterError(
            f"adapter {name} has {str(each)[:60]} {_brief(config[each])}, which has no counterpart here", hint=MERGE
        )
    number_of(config, "lora_alpha")


def _default(name: str, value: Any) -> bool:
    """Whether a setting that is not known is switched off all the same."""
    return name.startswith(("qalora_", "megatron_")) or value in (None, "none")


def scale_of(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What a layer's b @ a is multiplied by: alpha / rank, or alpha / sqrt(rank) with rslora."""
    alpha = number_of(config, "lora_alpha")
    patterns = config.get("alpha_pattern")
    if isinstance(patterns, dict) and patterns:
        if (exact := patterns.get(module)) is None:
            exact = next((value for pattern, value in patterns.items() if _matches(str(pattern), module)), None)
        if exact is not None:
            alpha = number_of({"alpha_pattern": exact}, "alpha_pattern")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _matches(pattern: str, module: str) -> bool:
    try:
        with timed(_SECONDS):
            return re.match(rf"(.*\.)?({pattern})$", module) is not None
    except (re.error, TimeUp):
        raise AdapterError(f"the alpha_pattern {pattern[:60]!r} cannot be used as a pattern") from None


def number_of(config: Mapping[str, Any], setting: str) -> float:
    """A setting that has to be a finite number."""
    value = config.get(setting)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AdapterError(f"the adapter has {setting} {_brief(value)}, which is no number")
    return float(value)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
