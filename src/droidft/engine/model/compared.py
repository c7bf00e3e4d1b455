"""Architectures whose logits are known to differ from the makers' code, by mlx-lm's module.

The tests compare every architecture that transformers has (`tests/golden/logits`); what they find is listed in
`docs/architectures.md`. What can be put right is, in `corrections.py`; the rest becomes a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def difference(module: str, config: Mapping[str, Any]) -> str | None:
    """What differs in the model that `config` describes, as a sentence; None where nothing is known to."""
    if (what := DIFFERS.get(module)) is None:
        return None
    return f"{config['model_type']} computes other logits here than in its makers' code: {what}"


DIFFERS = {
    "deepseek_v32": "its indexer picks other positions once a text is longer than index_topk tokens",
    "glm_moe_dsa": "its indexer picks other positions once a text is longer than index_topk tokens",
}
"""What differs by more than 1e-3 of the logits' spread."""

_WINDOW = "every block looks back at sliding_window tokens"
_SCALING = "every kind of rope_scaling is used"
CORRECTED = {
    "ernie4_5_moe": "experts are chosen with the stored bias",
    "gemma": "GELU by tanh",
    "gemma2": "blocks look back at sliding_window tokens where layer_types says so",
    "glm": "a share of the width is rotated",
    "glm4_moe": _SCALING,
    "gpt_bigcode": "GELU by tanh",
    "gpt_neox": "exact GELU",
    "gpt_oss": "unpacked weights are read, and YaRN's ramp is not rounded",
    "jamba": "experts are weighed by their share among all",
    "llama": "mistral's blocks look back at sliding_window tokens",
    "minicpm3": "logits are scaled where the head is tied",
    "ministral3": _WINDOW,
    "mistral3": _WINDOW,
    "mixtral": f"{_WINDOW}; {_SCALING}",
    "nemotron": _SCALING,
    "phi3": f"{_WINDOW}; longrope's short factors are used for short texts",
    "phimoe": _WINDOW,
    "qwen2": "blocks look back at sliding_window tokens where layer_types says so",
    "qwen2_moe": _SCALING,
    "qwen3": "blocks look back at sliding_window tokens where layer_types says so",
    "qwen3_moe": f"{_WINDOW}, if it is on; {_SCALING}",
    "starcoder2": f"{_WINDOW}; GELU by tanh",
}
"""What `corrections.py` puts right, by module, for the page of architectures."""
