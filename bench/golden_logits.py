"""Logits of tiny models of the architectures that mlx-lm has, computed by transformers in float32.

    python -m venv golden && golden/bin/pip install torch transformers numpy
    golden/bin/python -m bench.golden_logits [CASE ...]

Writes `tests/golden/logits/CASE.txt`: the `config.json` that transformers saves, names and shapes of the tensors, and
logits. The weights come from the names (`tests/engine/model/logits/files.py`), so that no file holds any. Nothing of
Droid FineTuning is imported.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import safe_open
from tests.engine.model.logits.cases import CASES, DROP, SEEING, SMALL
from tests.engine.model.logits.files import POSITIONS, STRIDE, Golden, dump, tokens, weights

_OTHER_PARTS = re.compile(r"vision|visual|audio|multi_modal|mm_projector")
FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "logits"


def main() -> None:
    """Write the files of the cases that are named, or of all."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))
    for name in sys.argv[1:] or CASES:
        golden = computed(name.split("-")[0], CASES[name])
        path = FOLDER / f"{name}.txt"
        path.write_text(dump(golden, f"bench/golden_logits.py: {versions}, float32"), encoding="utf-8")
        print(f"{name}: {path.stat().st_size} bytes, spread {golden.logits.std():.2f}")


def computed(model_type: str, settings: dict[str, Any]) -> Golden:
    """The golden file's content for one case."""
    config = tiny(model_type, settings)
    auto = _auto(config)
    with tempfile.TemporaryDirectory() as folder:
        auto.from_config(config, dtype=torch.float32).save_pretrained(folder)
        written = json.loads(Path(folder, "config.json").read_text())
        shapes: dict[str, tuple[int, ...]] = {}
        for file in sorted(Path(folder).glob("*.safetensors")):
            with safe_open(file, framework="np") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
            file.unlink()
        golden = Golden(written, shapes, np.zeros(0, np.float32))
        logits = by_transformers(Path(folder), golden, auto)
    needed = {name: shape for name, shape in shapes.items() if not _OTHER_PARTS.search(name)}
    return Golden(written, needed, logits[list(POSITIONS), ::STRIDE])


def tiny(model_type: str, settings: dict[str, Any]) -> Any:
    """transformers' configuration with what it knows of `SMALL`, and `settings`."""
    known = transformers.CONFIG_MAPPING[model_type]
    bare = known()
    if (text := getattr(bare, "text_config", None)) is not None:
        others = {
            name: _laid_over(part, {}, SEEING)
            for name in ("vision_config", "audio_config")
            if (part := getattr(bare, name, None)) is not None
        }
        return known(text_config=_laid_over(text, settings), **others)
    return known(**_laid_over(bare, settings))


def _laid_over(bare: Any, settings: dict[str, Any], small: dict[str, Any] = SMALL) -> dict[str, Any]:
    """What the class of `bare` knows of `small`, with `settings` over it."""
    known = {name: value for name, value in small.items() if name in vars(bare) or name in bare.attribute_map}
    return {name: value for name, value in (known | settings).items() if value is not DROP}


def _auto(config: Any) -> Any:
    if not hasattr(config, "vision_config") and type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModelForImageTextToText


def by_transformers(folder: Path, golden: Golden, auto: Any) -> np.ndarray:
    """Logits (LENGTH, VOCABULARY) of the maker's code with the weights that names and shapes give."""
    from safetensors.numpy import save_file

    save_file(weights(golden.shapes), folder / "model.safetensors", metadata={"format": "pt"})
    model, loaded = auto.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    if faults := [fault for fault in loaded.values() if fault]:
        raise ValueError(f"the weights do not fit: {faults}")
    with torch.no_grad():
        logits: np.ndarray = model.eval()(torch.tensor([tokens()]), use_cache=False).logits[0].float().numpy()
    if not np.isfinite(logits).all():
        raise ValueError("the logits are not finite")
    return logits


if __name__ == "__main__":
    main()
