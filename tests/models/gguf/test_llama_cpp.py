"""What llama.cpp, an independent program, makes of the files that are written here."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from droidft.engine.model.loading import load_model
from droidft.models.gguf.write import write_gguf
from tests.models.gguf.checkpoints import write_folder
from tests.models.gguf.llama_cpp import ask, log_probabilities
from tests.models.gguf.tiny import CASES, ROWS, tokens

LENGTH = 16
TOLERANCE = {"gemma": 3e-3, "other": 1e-6}
"""Of the norm of log-probabilities. llama.cpp takes Gemma's GELU from a table in float16, block after block."""


def _ours(folder: Path, name: str) -> np.ndarray:
    model, _ = load_model(folder)
    logits = np.array(model(mx.array([tokens(CASES[name])[:LENGTH]]))[0]).astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(ours))


@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_computes_the_same_probabilities(name: str, tmp_path: Path) -> None:
    weights = write_folder(CASES[name], tmp_path / "base")
    file = write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F32").path
    theirs = log_probabilities(file, tokens(CASES[name])[:LENGTH], ROWS)
    assert _apart(_ours(tmp_path / "base", name), theirs) < TOLERANCE["gemma" if "gemma" in name else "other"]


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_llama_cpp_reads_every_type(kind: str, tmp_path: Path) -> None:
    weights = write_folder(CASES["qwen2"], tmp_path / "base")
    file = write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind=kind).path
    theirs = log_probabilities(file, tokens(CASES["qwen2"])[:LENGTH], ROWS)
    assert _apart(_ours(tmp_path / "base", "qwen2"), theirs) < 5e-3


QUESTIONS = [
    "What is the capital of France?",
    "Name three colours.",
    "Say the word 'naïve' and count: 1, 2, 3.",
    "Why is the sky blue? Answer in one sentence.",
]


@pytest.mark.real
def test_smollm2_answers_in_llama_cpp_as_here(smollm2: Path, tmp_path: Path) -> None:
    from droidft.adapters.exports.checkpoint import Checkpoint
    from droidft.engine.generation.generate import generate_batch
    from droidft.engine.model.loading import load_tokenizer

    file = write_gguf(smollm2, Checkpoint(smollm2, []), tmp_path / "smollm2.gguf", kind="F32").path
    model, _ = load_model(smollm2)
    tokenizer = load_tokenizer(smollm2)
    turns = [[{"role": "user", "content": question}] for question in QUESTIONS]
    texts = [tokenizer.apply_chat_template(each, tokenize=False, add_generation_prompt=True) for each in turns]
    theirs = ask(file, texts=texts, prompts=texts, n_predict=24, context=512)
    assert theirs["tokens"] == [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    ours = generate_batch(model, tokenizer, QUESTIONS, max_tokens=24)
    assert [answer.strip() for answer in theirs["texts"]] == [answer.strip() for answer in ours]
    assert "Paris" in theirs["texts"][0]
