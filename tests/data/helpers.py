"""A tiny byte-level tokenizer, made in code, and helpers to write data files."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from droidft.config import TrainingConfig, parse_config

SPECIAL = ["<|bos|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>"]


def make_tokenizer(
    template: str | None = None,
    *,
    merges: list[tuple[str, str]] | None = None,
    add_bos: bool = False,
    trim_offsets: bool = False,
) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the 256 bytes; `merges` are joined besides, written in byte-level letters (Ċ is \\n)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    joined = merges or []
    names = [*SPECIAL, *alphabet, *("".join(pair) for pair in joined)]
    core = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=joined))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    after: list[Any] = [processors.ByteLevel(trim_offsets=trim_offsets)]
    if add_bos:
        after.append(processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)]))
    core.post_processor = processors.Sequence(after)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|bos|>", eos_token="<|end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = template
    return tokenizer


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def settings(train: Path | str, **more: Any) -> TrainingConfig:
    return parse_config({"model_path": "unused", "train_data_path": str(train), **more})
