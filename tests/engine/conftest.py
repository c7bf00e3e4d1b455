"""Fixtures of the engine's tests."""

from __future__ import annotations

import mlx.core as mx
import pytest

from droidft.engine.machine import kernels
from droidft.engine.machine.device import prepare
from droidft.engine.machine.kernels import Kernels, Unavailable
from tests.conftest import CACHE
from tests.engine.closeness import Function


@pytest.fixture(scope="session")
def fast() -> Kernels:
    device = prepare(CACHE)
    blas = device.blas.path if device.blas else ""
    loaded = kernels.load(CACHE, blas=blas, threads=device.threads)
    if isinstance(loaded, Unavailable):
        pytest.skip(f"no fused kernels here: {loaded.reason}")
    return loaded


@pytest.fixture
def random() -> Function:
    """Normal numbers of a shape, the same in every run."""
    keys = iter(mx.random.split(mx.random.key(0), 64))
    return lambda *shape: mx.random.normal(shape, key=next(keys))
