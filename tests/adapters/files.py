"""Adapter folders made by mlx-lm's own code, as its trainer writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ATTENTION_QV = ["self_attn.q_proj", "self_attn.v_proj"]
FULL_LAYER = [
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
]


def write_adapter(
    folder: Path,
    model: Any,
    *,
    keys: Sequence[str] | None = FULL_LAYER,
    kind: str = "lora",
    rank: int = 4,
    scale: float = 1.0,
    num_layers: int = -1,
    strength: float = 0.3,
    name: str = "adapters.safetensors",
    config: Mapping[str, Any] | None = None,
) -> Path:
    """An adapter for `model` with a random B of size `strength`; `config` is laid over `adapter_config.json`.

    Changes `model`, which is thrown away.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers

    parameters: dict[str, Any] = {"rank": rank, "scale": scale, "dropout": 0.0}
    if keys is not None:
        parameters["keys"] = list(keys)
    model.freeze()
    if kind == "full":
        for block in model.layers[-num_layers if num_layers > 0 else 0 :]:
            block.unfreeze()
    else:
        linear_to_lora_layers(model, num_layers, parameters, use_dora=kind == "dora")
    mx.random.seed(1)
    arrays = {
        path: array + strength * mx.random.normal(array.shape) if path.endswith(("lora_b", "weight")) else array
        for path, array in tree_flatten(model.trainable_parameters())
    }
    folder.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(folder / name), arrays)
    values = {"fine_tune_type": kind, "num_layers": num_layers, "lora_parameters": parameters, **(config or {})}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    """Change or, with None, remove fields of `adapter_config.json`."""
    file = folder / "adapter_config.json"
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))


def edit_weights(folder: Path, change: Any, name: str = "adapters.safetensors") -> None:
    """Rewrite the weights as `change(arrays)` leaves them."""
    from safetensors.numpy import load_file, save_file

    arrays = load_file(folder / name)
    change(arrays)
    save_file(arrays, folder / name)
