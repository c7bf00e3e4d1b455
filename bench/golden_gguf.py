"""Logits of tiny models of every architecture that GGUF import covers, computed by transformers in float32.

    python -m venv golden && golden/bin/pip install torch==2.13.0 transformers gguf numpy
    golden/bin/python -m bench.golden_gguf > tests/golden/gguf_logits.txt

The weights are those of `tests/models/gguf/tiny.py`; nothing of Droid FineTuning is imported. With `llama-cpp-python`
installed, llama.cpp runs the GGUF file as well, and its distance from transformers is printed: it shows that the file
follows llama.cpp's conventions. (Its GELU is a table in float16, hence Gemma's larger distances.)
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

import numpy as np
from tests.models.gguf.tiny import CASES, POSITIONS, STRIDE, Case, tokens, weights, write


def main() -> None:
    """Print the golden file."""
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "gguf")]
    judge = util.find_spec("llama_cpp") is not None
    if judge:
        import llama_cpp

        versions.append(f"llama-cpp-python {llama_cpp.__version__}")
    print(f"# bench/golden_gguf.py: {', '.join(versions)}, float32. Case, position, every {STRIDE}th logit.")
    for name, case in CASES.items():
        golden = by_transformers(case)
        if judge:
            apart = np.linalg.norm(by_llama_cpp(case) - golden) / np.linalg.norm(golden)
            print(f"# {name}: llama.cpp differs by {apart:.1e} of the logits' norm")
        for position in POSITIONS:
            print(name, position % case.length, *(f"{value:.6f}" for value in golden[position, ::STRIDE]))
        print(f"{name}: done", file=sys.stderr)


def by_transformers(case: Case) -> np.ndarray:
    """Logits (positions, vocabulary) of the maker's code."""
    import torch
    from safetensors.numpy import save_file
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(case.config))
        save_file(weights(case), Path(folder, "model.safetensors"), metadata={"format": "pt"})
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    if faults := [fault for fault in loaded.values() if fault]:
        raise SystemExit(f"the weights do not fit: {faults}")
    with torch.no_grad():
        logits: np.ndarray = model(torch.tensor([tokens(case)])).logits[0].numpy()
    return logits


def by_llama_cpp(case: Case) -> np.ndarray:
    """The same by llama.cpp, from the GGUF file."""
    from llama_cpp import Llama

    with tempfile.TemporaryDirectory() as folder:
        path = write(case, Path(folder, "model.gguf"))
        # Types 0: keys and values kept in float32, as everything else is.
        model = Llama(str(path), n_ctx=256, logits_all=True, verbose=False, type_k=0, type_v=0, n_gpu_layers=0)
        model.eval(tokens(case))
        return np.array(model.scores[: case.length])


if __name__ == "__main__":
    main()
