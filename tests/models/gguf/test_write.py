from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import pytest

from droidft.engine.model.loading import load_model, load_tokenizer
from droidft.errors import ModelError, StorageError
from droidft.models.gguf import kinds, layout
from droidft.models.gguf.convert import import_gguf
from droidft.models.gguf.hyperparameters import hyperparameters
from droidft.models.gguf.reader import GgufFile, read
from droidft.models.gguf.write import refuse_unwritable, write_gguf
from droidft.support import room
from tests.models.gguf.checkpoints import Arrays, write_folder
from tests.models.gguf.tiny import CASES, ROWS, tokens, write

YARN, LONGROPE = CASES["qwen2"].config["rope_scaling"], CASES["phi3-longrope"].config["rope_scaling"]
WRITTEN_OTHERWISE = {"general.name", "general.type", "general.file_type", "general.quantization_version"}


def _write(name: str, folder: Path, kind: str = "F32", **changes: Any) -> GgufFile:
    weights = write_folder(CASES[name], folder / "base", **changes)
    return read(write_gguf(folder / "base", weights, folder / "model.gguf", kind=kind).path)


def _logits(folder: Path, name: str) -> np.ndarray:
    model, _ = load_model(folder)
    return np.array(model(mx.array([tokens(CASES[name])]))[0])


@pytest.mark.parametrize("name", CASES)
def test_tensors_are_those_that_llama_cpps_conversion_writes(name: str, tmp_path: Path) -> None:
    """`tests/models/gguf/tiny.py` writes them by gguf's own map of names, and by its own arithmetic."""
    ours, theirs = _write(name, tmp_path), read(write(CASES[name], tmp_path / "theirs.gguf"))
    assert ours.tensors.keys() == theirs.tensors.keys()
    for tensor in theirs.tensors:
        np.testing.assert_allclose(ours.load(tensor), theirs.load(tensor), rtol=1e-6, atol=0, err_msg=tensor)


@pytest.mark.parametrize("name", CASES)
def test_settings_are_those_that_llama_cpps_conversion_writes(name: str, tmp_path: Path) -> None:
    ours, theirs = _write(name, tmp_path).metadata, read(write(CASES[name], tmp_path / "theirs.gguf")).metadata
    for key, value in theirs.items():
        if key.startswith("tokenizer.") or key in WRITTEN_OTHERWISE or key.endswith("context_length"):
            continue
        assert ours[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), key


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_back_to_the_same_logits(name: str, tmp_path: Path) -> None:
    file = _write(name, tmp_path)
    import_gguf(file.path, tmp_path / "back", dtype="float32")
    # Gemma's norms lose a bit on their way through 1 + w.
    np.testing.assert_allclose(_logits(tmp_path / "back", name), _logits(tmp_path / "base", name), atol=2e-5)


def test_the_tokenizer_is_read_back_whole(tmp_path: Path) -> None:
    file = _write("qwen2", tmp_path)
    import_gguf(file.path, tmp_path / "back")
    ours, theirs = load_tokenizer(tmp_path / "base"), load_tokenizer(tmp_path / "back")
    turns = [{"role": "user", "content": "the thé  12345\n"}, {"role": "assistant", "content": "he"}]
    assert ours.apply_chat_template(turns) == theirs.apply_chat_template(turns)
    assert ours.eos_token_ids == theirs.eos_token_ids


def test_mistral_is_a_llama_without_its_window(tmp_path: Path) -> None:
    weights = write_folder(
        CASES["llama"], tmp_path / "base", model_type="mistral", rope_scaling=None, sliding_window=64
    )
    written = write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F32")
    assert read(written.path).metadata["llama.context_length"] == 64
    assert any("last 64 tokens" in warning for warning in written.warnings)


def test_rope_parameters_of_transformers_5_count(tmp_path: Path) -> None:
    config = {key: value for key, value in CASES["llama"].config.items() if not key.startswith("rope")}
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 777.0}
    made = hyperparameters({**config, "rope_parameters": rope}).metadata
    assert (made["llama.rope.freq_base"], made["llama.rope.scaling.factor"]) == (777.0, 4.0)


@pytest.mark.parametrize("head", ["tied and stored twice", "tied and stored otherwise", "not tied"])
def test_the_head_is_the_one_that_the_model_uses(head: str, tmp_path: Path) -> None:
    weights = write_folder(CASES["qwen2"], tmp_path / "base", tie_word_embeddings=head != "not tied")
    embedding = weights.arrays["model.embed_tokens.weight"]
    weights.arrays["lm_head.weight"] = embedding * (1 if "twice" in head else 2)
    from safetensors.numpy import save_file

    save_file(weights.arrays, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    file = read(write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F32").path)
    assert ("output.weight" in file.tensors) == ("twice" not in head)


@pytest.mark.parametrize("start", ["language_model.model.", "model.language_model."])
def test_the_language_model_of_a_gemma_that_sees_images(start: str, tmp_path: Path) -> None:
    plain = _write("gemma3", tmp_path / "plain")
    weights = write_folder(CASES["gemma3"], tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    whole = {
        "model_type": "gemma3",
        "text_config": config,
        "vision_config": {},
        "eos_token_id": config["eos_token_id"],
    }
    (tmp_path / "base" / "config.json").write_text(json.dumps(whole))
    named = {start + name.removeprefix("model."): array for name, array in weights.arrays.items()}
    sight = {"vision_tower.post_layernorm.weight": np.ones(4, np.float32)}
    written = write_gguf(tmp_path / "base", Arrays({**named, **sight}), tmp_path / "model.gguf", kind="F32")
    ours = read(written.path)
    assert ours.metadata == {**plain.metadata, "general.name": ours.metadata["general.name"]}
    assert ours.tensors.keys() == plain.tensors.keys()
    for name in plain.tensors:
        np.testing.assert_array_equal(ours.load(name), plain.load(name))
    assert any("mmproj" in warning for warning in written.warnings)


def test_experts_that_mlx_keeps_in_one_tensor(tmp_path: Path) -> None:
    weights = write_folder(CASES["mixtral"], tmp_path / "base")
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    stacked = {name: array for name, array in weights.arrays.items() if ".experts." not in name}
    for block in range(2):
        for theirs, ours in names.items():
            stem = f"model.layers.{block}.block_sparse_moe"
            parts = [weights.arrays[f"{stem}.experts.{expert}.{theirs}.weight"] for expert in range(4)]
            stacked[f"{stem}.switch_mlp.{ours}.weight"] = np.stack(parts)
    files = [
        read(write_gguf(tmp_path / "base", Arrays(arrays), tmp_path / f"{index}.gguf", kind="Q8_0").path)
        for index, arrays in enumerate((weights.arrays, stacked))
    ]
    for name in files[0].tensors:
        np.testing.assert_array_equal(files[0].load(name), files[1].load(name), err_msg=name)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_types_of_16_and_8_bits(kind: str, tmp_path: Path) -> None:
    # Rows of 64 and 128 fill blocks of 32.
    weights = write_folder(CASES["qwen2"], tmp_path / "base", hidden_size=64, intermediate_size=128)
    for name, array in weights.arrays.items():
        shape = tuple({48: 64, 40: 128, 24: 32}.get(size, size) for size in array.shape)
        weights.arrays[name] = np.resize(array, shape)
    written = write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind=kind)
    file = read(written.path)
    assert not written.fallen
    assert file.metadata["general.file_type"] == gguf.LlamaFileType[f"MOSTLY_{kind}"]
    for name, tensor in file.tensors.items():
        assert tensor.kind.name == ("F32" if len(tensor.shape) == 1 else kind), name
    exact = weights.arrays["model.layers.1.mlp.down_proj.weight"]
    apart = np.linalg.norm(file.load("blk.1.ffn_down.weight") - exact) / np.linalg.norm(exact)
    assert apart < {"F16": 3e-4, "BF16": 3e-3, "Q8_0": 6e-3}[kind]


def test_rows_that_fit_no_block_are_named(tmp_path: Path) -> None:
    weights = write_folder(CASES["qwen3"], tmp_path / "base")
    written = write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="Q8_0")
    assert "blk.0.ffn_down.weight" in written.fallen
    assert written.types["F16"] == len(written.fallen)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"model_type": "gpt2"}, "'gpt2'"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ("qwen2", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ("qwen2", {"rope_scaling": {**YARN, "attention_factor": 2.0}}, "attention_factor 2.0"),
        ("gemma2", {"query_pre_attn_scalar": 11}, "query_pre_attn_scalar 11"),
        ("gemma2", {"attn_logit_softcapping": None}, "attn_logit_softcapping"),
        ("gemma2", {"layer_types": ["full_attention"] * 3}, "layer_types"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("phi3-longrope", {"rope_scaling": {**LONGROPE, "short_mscale": 1.1}}, "short_mscale 1.1"),
    ],
)  # fmt: skip
def test_what_a_file_cannot_hold_is_named(name: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    weights = write_folder(CASES[name], tmp_path / "base", **changes)
    with pytest.raises(ModelError, match=message):
        refuse_unwritable(tmp_path / "base")
    with pytest.raises(ModelError, match=message):
        write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F16")
    assert os.listdir(tmp_path) == ["base"]


def test_what_can_be_written_is_not_refused(tmp_path: Path) -> None:
    write_folder(CASES["gemma3"], tmp_path)
    refuse_unwritable(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("model.layers.1.mlp.up_proj.weight"), "lacks 1 tensors"),
        (lambda arrays: arrays.update({"model.layers.0.extra.weight": np.ones(3, np.float32)}), "extra.weight"),
        (lambda arrays: arrays["model.norm.weight"].fill(np.nan), "output_norm.weight holds NaN"),
        (lambda arrays: arrays["model.layers.0.mlp.up_proj.weight"].fill(1e6), "export it as BF16"),
    ],
)
def test_tensors_that_do_not_belong_together(change: Any, message: str, tmp_path: Path) -> None:
    weights = write_folder(CASES["qwen2"], tmp_path / "base")
    change(weights.arrays)
    with pytest.raises(ModelError) as caught:
        write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F16")
    assert message in f"{caught.value.message} {caught.value.hint}"
    assert os.listdir(tmp_path) == ["base"]


def test_a_broken_off_export_leaves_nothing_and_progress_is_in_bytes(tmp_path: Path) -> None:
    weights = write_folder(CASES["qwen2"], tmp_path / "base")
    seen: list[tuple[str, int, int]] = []

    def stop(what: str, done: int, total: int) -> None:
        assert not (tmp_path / "model.gguf").exists()
        seen.append((what, done, total))
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F16", progress=stop)
    assert os.listdir(tmp_path) == ["base"]
    written = write_gguf(
        tmp_path / "base", weights, tmp_path / "model.gguf", kind="F16", progress=lambda *report: seen.append(report)
    )
    what, done, total = seen[-1]
    assert (what, done) == ("writing", total)
    assert total < written.bytes < total + 2**16


def test_what_a_killed_export_left_is_cleared_away(tmp_path: Path) -> None:
    weights = write_folder(CASES["qwen2"], tmp_path / "base")
    for name, age in (("old", 7200), ("running", 0)):
        part = tmp_path / f".model.gguf.{name}.part"
        part.touch()
        os.utime(part, (time.time() - age,) * 2)
    write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F16")
    assert sorted(os.listdir(tmp_path)) == [".model.gguf.running.part", "base", "model.gguf"]


def test_room_is_checked_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = write_folder(CASES["qwen2"], tmp_path / "base")
    usage = room.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda place: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"the export needs .* is free"):
        write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F16")
    assert os.listdir(tmp_path) == ["base"]


def test_memory_is_the_largest_tensor_and_a_bit(tmp_path: Path) -> None:
    import tracemalloc

    class Lazy(Arrays):
        def load(self, name: str) -> np.ndarray:
            return self.arrays[name].astype(np.float32)

    weights = write_folder(CASES["qwen2"], tmp_path / "base", num_hidden_layers=40, intermediate_size=20000)
    wide = {name.partition("mlp.")[2]: array for name, array in weights.arrays.items() if "layers.0.mlp" in name}
    arrays = {name: array for name, array in weights.arrays.items() if ".layers." not in name}
    for block in range(40):
        for name, array in weights.arrays.items():
            if "layers.0." in name and "mlp" not in name:
                arrays[name.replace("layers.0.", f"layers.{block}.")] = array
        for name, array in wide.items():
            shape = tuple(20000 if size == 40 else size for size in array.shape)
            arrays[f"model.layers.{block}.mlp.{name}"] = np.broadcast_to(np.float16(0.5), shape)

    def begin(what: str, done: int, total: int) -> None:
        if not tracemalloc.is_tracing():
            tracemalloc.start()

    write_gguf(tmp_path / "base", Lazy(arrays), tmp_path / "model.gguf", kind="F16", progress=begin)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    largest = 20000 * 48 * 4
    assert (tmp_path / "model.gguf").stat().st_size > 50 * largest
    # The tensor, whether its values are finite, its copy in 16 bits.
    assert peak < 3 * largest


def test_interleaving_has_an_inverse() -> None:
    weight = np.random.default_rng(0).standard_normal((24, 5)).astype(np.float32)
    np.testing.assert_array_equal(layout.separated(layout.interleaved(weight, 3), 3), weight)
    assert not np.array_equal(layout.interleaved(weight, 3), weight)
    with pytest.raises(ModelError, match="24 rows does not divide into 5 heads"):
        layout.interleaved(weight, 5)


def test_a_name_that_llama_cpp_reads_more_into_is_changed(tmp_path: Path) -> None:
    weights = write_folder(CASES["phi3"], tmp_path / "base")
    written = write_gguf(tmp_path / "base", weights, tmp_path / "My-Phi-3.gguf", kind="F16")
    assert read(written.path).metadata["general.name"] == "my-phi 3"


def test_counts_of_types_are_of_the_file(tmp_path: Path) -> None:
    weights = write_folder(CASES["llama-biases"], tmp_path / "base")
    written = write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="F16")
    held = Counter(tensor.kind.name for tensor in read(written.path).tensors.values())
    assert written.types == dict(held)


def test_the_vocabulary_is_padded_to_the_rows_of_the_embedding(tmp_path: Path) -> None:
    file = _write("qwen2", tmp_path)
    names, types = file.metadata["tokenizer.ggml.tokens"], file.metadata["tokenizer.ggml.token_type"]
    assert len(names) == len(types) == ROWS
    assert (names[-1], types[-1]) == (f"[PAD{ROWS - 1}]", 5)


def test_kinds_are_named_where_there_is_none(tmp_path: Path) -> None:
    weights = write_folder(CASES["qwen2"], tmp_path / "base")
    with pytest.raises(ModelError, match="no quantisation 'Q3_K'") as caught:
        write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind="Q3_K")
    assert all(kind in caught.value.hint for kind in kinds.KINDS)


def test_a_damaged_config_is_a_sentence(tmp_path: Path) -> None:
    write_folder(CASES["qwen2"], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_attention_heads": "four"}))
    with pytest.raises(ModelError, match=r"config\.json"):
        refuse_unwritable(tmp_path)
