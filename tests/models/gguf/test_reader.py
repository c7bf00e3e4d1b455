from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

from droidft.errors import ModelError
from droidft.models.gguf import reader

WRITABLE = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"]
READABLE_BEFORE = {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q6_K"}
NAMED = {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "MXFP4", "F64", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"}


def _write(path: Path, array: np.ndarray, kind: GGMLQuantizationType) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.scores", [1.5, -2.0])
    writer.add_tensor("first", np.ones(3, np.float32))
    writer.add_tensor("weights", array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_every_type_that_gguf_dequantises_is_read() -> None:
    names = {kind.name for kind in reader.dequantised_types()}
    assert names >= READABLE_BEFORE | NAMED | set(WRITABLE) | {"IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "Q5_0", "Q5_1"}
    assert not names & {"Q8_1", "Q8_K", "I8", "I32"}


@pytest.mark.parametrize("name", WRITABLE)
def test_quantised_values_come_back_as_gguf_rounds_them(name: str, tmp_path: Path) -> None:
    kind = GGMLQuantizationType[name]
    values = np.random.default_rng(3).standard_normal((6, 512)).astype(np.float32)
    packed = quants.quantize(values, kind)
    loaded = reader.read(_write(tmp_path / "a.gguf", packed, kind)).load("weights")
    np.testing.assert_array_equal(loaded, quants.dequantize(packed, kind))
    # And are those that were packed: half a step of the coarsest type, of three values, is half its block's largest.
    assert np.abs(loaded - values).max() <= 0.51 * np.abs(values).max()


@pytest.mark.parametrize("kind", [kind for kind in reader.dequantised_types() if kind.name != "F64"])
def test_every_bit_pattern_goes_through(kind: GGMLQuantizationType, tmp_path: Path, monkeypatch: Any) -> None:
    block, size = GGML_QUANT_SIZES[kind]
    blocks = 5 if block > 1 else 300
    raw = np.random.default_rng(1).integers(0, 256, (40, size * blocks), dtype=np.uint8)
    monkeypatch.setattr(reader, "_VALUES_AT_ONCE", 7 * block * blocks)
    file = reader.read(_write(tmp_path / "a.gguf", raw, kind))
    loaded = file.load("weights")
    with np.errstate(all="ignore"):
        expected = quants.dequantize(raw, kind)
    assert loaded.shape == (40, block * blocks)
    assert np.isfinite(expected).mean() > 0.5
    np.testing.assert_array_equal(loaded, expected)


def test_float64_becomes_float32(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((3, 5))
    loaded = reader.read(_write(tmp_path / "a.gguf", values, GGMLQuantizationType.F64)).load("weights")
    np.testing.assert_array_equal(loaded, values.astype(np.float32))


def test_loading_holds_no_more_than_the_tensor_and_a_group_of_rows(tmp_path: Path) -> None:
    import tracemalloc

    raw = np.zeros((4096, 4096 // 256 * 144), dtype=np.uint8)
    file = reader.read(_write(tmp_path / "a.gguf", raw, GGMLQuantizationType.Q4_K))
    tracemalloc.start()
    loaded = file.load("weights")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert loaded.nbytes == 64 * 2**20
    # A group of rows is a quarter of that, and is held a few times over while it is unpacked.
    assert peak < 2 * loaded.nbytes


def test_metadata_are_python_values(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    given = {"a.text": "é", "a.whole": 7, "a.share": 0.5, "a.flag": True, "a.many": [1, 2], "a.texts": ["x", "ÿ"]}
    for name, value in given.items():
        writer.add_key_value(name, value, gguf.GGUFValueType.get_type(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = reader.read(tmp_path / "a.gguf")
    assert {name: found.metadata[name] for name in given} == given
    assert not found.tensors


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _file(*, version: int = 3, tensors: int = 0, metadata: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, metadata) + rest


def _tensor(shape: tuple[int, ...], *, kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return _text(b"weights") + sizes + struct.pack("<IQ", kind, offset)


def _hostile() -> Iterator[Any]:
    """Files of a few bytes that ask for more than the machine has, or make no sense."""
    array = _text(b"a") + struct.pack("<I", 9)
    nested = b"".join(struct.pack("<IQ", 9, 1) for _ in range(3000))
    huge = 2**63
    yield pytest.param(b"", "too short", id="empty")
    yield pytest.param(b"PK" + bytes(30), "not a GGUF file", id="a zip")
    yield pytest.param(_file(version=4), "version 4", id="a newer version")
    yield pytest.param(b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "byte order", id="big-endian")
    yield pytest.param(_file(metadata=huge), "damaged", id="metadata without end")
    yield pytest.param(_file(tensors=huge), "damaged", id="tensors without end")
    yield pytest.param(_file(metadata=1, rest=_text(b"a") + struct.pack("<I", 99)), "99", id="an unknown value")
    yield pytest.param(
        _file(metadata=1, rest=array + struct.pack("<IQ", 0, huge)), "damaged", id="a list without end"
    )
    yield pytest.param(_file(metadata=1, rest=array + struct.pack("<IQ", 8, huge)), "damaged", id="texts without end")
    yield pytest.param(_file(metadata=1, rest=array + nested), "damaged", id="lists in lists")
    yield pytest.param(_file(metadata=1, rest=struct.pack("<Q", huge) + b"a"), "damaged", id="a name without end")
    yield pytest.param(_file(metadata=2, rest=2 * (_text(b"a") + struct.pack("<II", 4, 1))), "Duplicate", id="twice")
    yield pytest.param(_file(tensors=1, rest=_tensor((2**31, 2**31, 2**31))), "damaged", id="an impossible shape")
    yield pytest.param(_file(tensors=1, rest=_tensor((2**32, 2**32))), "damaged", id="a shape that wraps round")
    yield pytest.param(_file(tensors=1, rest=_tensor((4,) * 5)), "dimensions", id="five dimensions")
    yield pytest.param(_file(tensors=1, rest=_text(b"w") + b"\xff" * 12), "damaged", id="four billion dimensions")
    yield pytest.param(_file(tensors=1, rest=_tensor((4,), offset=huge) + bytes(99)), "damaged", id="far away")
    yield pytest.param(_file(tensors=1, rest=_tensor((4,), kind=77) + bytes(99)), "unknown to the", id="a newer type")
    yield pytest.param(_file(tensors=1, rest=_tensor((31,), kind=2) + bytes(99)), "multiple", id="half a block")
    yield pytest.param(_file(tensors=1, rest=_tensor((64,)) + bytes(99)), "cut off", id="data cut off")


@pytest.mark.parametrize(("content", "message"), _hostile())
def test_hostile_files_are_refused_at_once(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        reader.read(tmp_path / "a.gguf").check_readable()
    assert "a.gguf" in caught.value.message


def test_a_header_of_millions_of_values_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_VALUES", 1000)
    rest = _text(b"a") + struct.pack("<IIQ", 9, 0, 2000) + bytes(2000)
    (tmp_path / "a.gguf").write_bytes(_file(metadata=1, rest=rest))
    with pytest.raises(ModelError, match="more than 1,000 values"):
        reader.read(tmp_path / "a.gguf")


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.gguf cannot be read"):
        reader.read(tmp_path / "none.gguf")


def test_texts_that_are_no_utf8_do_not_stop_the_import(tmp_path: Path) -> None:
    rest = _text(b"a") + struct.pack("<IIQ", 9, 8, 2) + _text(b"\xff\xfe") + _text(b"ok")
    (tmp_path / "a.gguf").write_bytes(_file(metadata=1, rest=rest))
    assert reader.read(tmp_path / "a.gguf").metadata["a"] == ["\ufffd\ufffd", "ok"]
