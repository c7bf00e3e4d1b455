"""How far llama.cpp is from Droid FineTuning on the GGUF files that are written here, architecture by architecture.

    pip install 'droidft[gguf]'
    python -m bench.gguf_interop

Tiny models with random weights (`tests/models/gguf/tiny.py`), 16 tokens. Each number is the distance between two sets
of log-probabilities as a share of their norm, and behind it the largest difference of one. `F32` and `F16` compare
ours with llama.cpp's on the file; `LoRA` compares llama.cpp's on the file with a GGUF LoRA and on the merged file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from tests.models.gguf.checkpoints import Arrays, write_folder
from tests.models.gguf.llama_cpp import log_probabilities
from tests.models.gguf.test_lora import EMBEDDING, HEAD, _merged, _updates
from tests.models.gguf.tiny import CASES, ROWS, tokens

from droidft.engine.model.loading import load_model
from droidft.models.gguf.lora import write_gguf_lora
from droidft.models.gguf.write import write_gguf

LENGTH = 16


def main() -> None:
    """Print the table."""
    print("| model | F32 | F16 | LoRA |")
    print("|---|---|---|---|")
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            row = [_distance(*pair) for pair in _pairs(name, Path(folder))]
        print(f"| {case.config['model_type']} ({name}) | {' | '.join(row)} |", flush=True)


def _pairs(name: str, folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    case, base = CASES[name], folder / "base"
    weights, asked = write_folder(case, base), tokens(CASES[name])[:LENGTH]
    ours = _ours(base, asked)
    files = {kind: write_gguf(base, weights, folder / f"{kind}.gguf", kind=kind).path for kind in ("F32", "F16")}
    theirs = {kind: log_probabilities(file, asked, ROWS) for kind, file in files.items()}
    updates = _updates(weights, without=(EMBEDDING, HEAD) if case.config["tie_word_embeddings"] else ())
    lora = write_gguf_lora(base, updates, folder / "lora.gguf").path
    merged = write_gguf(base, Arrays(_merged(weights, updates).arrays), folder / "merged.gguf", kind="F32").path
    adapted = log_probabilities(files["F32"], asked, ROWS, lora=lora)
    return [(ours, theirs["F32"]), (ours, theirs["F16"]), (log_probabilities(merged, asked, ROWS), adapted)]


def _ours(folder: Path, asked: list[int]) -> np.ndarray:
    model, _ = load_model(folder)
    logits = np.array(model(mx.array([asked]))[0]).astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _distance(one: np.ndarray, other: np.ndarray) -> str:
    return f"{np.linalg.norm(one - other) / np.linalg.norm(one):.0e} ({np.abs(one - other).max():.0e})"


if __name__ == "__main__":
    main()
