"""Weights that do not fit the config: refused by name, or reported where that changes nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import save_file

from droidft.engine.generation import loaded
from droidft.engine.model import loading
from droidft.errors import ModelError
from tests.models.odd_folders import config, shards
from tests.tiny import llama, write_model

Arrays = dict[str, mx.array]


def stored() -> Arrays:
    """The tensors of the tiny model."""
    return dict(tree_flatten(llama().parameters()))


def folder_with(path: Path, arrays: Arrays, **changes: Any) -> Path:
    """The tiny model with other weights, and other settings."""
    folder = write_model(path)
    mx.save_safetensors(str(folder / "model.safetensors"), arrays)
    config(folder, **changes)
    return folder


def logits(folder: Path) -> mx.array:
    return loading.load_model(folder)[0](mx.array([[1, 2, 3]]))


def as_fp8(path: Path, arrays: Arrays) -> None:
    """A file whose matrices are F8_E4M3, as fp8 checkpoints have them; numpy has no such type."""
    header: dict[str, Any] = {}
    content = b""
    for name, array in arrays.items():
        part, kind = (bytes(array.size), "F8_E4M3") if array.ndim == 2 else (np.array(array).tobytes(), "F32")
        place = [len(content), len(content) + len(part)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
        content += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


@pytest.mark.parametrize(
    ("change", "changes", "message", "hint"),
    [
        (lambda w: {n: a for n, a in w.items() if ".layers.1." not in n}, {},
         "lack 9 tensors", "incomplete"),
        (lambda w: {n.removeprefix("model."): a for n, a in w.items()}, {}, "model.embed_tokens.weight", "causal-LM"),
        (lambda w: w, {"tie_word_embeddings": False}, "lack 1 tensor", "tie_word_embeddings"),
        (lambda w: w, {"vocab_size": 300}, "embed_tokens.weight is stored as 272 x 32, config.json means 300",
         "same model"),
        (lambda w: w, {"num_hidden_layers": 3}, "model.layers.2.", "incomplete"),
        (lambda w: w | {"model.layers.0.self_attn.q_proj.bias": mx.zeros(32)}, {},
         "no place for: model.layers.0.self_attn.q_proj.bias", "newer mlx-lm"),
        (lambda w: w | {"model.layers.1.self_attn.q_norm.weight": mx.zeros(8)}, {}, "q_norm.weight", "newer mlx-lm"),
        (lambda w: {n: a.astype(mx.int8) for n, a in w.items()}, {}, "8-bit floats or integers", "bfloat16"),
    ],
)  # fmt: skip
def test_refused_by_name(
    tmp_path: Path, change: Callable[[Arrays], Arrays], changes: dict[str, Any], message: str, hint: str
) -> None:
    folder = folder_with(tmp_path / "tiny", change(stored()), **changes)
    for look in (loading.examine, loading.load_model):
        with pytest.raises(ModelError) as caught:
            look(folder)
        assert message in caught.value.message
        assert hint in caught.value.hint


def test_fp8_without_a_scheme_is_no_model_of_zeros(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    as_fp8(folder / "model.safetensors", stored())
    with pytest.raises(ModelError, match="8-bit floats"):
        loading.load_model(folder)


def test_types_that_mlx_does_not_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    doubles = {name: np.array(array).astype(np.float64) for name, array in stored().items()}
    save_file(doubles, folder / "model.safetensors")
    with pytest.raises(ModelError, match="F64") as caught:
        loading.examine(folder)
    assert "float32, bfloat16 or float16" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["visual.patch_embed.weight", "model.layers.2.eh_proj.weight", "score.weight", "mtp.fc.weight"]
)
def test_outside_the_blocks_is_reported(tmp_path: Path, name: str) -> None:
    plain = write_model(tmp_path / "plain")
    folder = folder_with(tmp_path / "tiny", stored() | {name: mx.ones((32, 32))})
    (note,) = loading.examine(folder)
    assert name in note
    assert mx.array_equal(logits(folder), logits(plain))


def test_who_answers_says_what_is_not_used(home: Path, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "tiny", stored() | {"mtp.fc.weight": mx.ones((32, 32))})
    model = loaded.load(str(folder), models_dir=tmp_path, cache_dir=tmp_path)
    assert any("mtp.fc.weight" in warning for warning in model.warnings)


def test_constants_of_older_checkpoints_are_no_matter(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "tiny", stored() | {"model.layers.0.self_attn.rotary_emb.inv_freq": mx.ones(4)})
    assert loading.examine(folder) == ()


def test_only_the_chosen_weights_are_read(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain")
    folder = write_model(tmp_path / "two sets [1] ü")
    content = (folder / "model.safetensors").read_bytes()
    zeros = {name: mx.zeros_like(array) for name, array in stored().items()}
    mx.save_safetensors(str(folder / "model.safetensors"), zeros)
    shards(folder, 2, index=True)
    (folder / "model.safetensors").write_bytes(content)
    assert mx.array_equal(logits(folder), logits(plain))
    (note,) = loading.examine(folder)
    assert "model-00001-of-00002.safetensors and 1 more beside them is not used" in note


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
def test_every_float_becomes_float32_on_the_cpu(tmp_path: Path, dtype: mx.Dtype) -> None:
    folder = folder_with(tmp_path / "tiny", {name: array.astype(dtype) for name, array in stored().items()})
    model, _ = loading.load_model(folder)
    assert {array.dtype for _, array in tree_flatten(model.parameters())} == {mx.float32}
    assert loading.examine(folder) == ()
