"""Tiny models and rows, built in code: a Llama of about 30,000 parameters trains a step in milliseconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VOCABULARY = 272

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCABULARY,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "max_position_embeddings": 512,
    "bos_token_id": 256,
    "eos_token_id": 258,
}

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def llama(seed: int = 0, **changes: Any) -> Any:
    """A tiny Llama with fixed random weights, float32."""
    import mlx.core as mx
    from mlx_lm.models.llama import Model, ModelArgs

    mx.random.seed(seed)
    model = Model(ModelArgs.from_dict({**LLAMA, **changes}))
    mx.eval(model.parameters())
    return model


def write_model(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """The tiny Llama as a model folder with a byte-level tokenizer and a chat template."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    model = llama(seed, **changes)
    arrays = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_chat(path: Path, *, rows: int = 40, seed: int = 0) -> Path:
    """A small chat data set: say a word back in capitals."""
    generator = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        word = "".join(chr(97 + int(letter)) for letter in generator.integers(0, 26, generator.integers(2, 9)))
        messages = [{"role": "user", "content": word}, {"role": "assistant", "content": word.upper()}]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True, eq=False)
class Row:
    """A tokenized row made in code."""

    tokens: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    file: str
    line: int


class Rows:
    """Random tokenized rows of random lengths; the second half of each is supervised."""

    def __init__(self, count: int, *, seed: int = 0, longest: int = 40) -> None:
        generator = np.random.default_rng(seed)
        self._rows = []
        for line in range(1, count + 1):
            length = int(generator.integers(4, longest))
            tokens = generator.integers(0, VOCABULARY, length).astype(np.int32)
            supervised = np.arange(length) >= length // 2
            self._rows.append(Row(tokens, supervised, "rows.jsonl", line))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row."""
        return np.array([len(row.tokens) for row in self._rows], np.int64)

    @property
    def supervised_counts(self) -> NDArray[np.int32]:
        """Supervised tokens of each row."""
        return np.array([row.supervised.sum() for row in self._rows], np.int32)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]
