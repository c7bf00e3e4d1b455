from __future__ import annotations

import json
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from droidft.engine.model.loading import load_tokenizer
from droidft.models.gguf.tokenizer import build, eos_token_ids
from tests.models.gguf.files import byte_level_tokens
from tests.models.gguf.naive_bpe import encode as encode_naively

TRICKY = [
    "Hello world",
    "the theme, then: 'they're 1234567 and 0x7F'",
    "  two  spaces\n\n\ttabs \r\n and\u00a0more   ",
    "naïve café – “quotes” … 日本語 русский",
    "🙂👍🏽 e\u0301 \u212b ﬁ",
    "def f(x):\n    return x**2  # 99.5%",
    "<|im_start|>user\nhi<|im_end|>",
    "it'LL I'VE don't ÀÉ'S",
    "",
    " ",
]


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe", "qwen2", "gpt-2", "dbrx", "gpt-4o", "tekken"])
def test_byte_level_tokenizers_split_as_their_model_does(pre: str) -> None:
    tokens, merges, types = byte_level_tokens()
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": types,
    }
    tokenizer = build(metadata)
    for text in TRICKY:
        ids = tokenizer.encode(text).ids
        assert ids == encode_naively(text, pre, tokens, merges, types), text
        if pre != "qwen2":  # which normalises characters
            assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_llama3_puts_a_bos_token_first() -> None:
    tokens, merges, types = byte_level_tokens()
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 256,
    }
    assert build(metadata).encode("he").ids == [256, tokens.index("he")]
    assert build({**metadata, "tokenizer.ggml.add_bos_token": False}).encode("he").ids == [tokens.index("he")]


def _sentencepiece(folder: Path, **settings: Any) -> Any:
    import sentencepiece

    corpus = folder / "corpus.txt"
    words = ["the", "theme", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "naïve", "1234", "don't"]
    dice = random.Random(3)
    corpus.write_text("\n".join(" ".join(dice.choices(words, k=8)) for _ in range(400)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "sp"), vocab_size=340, model_type="bpe", byte_fallback=True,
        character_coverage=1.0, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        **settings,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))


def _kind(oracle: Any, piece: int, own: Collection[str]) -> int:
    if oracle.id_to_piece(piece) in own:
        return 4
    if oracle.is_unknown(piece):
        return 2
    return 3 if oracle.is_control(piece) else 6 if oracle.is_byte(piece) else 1


def _metadata(oracle: Any, own: Collection[str] = (), **more: Any) -> dict[str, Any]:
    """What llama.cpp's converter makes of a SentencePiece model whose symbols of its own are `own`."""
    size = oracle.get_piece_size()
    pieces = [oracle.id_to_piece(i) for i in range(size)]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [oracle.get_score(i) for i in range(size)],
        "tokenizer.ggml.token_type": [_kind(oracle, i, own) for i in range(size)],
        "tokenizer.ggml.bos_token_id": oracle.bos_id(),
        **more,
    }


def test_sentencepiece_agrees_with_sentencepiece(tmp_path: Path) -> None:
    oracle = _sentencepiece(tmp_path)
    tokenizer = build(_metadata(oracle))
    for text in [*(text for text in TRICKY if text and "<|" not in text), "the quick theme over 1234 foxes"]:
        ids = tokenizer.encode(text).ids
        assert ids == [oracle.bos_id(), *oracle.encode(text)], text
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("newer", [False, True])
def test_symbols_of_its_own_are_cut_out_first_as_in_gemma(newer: bool, tmp_path: Path) -> None:
    own = ["▁▁", "▁▁▁", "\n", "\n\n", "<start_of_turn>", "<end_of_turn>"]
    oracle = _sentencepiece(tmp_path, user_defined_symbols=own, add_dummy_prefix=False)
    metadata = _metadata(oracle, own, **{"tokenizer.ggml.add_space_prefix": False})
    if newer:  # Newer converters write spaces.
        tokens = [token.replace("▁", " ") if token in own else token for token in metadata["tokenizer.ggml.tokens"]]
        metadata["tokenizer.ggml.tokens"] = tokens
    tokenizer = build(metadata)
    texts = ["<start_of_turn>user\nthe  theme<end_of_turn>\n\n", "over   the    lazy     dog \n\n\n  fox"]
    for text in [*(text for text in TRICKY if text and "<|" not in text), *texts]:
        ids = tokenizer.encode(text).ids
        assert ids == [oracle.bos_id(), *oracle.encode(text)], text
        assert tokenizer.decode(ids) == text
    assert eos_token_ids(metadata) == [oracle.piece_to_id("<end_of_turn>")]


def test_unused_pieces_are_never_made(tmp_path: Path) -> None:
    oracle = _sentencepiece(tmp_path)
    metadata = _metadata(oracle)
    unused = oracle.piece_to_id("▁the")
    metadata["tokenizer.ggml.token_type"][unused] = 5
    assert unused not in build(metadata).encode("the dog").ids
    assert unused in build(_metadata(oracle)).encode("the dog").ids


def test_phi3s_markers_take_white_space_along(tmp_path: Path) -> None:
    own = ["<|user|>", "<|end|>"]
    oracle = _sentencepiece(tmp_path, user_defined_symbols=own)
    metadata = _metadata(oracle, own, **{"general.architecture": "phi3", "tokenizer.ggml.eos_token_id": 2})
    user, end = (oracle.piece_to_id(token) for token in own)
    the_dog = oracle.encode("the dog")
    ids = build(metadata).encode("<|user|>\nthe dog<|end|>\n").ids
    assert ids == [oracle.bos_id(), user, *the_dog, end]
    assert eos_token_ids(metadata) == [2, end]
    other = build({**metadata, "general.architecture": "llama"}).encode("<|end|>\n").ids
    assert other[1] == end
    assert len(other) > 2


@pytest.mark.real
def test_smollm2_tokenizer_on_tricky_text(smollm2: Path) -> None:
    content = json.loads((smollm2 / "tokenizer.json").read_text())
    tokens = sorted(content["model"]["vocab"], key=content["model"]["vocab"].get)
    special = {entry["id"] for entry in content["added_tokens"]}
    types = [3 if index in special else 1 for index in range(len(tokens))]
    merges = [" ".join(pair) for pair in content["model"]["merges"]]
    tokenizer = load_tokenizer(smollm2)
    for text in TRICKY:
        ids = tokenizer.encode(text)
        assert ids == encode_naively(text, "smollm", tokens, merges, types), text
        assert tokenizer.decode(ids) == text
