"""Rounding to the types of weight files, against MLX."""

import mlx.core as mx
import numpy as np
import pytest

from droidft.models.floats import decoded, encoded, rounded

TYPES = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}


def numbers() -> np.ndarray:
    """Float32 of every size, halfway cases and what is beyond the smaller types."""
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    halfway = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    values = np.concatenate([bits, halfway]).view(np.float32)
    return np.concatenate([values[~np.isnan(values)], np.array([0, -0.0, np.inf, -np.inf, 65519, 65520], np.float32)])


@pytest.mark.parametrize("name", TYPES)
def test_rounded_as_mlx_rounds(name: str) -> None:
    values = numbers()
    want = np.array(mx.array(values).astype(TYPES[name]).astype(mx.float32))
    # MLX on the CPU takes subnormal numbers as they are, too.
    np.testing.assert_array_equal(rounded(values, name), want)


def test_nan_stays_nan() -> None:
    for name in TYPES:
        assert np.isnan(rounded(np.array([np.nan, -np.nan], np.float32), name)).all()


def test_what_is_written_is_read_back_bit_by_bit() -> None:
    raw = np.arange(2**16, dtype="<u2").tobytes()
    values = decoded(raw, "BF16")
    finite = ~np.isnan(values)
    assert np.array_equal(np.frombuffer(encoded(values, "BF16"), "<u2")[finite], np.frombuffer(raw, "<u2")[finite])
