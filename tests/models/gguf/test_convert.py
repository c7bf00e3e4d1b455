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
from huggingface_hub import ModelCard

from droidft.engine.model.loading import load_model, load_tokenizer
from droidft.errors import DroidError, ModelError
from droidft.models.catalog import load_config
from droidft.models.gguf import convert
from droidft.models.gguf.convert import import_gguf
from droidft.support.durable import hidden_folder
from tests.models.gguf.files import TYPES, byte_level_tokens, write_llama


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


def test_the_licence_that_the_file_states_is_in_the_folders_card(tmp_path: Path) -> None:
    stated = {"general.license": "other", "general.license.name": "a: b # c", "general.license.link": "https://x/y"}
    import_gguf(write_llama(tmp_path / "a.gguf", metadata=stated).path, tmp_path / "model")
    card = ModelCard.load(tmp_path / "model" / "README.md").data
    assert (card.license, card.license_name, card.license_link) == ("other", "a: b # c", "https://x/y")
    import_gguf(write_llama(tmp_path / "b.gguf").path, tmp_path / "none")
    assert not (tmp_path / "none" / "README.md").exists()


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"qwen2.expert_count": 8}, "architecture": "qwen2", "pre": "qwen2"}, "mixture of experts"),
        ({"metadata": {"llama.rope.scaling.type": "longrope"}}, "'longrope'"),
        ({"metadata": {"llama.rope.dimension_count": 4}}, "rotates 4 of 8"),
        ({"metadata": {"llama.block_count": 7_000_000}}, "7000000 blocks"),
        ({"architecture": "gemma"}, "'gemma'"),
        ({"pre": "deepseek-coder"}, "'deepseek-coder'"),
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
    (tmp_path / ".model.killed.part").mkdir()
    with hidden_folder(tmp_path / "model") as running:  # locked, as by another process that is importing
        os.utime(running, (time.time() - 7200,) * 2)
        import_gguf(write_llama(tmp_path / "a.gguf").path, tmp_path / "model")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([running.name, "a.gguf", "model"])


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
