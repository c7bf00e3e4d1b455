"""Models of many architectures with an adapter that has learned something, and what both compute."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from droidft.adapters.exports.origins import Origins
from droidft.adapters.folder import AdapterInfo, read_adapter
from droidft.config import parse_config
from droidft.engine.model import loading, lora
from droidft.engine.model.origins import trace
from tests.engine.model.logits.files import load, tokens, write_model
from tests.places import ROOT

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Trained:
    """A model folder, an adapter of it, and the logits (tokens, vocabulary) of a text without and with it."""

    base: Path
    adapter: Path
    plain: Logits
    adapted: Logits

    @property
    def info(self) -> AdapterInfo:
        return read_adapter(self.adapter)

    def origins(self) -> Origins:
        whole = self.info.fine_tune_type == "full"
        names = [name if whole else name.rpartition(".")[0] for name in self.info.tensors]
        return trace(self.base, list(dict.fromkeys(names)), whole=whole)

    def apart(self, folder: Path) -> float:
        """How far the model in `folder` is from the adapted one: largest difference, of the logits' spread."""
        return difference(logits_of(folder), self.adapted)


def trained(case: str, folder: Path, **settings: Any) -> Trained:
    """The model of a golden case with an adapter of random values, made as training makes it."""
    made = load(ROOT / "tests" / "golden" / "logits" / f"{case}.txt")
    return adapted(write_model(folder / "base", made), folder / "adapter", **settings)


def adapted(base: Path, folder: Path, *, seed: int = 0, **settings: Any) -> Trained:
    """An adapter of random values for the model in `base`, in `folder`."""
    config = parse_config(
        {"model_path": str(base), "train_data_path": "rows", "lora_rank": 4, "lora_alpha": 8, **settings}
    )
    model, _ = loading.load_model(base)
    plain = read(model)
    plan = lora.targets_of(model, config)
    lora.attach(model, plan, config)
    random = np.random.default_rng(seed)
    arrays = {}
    for name, array in lora.trainable(model).items():
        values = np.array(array.astype(mx.float32))
        if name.endswith(".m"):
            values = values * (1 + random.normal(0, 0.1, values.shape))
        elif not name.endswith("lora_a"):
            values = values + random.normal(0, 0.05, values.shape)
        arrays[name] = mx.array(values.astype(np.float32))
    model.load_weights(list(arrays.items()), strict=False)
    folder.mkdir(parents=True)
    mx.save_safetensors(str(folder / "adapters.safetensors"), arrays)
    about: dict[str, Any] = {
        "model": str(base),
        "fine_tune_type": config.fine_tune_type.value,
        "num_layers": config.lora_num_layers,
    }
    if config.fine_tune_type.value != "full":
        keys = sorted({target.key for target in plan.targets})
        about["lora_parameters"] = {"rank": 4, "scale": config.lora_scale, "dropout": 0.0, "keys": keys}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return Trained(base, folder, plain, read(model.eval()))


def logits_of(folder: Path) -> Logits:
    """What the model in `folder` computes for the golden text."""
    return read(loading.load_model(folder)[0])


def read(model: nn.Module) -> Logits:
    """Logits (tokens, vocabulary) of the golden text."""
    return np.array(model(mx.array([tokens()]))[0].astype(mx.float32))


def difference(one: Logits, other: Logits) -> float:
    """Largest difference between logits, as a share of their standard deviation."""
    return float(np.abs(one - other).max() / other.std())
