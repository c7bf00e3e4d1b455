"""Two hundred rendered conversations become the same tokens in every reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from droidft.adapters.exports import readers
from droidft.adapters.exports.readers import LLAMA_CPP, MLX_LM, TRANSFORMERS, Reader
from droidft.adapters.exports.readers.reading import Request, Row, Subject
from droidft.data.codec import Codec
from droidft.engine.model import loading
from droidft.models.gguf.write import write_gguf
from tests.interop import models

COUNT = 200
PIECES = (
    "The quick", " brown fox", "  two spaces", "\n\n", "\t", "don't", "I'LL", " 12345", "3.14", "日本語", " naïve",
    "é", "🙂👍🏽", "Привет", "a" * 40, "$x_1^2$", "<b>", "</s>", "<|im_start|>", " \r\n", "\u00a0", "ﬁ", "{}[]",
    "_ _", "==>", "\u200d", "مرحبا", "हिन्दी", "C:\\path", "“quoted”", "—", " . . .",
)  # fmt: skip


def conversations() -> list[list[dict[str, str]]]:
    """Conversations of one to four turns of random pieces."""
    generator = np.random.default_rng(11)
    made = []
    for _ in range(COUNT):
        turns = [
            {
                "role": "user" if number % 2 == 0 else "assistant",
                "content": "".join(generator.choice(PIECES, generator.integers(1, 12))).strip() or "yes",
            }
            for number in range(int(generator.integers(1, 5)))
        ]
        made.append(turns)
    return made


def _as_gguf(folder: Path, target: Path) -> Subject:
    from droidft.adapters.exports.checkpoint import Checkpoint

    write_gguf(folder, Checkpoint(folder, []), target / "model.gguf", kind="F16")
    return Subject(model=target / "model.gguf")


@pytest.mark.parametrize("reader", [TRANSFORMERS, MLX_LM, LLAMA_CPP], ids=lambda reader: reader.name)
def test_conversations_become_the_same_tokens(reader: Reader, tmp_path: Path) -> None:
    _compare(models.write("llama", tmp_path / "model"), reader, tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("reader", [TRANSFORMERS, MLX_LM, LLAMA_CPP], ids=lambda reader: reader.name)
def test_conversations_become_the_same_tokens_of_smollm2(reader: Reader, smollm2: Path, tmp_path: Path) -> None:
    _compare(smollm2, reader, tmp_path)


def _compare(folder: Path, reader: Reader, scratch: Path) -> None:
    tokenizer = loading.load_tokenizer(folder)
    texts = [tokenizer.apply_chat_template(turns, tokenize=False) for turns in conversations()]
    expected = [encoding.ids for encoding in Codec(tokenizer).encode_rendered(texts)]
    subject = _as_gguf(folder, scratch) if reader is LLAMA_CPP else Subject(model=folder)
    request = Request(rows=[Row(tokens=[1, 2], targets=[1])], conversations=texts)
    outcome = readers.read(reader, [subject], request)
    assert outcome.exported is not None, outcome.fault
    assert len({len(ids) for ids in expected}) > COUNT / 10
    assert outcome.exported.conversations == expected
    assert outcome.exported.template == tokenizer.chat_template
