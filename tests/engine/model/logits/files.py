"""Golden files and the tiny models that they are about. Needs NumPy only: weights come from names and shapes.

A file of `tests/golden/logits` holds, line by line: a comment with the versions, the `config.json` that transformers
wrote, `name` and shape of each tensor, and position with every `STRIDE`th logit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

LENGTH = 40
"""Tokens of the one text; windows of 8 and chunks of 16 end within it."""
VOCABULARY = 128
STRIDE = 8
POSITIONS = (0, 1, 3, 7, 8, 9, 15, 16, 17, 24, 32, 39)


@dataclass(frozen=True)
class Golden:
    """What a golden file holds; `logits` are of shape (len(POSITIONS), VOCABULARY / STRIDE)."""

    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    logits: NDArray[np.float32]


def tokens() -> list[int]:
    """The text that every model reads."""
    return [int(token) for token in np.random.default_rng(7).integers(3, VOCABULARY, LENGTH)]


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Weights of a tiny model, each tensor from its name alone."""
    return {name: _tensor(name, shape) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    generator = np.random.default_rng(crc32(name.encode()))
    values = generator.standard_normal(shape)
    if name.endswith("A_log"):
        values = np.log(1 + generator.random(shape) * 3)
    elif name.endswith(("inv_freq", "positions")):
        raise ValueError(f"{name} is no weight")
    elif len(shape) < 2:
        values = 0.2 * values if "bias" in name else 1 + 0.2 * values
    elif "embed" in name or "wte" in name:
        values = 0.5 * values
    else:
        values *= 1.5 / np.sqrt(shape[-1])
    return np.asarray(values, np.float32, order="C")


def write_model(folder: Path, golden: Golden) -> Path:
    """The model as a folder with `config.json` and weights, as its makers' tools would leave it."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(golden.config))
    save_file(weights(golden.shapes), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def dump(golden: Golden, comment: str) -> str:
    """The text of a golden file."""
    lines = [f"# {comment}", json.dumps(golden.config, sort_keys=True)]
    lines += [" ".join((name, *map(str, shape))) for name, shape in golden.shapes.items()]
    lines += [
        " ".join((str(position), *(f"{value:.5f}" for value in row)))
        for position, row in zip(POSITIONS, golden.logits, strict=True)
    ]
    return "\n".join(lines) + "\n"


def load(path: Path) -> Golden:
    """What `dump` wrote."""
    config, *lines = path.read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split() for line in lines]
    count = len(rows) - len(POSITIONS)
    shapes = {name: tuple(map(int, sizes)) for name, *sizes in rows[:count]}
    logits = np.array([[float(value) for value in row[1:]] for row in rows[count:]], np.float32)
    return Golden(json.loads(config), shapes, logits)
