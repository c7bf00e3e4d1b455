from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.models.catalog import copied_files
from droidft.models.gguf.convert import import_gguf
from droidft.models.gguf.kept import NOTE, source_of
from droidft.models.gguf.reader import read
from droidft.models.gguf.write import write_gguf
from tests.models.gguf.checkpoints import Arrays
from tests.models.gguf.files import write_llama

OWN = {"general.file_type": 7, "general.author": "somebody", "llama.tensor_data_layout": "Meta AI original pth"}
TRAINED = "model.layers.1.mlp.up_proj.weight"


def _imported(tmp_path: Path, quant: str = "Q8_0", dtype: str = "float32") -> Path:
    source = write_llama(tmp_path / "source.gguf", quant=quant, metadata=OWN).path
    return import_gguf(source, tmp_path / "base", dtype=dtype).path


def _weights(base: Path) -> Arrays:
    stored = Checkpoint(base, [])
    return Arrays({name: stored.load(name) for name in stored.names})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_export_without_a_change_is_the_file_again(dtype: str, tmp_path: Path) -> None:
    base = _imported(tmp_path, dtype=dtype)
    written = write_gguf(base, Checkpoint(base, []), tmp_path / "again.gguf", kind="Q8_0")
    ours, theirs = read(written.path), read(tmp_path / "source.gguf")
    assert (ours.metadata, ours.types) == (theirs.metadata, theirs.types)
    assert list(ours.tensors) == list(theirs.tensors)
    for name, tensor in theirs.tensors.items():
        assert ours.tensors[name].kind == tensor.kind
        np.testing.assert_array_equal(ours.tensors[name].data, tensor.data, err_msg=name)


def test_only_what_was_trained_is_packed_again(tmp_path: Path) -> None:
    base = _imported(tmp_path)
    weights = _weights(base)
    weights.arrays[TRAINED] = weights.arrays[TRAINED] * np.float32(1.5)
    weights.arrays["model.layers.0.self_attn.q_proj.weight"] += np.float32(0.25)
    ours = read(write_gguf(base, weights, tmp_path / "trained.gguf", kind="Q8_0").path)
    theirs = read(tmp_path / "source.gguf")
    changed = {"blk.1.ffn_up.weight", "blk.0.attn_q.weight"}
    for name, tensor in theirs.tensors.items():
        assert np.array_equal(ours.tensors[name].data, tensor.data) == (name not in changed), name
    back = import_gguf(tmp_path / "trained.gguf", tmp_path / "back", dtype="float32").path
    for name, array in _weights(back).arrays.items():
        np.testing.assert_allclose(array, weights.arrays[name], atol=0.01, err_msg=name)


def test_another_quantisation_keeps_the_keys(tmp_path: Path) -> None:
    base = _imported(tmp_path, quant="Q4_0")
    ours = read(write_gguf(base, Checkpoint(base, []), tmp_path / "f16.gguf", kind="F16").path)
    theirs = read(tmp_path / "source.gguf")
    assert ours.metadata == {**theirs.metadata, "general.file_type": 1}
    assert {tensor.kind.name for tensor in ours.tensors.values()} == {"F16", "F32"}
    for name in theirs.tensors:
        np.testing.assert_allclose(ours.load(name), theirs.load(name), rtol=1e-3, atol=1e-6)


def test_types_of_a_file_stay_where_its_quantisation_is_asked_for(tmp_path: Path) -> None:
    """The file says Q8_0 and holds Q4_1: its types stay, as those of any mixture do."""
    base = _imported(tmp_path, quant="Q4_1")
    ours = read(write_gguf(base, Checkpoint(base, []), tmp_path / "again.gguf", kind="Q8_0").path)
    assert {tensor.kind.name for tensor in ours.tensors.values()} == {"Q4_1", "F32"}


@pytest.mark.parametrize("change", ["removed", "another", "unknown"])
def test_a_file_that_is_not_the_same_any_more_is_not_kept(change: str, tmp_path: Path) -> None:
    base = _imported(tmp_path)
    source = tmp_path / "source.gguf"
    assert source_of(base) == source
    if change == "removed":
        source.unlink()
    elif change == "another":
        data = bytearray(source.read_bytes())
        data[-1] ^= 1
        source.write_bytes(data)
    else:
        (base / NOTE).unlink()
    assert source_of(base) is None
    written = read(write_gguf(base, Checkpoint(base, []), tmp_path / "again.gguf", kind="Q8_0").path)
    assert "general.author" not in written.metadata


def test_a_chat_template_that_was_put_into_the_folder_counts(tmp_path: Path) -> None:
    base = _imported(tmp_path)
    (base / "chat_template.jinja").write_text("mine")
    written = read(write_gguf(base, Checkpoint(base, []), tmp_path / "again.gguf", kind="Q8_0", ends=[256]).path)
    assert written.metadata["tokenizer.chat_template"] == "mine"
    assert written.metadata["tokenizer.ggml.eot_token_id"] == 256


def test_the_note_does_not_leave_with_the_model(tmp_path: Path) -> None:
    base = _imported(tmp_path)
    assert (base / NOTE).is_file()
    assert NOTE not in {path.name for path in copied_files(base)}
