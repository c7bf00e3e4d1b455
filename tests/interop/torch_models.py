"""Models of transformers, alone and with an adapter in PEFT, and what they compute for the golden text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.peft import write_peft
from droidft.adapters.exports.updates import updates
from droidft.models.catalog import load_config
from tests.adapters.exports.trained import Trained
from tests.engine.model.logits import files
from tests.engine.model.logits.files import Golden, tokens
from tests.places import ROOT


def export(made: Trained, target: Path) -> Path:
    """The adapter in PEFT's format."""
    base, config = Checkpoint(made.base, []), load_config(made.base)
    pairs = factors(updates(made.info, made.origins()), {name: base.shape(name) for name in base.names})
    target.mkdir()
    tied = any(part.get("tie_word_embeddings") for part in (config, config.get("text_config", {})))
    write_peft(pairs, target, base=str(made.base), model_type=config["model_type"], dropout=0.0, tied=tied)
    return target


def golden(case: str) -> Golden:
    """The configuration and shapes of a golden case."""
    return files.load(ROOT / "tests" / "golden" / "logits" / f"{case}.txt")


def load(folder: Path) -> Any:
    """The model in `folder`, in float32, by the class that a user would take."""
    import torch

    torch.set_num_threads(1)
    return _class(folder)[0].from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def bare(folder: Path) -> Any:
    """The same without its weights."""
    kind, config = _class(folder)
    return kind.from_config(config)


def _class(folder: Path) -> tuple[Any, Any]:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(folder)
    causal = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    return (transformers.AutoModelForCausalLM if causal else transformers.AutoModelForImageTextToText), config


def adapted(base: Path, adapter: Path) -> Any:
    """The model in `base` with an adapter folder of PEFT's."""
    import peft

    return peft.PeftModel.from_pretrained(load(base), str(adapter)).eval()


def logits(model: Any) -> NDArray[np.float32]:
    """Logits (tokens, vocabulary) of the golden text."""
    import torch

    with torch.no_grad():
        made: NDArray[np.float32] = model(input_ids=torch.tensor([tokens()]), use_cache=False).logits[0].numpy()
    return made
