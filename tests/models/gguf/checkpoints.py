"""Model folders of the tiny models of every architecture, as their makers would save them, to be written as GGUF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.gguf.files import byte_level_tokens
from tests.models.gguf.tiny import Case, weights
from tests.tiny import CHAT_TEMPLATE, SPECIAL


@dataclass
class Arrays:
    """Weights in memory, as an export gives them to the writer."""

    arrays: dict[str, np.ndarray]

    @property
    def names(self) -> Sequence[str]:
        return list(self.arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.arrays[name].shape)

    def load(self, name: str) -> np.ndarray:
        return self.arrays[name]


def write_folder(case: Case, folder: Path, **changes: Any) -> Arrays:
    """The folder of a tiny model: config, weights, a byte-level tokenizer that splits words as Qwen2's."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    held = weights(case)
    tokens, _, _ = byte_level_tokens()
    config = {**case.config, "eos_token_id": tokens.index("<|im_end|>"), **changes}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    write_byte_level(folder, "qwen2")
    return Arrays(held)


def write_byte_level(folder: Path, pre: str, *, bos: str | None = None, template: str | None = CHAT_TEMPLATE) -> None:
    """A byte-level tokenizer that splits words in the manner of `pre`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    from droidft.models.gguf.tokenizer import _splitters

    tokens, merges, _ = byte_level_tokens()
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=[tuple(merge.split(" ")) for merge in merges],
            ignore_merges=pre in ("llama-bpe", "tekken"),
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_splitters(pre))
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
    }
    if bos is not None:
        special = [(bos, vocabulary[bos])]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", "$B:1"], special_tokens=special
        )
        settings["bos_token"] = bos
    if template is not None:
        settings["chat_template"] = template
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
