from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import pytest

from droidft.engine.model.loading import load_model, load_tokenizer
from droidft.errors import DroidError, ModelError
from droidft.models.catalog import load_config
from droidft.models.gguf import convert, reader
from droidft.models.gguf.convert import import_gguf
from droidft.models.gguf.tokenizer import build
from tests.models.gguf.files import TYPES, byte_level_tokens, write_llama
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


@pytest.mark.parametrize("quant", TYPES)
def test_weights_and_logits_are_those_in_the_file(tmp_path: Path, quant: str) -> None:
    written = write_llama(tmp_path / "a.gguf", quant=quant)
    done = import_gguf(written.path, tmp_path / "model", dtype="float32")
    model, config = load_model(done.path)
    stored = mx.load(str(tmp_path / "model" / "model.safetensors"))
    assert stored.keys() == written.weights.keys()
    for name, expected in written.weights.items():
        np.testing.assert_array_equal(np.array(stored[name]), expected, err_msg=name)
    assert config["rms_norm_eps"] == 1e-5
    assert done.parameters == sum(array.size for array in written.weights.values())

    # The original model, never quantised or permuted, is the judge of the logits.
    tokens = mx.array([[5, 99, 200, 3, 17, 42]])
    ours = model(tokens)
    model.load_weights([(name, mx.array(array)) for name, array in written.originals.items()])
    original = model(tokens)
    error = (mx.linalg.norm(ours - original) / mx.linalg.norm(original)).item()
    assert error < {"F32": 1e-6, "F16": 2e-3, "BF16": 2e-2, "Q8_0": 5e-2, "Q4_0": 0.6, "Q4_1": 0.6}[quant]


def test_float16_is_the_default_and_rounds_only(tmp_path: Path) -> None:
    written = write_llama(tmp_path / "a.gguf", quant="Q4_1")
    import_gguf(written.path, tmp_path / "model")
    stored = mx.load(str(tmp_path / "model" / "model.safetensors"))
    assert {array.dtype for array in stored.values()} == {mx.float16}
    for name, expected in written.weights.items():
        np.testing.assert_array_equal(np.array(stored[name]), expected.astype(np.float16), err_msg=name)
    model, _ = load_model(tmp_path / "model")
    assert model.model.norm.weight.dtype == mx.float32, "the CPU computes in float32"


def test_untied_output_layer(tmp_path: Path) -> None:
    written = write_llama(tmp_path / "a.gguf", tied=False)
    import_gguf(written.path, tmp_path / "model")
    model, config = load_model(tmp_path / "model")
    assert config["tie_word_embeddings"] is False
    np.testing.assert_array_equal(np.array(model.lm_head.weight), written.weights["lm_head.weight"])


def test_qwen2_has_biases_and_no_interleaving(tmp_path: Path) -> None:
    written = write_llama(tmp_path / "a.gguf", quant="F32", architecture="qwen2", pre="qwen2")
    import_gguf(written.path, tmp_path / "model", dtype="float32")
    model, config = load_model(tmp_path / "model")
    assert config["model_type"] == "qwen2"
    attention = model.layers[1].self_attn
    np.testing.assert_array_equal(
        np.array(attention.q_proj.weight), written.originals["model.layers.1.self_attn.q_proj.weight"]
    )
    np.testing.assert_array_equal(
        np.array(attention.k_proj.bias), written.originals["model.layers.1.self_attn.k_proj.bias"]
    )


def test_large_models_are_written_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "SHARD_BYTES", 20_000)
    written = write_llama(tmp_path / "a.gguf")
    import_gguf(written.path, tmp_path / "model")
    shards = sorted(path.name for path in (tmp_path / "model").glob("*.safetensors"))
    assert len(shards) > 2
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(shards)
    model, _ = load_model(tmp_path / "model")
    np.testing.assert_array_equal(
        np.array(model.model.norm.weight), written.weights["model.norm.weight"].astype(np.float16)
    )


def test_progress_reaches_the_whole(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    written = write_llama(tmp_path / "a.gguf")
    done = import_gguf(written.path, tmp_path / "model", progress=lambda *report: seen.append(report))
    assert seen[-1] == ("importing", done.parameters, done.parameters)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_llama3_rotary_scaling_is_recovered(tmp_path: Path) -> None:
    model = convert.read_config
    pairs = 4
    wavelengths = 2 * np.pi * 500000.0 ** (np.arange(pairs) / pairs)
    smooth = np.clip((8192 / wavelengths - 1) / 3, 0, 1)
    divisors = (1 / ((1 - smooth) / 8 + smooth)).astype(np.float32)
    base = {"llama.rope.freq_base": 500000.0}
    file = write_llama(tmp_path / "a.gguf", metadata=base, extra={"rope_freqs.weight": divisors})
    found = model(reader.read(file.path))["rope_scaling"]
    assert found["rope_type"] == "llama3"
    assert found["factor"] == 8.0
    odd = write_llama(tmp_path / "b.gguf", metadata=base, extra={"rope_freqs.weight": divisors * 1.5})
    with pytest.raises(ModelError, match="rotary factors"):
        model(reader.read(odd.path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"llama.expert_count": 8}}, "mixture of experts"),
        ({"metadata": {"llama.rope.scaling.type": "yarn"}}, "'yarn'"),
        ({"metadata": {"llama.rope.dimension_count": 4}}, "rotates 4 of 8"),
        ({"metadata": {"llama.block_count": 7_000_000}}, "7000000 blocks"),
        ({"architecture": "gemma"}, "'gemma'"),
        ({"pre": "tekken"}, "'tekken'"),
        ({"metadata": {"tokenizer.ggml.model": "bert"}}, "'bert'"),
        ({"leave_out": "blk.1.ffn_up.weight"}, "blk.1.ffn_up.weight"),
        ({"extra": {"blk.0.attn_sinks.weight": np.zeros(4, np.float32)}}, "attn_sinks"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    written = write_llama(tmp_path / "a.gguf", **changes)
    with pytest.raises(ModelError, match=message):
        import_gguf(written.path, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]


def test_other_quantisations_are_refused_by_name(tmp_path: Path) -> None:
    written = write_llama(tmp_path / "a.gguf", quant="Q8_0")
    data = bytearray(written.path.read_bytes())
    name = b"token_embd.weight"
    # After the name: dimensions (4 bytes), two sizes (16), then the type.
    at = data.index(name) + len(name) + 20
    assert int.from_bytes(data[at : at + 4], "little") == gguf.GGMLQuantizationType.Q8_0
    data[at : at + 4] = int(gguf.GGMLQuantizationType.Q8_1).to_bytes(4, "little")
    written.path.write_bytes(data)
    with pytest.raises(ModelError, match=r"token_embd\.weight is quantised as Q8_1") as caught:
        import_gguf(written.path, tmp_path / "model")
    assert "Q8_0" in caught.value.hint


def test_an_existing_model_is_not_overwritten(tmp_path: Path) -> None:
    written = write_llama(tmp_path / "a.gguf")
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelError, match="already"):
        import_gguf(written.path, tmp_path / "model")


def test_a_failed_import_leaves_nothing(tmp_path: Path) -> None:
    class Full(Exception):
        pass

    def fail(what: str, done: int, total: int) -> None:
        assert not (tmp_path / "model").exists(), "a half import is not visible"
        if done > total / 2:
            raise Full

    written = write_llama(tmp_path / "a.gguf")
    with pytest.raises(Full):
        import_gguf(written.path, tmp_path / "model", progress=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]


def test_what_a_killed_import_left_is_cleared_away(tmp_path: Path) -> None:
    for name, age in (("old", 7200), ("running", 0)):
        part = tmp_path / f".model.{name}.part"
        part.mkdir()
        os.utime(part, (time.time() - age,) * 2)
    import_gguf(write_llama(tmp_path / "a.gguf").path, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".model.running.part", "a.gguf", "model"]


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    written = write_llama(tmp_path / "a.gguf", quant="F32")
    data = bytearray(written.path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    written.path.write_bytes(data)
    with pytest.raises(ModelError, match="NaN"):
        import_gguf(written.path, tmp_path / "model")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write_llama(tmp_path / "a.gguf", quant="Q4_0").path.read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, 200), *range(200, len(whole) - 1, 97), len(whole) - 33]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            import_gguf(cut, tmp_path / "model")


def test_damaged_files_never_end_in_anything_but_an_error(tmp_path: Path) -> None:
    whole = write_llama(tmp_path / "a.gguf", quant="Q4_0").path.read_bytes()
    dice = random.Random(7)
    refused = 0
    for number in range(300):
        data = bytearray(whole)
        for _ in range(dice.choice([1, 2, 4])):
            data[dice.randrange(8000)] = dice.choice([0, 1, 127, 255, dice.randrange(256)])
        (tmp_path / "b.gguf").write_bytes(data)
        try:
            import_gguf(tmp_path / "b.gguf", tmp_path / f"model{number}")
        except DroidError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe", "qwen2", "gpt-2"])
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


def test_sentencepiece_agrees_with_sentencepiece(tmp_path: Path) -> None:
    import sentencepiece

    corpus = tmp_path / "corpus.txt"
    words = ["the", "theme", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "naïve", "1234", "don't"]
    dice = random.Random(3)
    corpus.write_text("\n".join(" ".join(dice.choices(words, k=8)) for _ in range(400)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(tmp_path / "sp"), vocab_size=340, model_type="bpe", byte_fallback=True,
        character_coverage=1.0, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sp.model"))
    size = oracle.get_piece_size()
    kinds = [
        2 if oracle.is_unknown(i) else 3 if oracle.is_control(i) else 6 if oracle.is_byte(i) else 1
        for i in range(size)
    ]
    tokenizer = build(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": [oracle.id_to_piece(i) for i in range(size)],
            "tokenizer.ggml.scores": [oracle.get_score(i) for i in range(size)],
            "tokenizer.ggml.token_type": kinds,
            "tokenizer.ggml.bos_token_id": oracle.bos_id(),
        }
    )
    for text in [*(text for text in TRICKY if text and "<|" not in text), "the quick theme over 1234 foxes"]:
        ids = tokenizer.encode(text).ids
        assert ids == [oracle.bos_id(), *oracle.encode(text)], text
        assert tokenizer.decode(ids) == text


def test_the_imported_folder_has_template_and_end_tokens(tmp_path: Path) -> None:
    written = write_llama(tmp_path / "a.gguf", metadata={"tokenizer.ggml.eot_token_id": 256})
    done = import_gguf(written.path, tmp_path / "model")
    tokenizer = load_tokenizer(done.path)
    tokens, _, _ = byte_level_tokens()
    assert tokenizer.eos_token_ids == {tokens.index("<|im_end|>"), 256}
    assert load_config(done.path)["max_position_embeddings"] == 512
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hé"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nhé<|im_end|>\n<|im_start|>assistant\n"


def test_doubts_are_said(tmp_path: Path) -> None:
    written = write_llama(tmp_path / "a.gguf", pre="default", metadata={"tokenizer.chat_template": ""})
    warnings = import_gguf(written.path, tmp_path / "model").warnings
    assert any("splits words" in warning for warning in warnings)
    assert any("chat template" in warning for warning in warnings)


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


@pytest.mark.real
def test_smollm2_knows_the_capital_of_france(smollm2: Path) -> None:
    from droidft.engine.generation.generate import generate, generate_batch

    model, config = load_model(smollm2)
    tokenizer = load_tokenizer(smollm2)
    assert config["rope_theta"] == 100000.0
    question = "What is the capital of France?"
    steps = list(generate(model, tokenizer, question))
    assert "".join(step.text for step in steps) == "The capital of France is Paris."
    assert steps[-1].finish_reason == "stop"
    assert generate_batch(model, tokenizer, [question, "Hi"], max_tokens=12)[0] == "The capital of France is Paris."
