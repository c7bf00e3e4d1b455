"""Tiny models as their makers' own code writes them, one for each architecture that is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import CACHE
from tests.engine.model.logits.files import weights
from tests.models.gguf.checkpoints import write_byte_level
from tests.models.gguf.tiny import ROWS

_SMALL: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 256,
    "bos_token_id": 256,
    "eos_token_id": 258,
    "tie_word_embeddings": False,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {},
    "gemma2": {"sliding_window": 64, "query_pre_attn_scalar": 16, "tie_word_embeddings": True},
    "gemma3_text": {
        "sliding_window": 64, "query_pre_attn_scalar": 16, "tie_word_embeddings": True,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi3": {"sliding_window": None},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 48, "decoder_sparse_step": 1},
}  # fmt: skip
"""What each model has that the others have not."""


def write_home(folder: Path) -> Path:
    """A home folder that has the kernels which all tests share: compiling them takes a minute."""
    folder.mkdir()
    (folder / "cache").symlink_to(CACHE, target_is_directory=True)
    return folder


def write(name: str, folder: Path) -> Path:
    """A folder as transformers saves it, with weights from their names and the byte-level tokenizer."""
    import torch
    import transformers
    from safetensors import safe_open
    from safetensors.numpy import save_file

    bare = transformers.CONFIG_MAPPING[name]()
    known = {key: value for key, value in _SMALL.items() if key in vars(bare) or key in bare.attribute_map}
    config = transformers.CONFIG_MAPPING[name](**{**known, **CONFIGS[name]})
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    file = folder / "model.safetensors"
    with safe_open(file, framework="np") as tensors:
        shapes = {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
    save_file(weights(shapes), file, metadata={"format": "pt"})
    write_byte_level(folder, "qwen2")
    return folder
