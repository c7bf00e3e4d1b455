from __future__ import annotations

import builtins
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from droidft.errors import ModelError
from droidft.models.gguf import kinds, layout
from droidft.models.gguf.kinds import Sizes, packed_shape, packer, types
from droidft.models.gguf.layout import Layout
from droidft.models.gguf.reader import read
from droidft.models.gguf.write import write_gguf
from tests.models.gguf.checkpoints import Arrays, write_folder
from tests.models.gguf.llama_cpp import log_probabilities
from tests.models.gguf.test_llama_cpp import _apart
from tests.models.gguf.tiny import CASES, ROWS, tokens

ERROR = {"Q4_K_M": 0.075, "Q5_K_M": 0.04, "Q6_K": 0.02}
"""Of the norm of Gaussian rows."""


def _shapes(model: Layout, blocks: int, hidden: int, inner: int, *, head: bool, experts: int = 0) -> dict[str, Any]:
    """Shapes as far as they decide on types: those of norms, and how wide the rows of the others are."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in model.names(blocks, lambda theirs, ours: theirs == layout.HEAD and head):
        if name.endswith(("norm.weight", "bias")):
            shapes[name] = (hidden,)
        else:
            width = inner if "ffn_down" in name else hidden
            shapes[name] = (experts, 8, width) if "_exps" in name else (8, width)
    return shapes


@pytest.mark.parametrize(
    ("model", "blocks", "hidden", "inner", "head", "kind", "expected"),
    [
        # What llama.cpp prints as it opens published files of these models.
        (layout.LLAMA, 32, 4096, 14336, True, "Q4_K_M", {"F32": 65, "Q4_K": 193, "Q6_K": 33}),
        (layout.LLAMA, 32, 4096, 14336, True, "Q5_K_M", {"F32": 65, "Q5_K": 193, "Q6_K": 33}),
        (layout.LLAMA, 32, 4096, 14336, True, "Q6_K", {"F32": 65, "Q6_K": 226}),
        (layout.PHI3, 32, 3072, 8192, True, "Q4_K_M", {"F32": 65, "Q4_K": 81, "Q5_K": 32, "Q6_K": 17}),
        (
            *(layout.QWEN2, 24, 896, 4864, False, "Q4_K_M"),
            {"F32": 121, "Q5_0": 132, "Q8_0": 13, "Q4_K": 12, "Q6_K": 12},
        ),
    ],
)
def test_mixtures_are_those_of_published_files(
    model: Layout, blocks: int, hidden: int, inner: int, head: bool, kind: str, expected: dict[str, int]
) -> None:
    made, fallen = types(kind, _shapes(model, blocks, hidden, inner, head=head), Sizes(blocks, 0, True))
    assert Counter(each.name for each in made.values()) == expected
    assert len(fallen) == (144 if model is layout.QWEN2 else 0)


def test_mixtral_keeps_keys_and_values_in_8_bits() -> None:
    made, _ = types("Q4_K_M", _shapes(layout.MIXTRAL, 32, 4096, 14336, head=True, experts=8), Sizes(32, 8, True))
    assert {made[f"blk.7.attn_{part}.weight"].name for part in "kv"} == {"Q8_0"}
    assert made["blk.7.attn_output.weight"].name == "Q5_K"
    assert made["blk.7.ffn_gate_inp.weight"].name == "F32"
    assert {made[f"blk.{block}.ffn_down_exps.weight"].name for block in (0, 31)} == {"Q6_K"}


def test_the_largest_llama_shares_its_values_and_has_more_bits_for_them() -> None:
    shapes = _shapes(layout.LLAMA, 80, 8192, 28672, head=True)
    made, _ = types("Q4_K_M", shapes, Sizes(80, 0, True))
    assert {made[f"blk.{block}.attn_v.weight"].name for block in (10, 11)} == {"Q5_K"}
    alike, _ = types("Q4_K_M", shapes, Sizes(80, 0, False))
    assert alike["blk.10.attn_v.weight"].name == "Q4_K"


def test_rows_that_fit_no_block_stay_in_16_bits() -> None:
    made, fallen = types("Q4_K_M", {"token_embd.weight": (8, 32), "blk.0.ffn_up.weight": (8, 40)}, Sizes(1, 0, False))
    assert [each.name for each in made.values()] == ["Q8_0", "F16"]
    assert fallen == ["blk.0.ffn_up.weight"]


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"])
def test_packed_rows_are_read_by_gguf(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libgguf", reason="libgguf, which packs K-quants, is not installed")
    kind = GGMLQuantizationType[name]
    weight = np.random.default_rng(0).standard_normal((3, 14, 512)).astype(np.float32)
    pack = packer("Q4_K_M")
    packed = pack("w", weight, kind)
    assert packed.shape == packed_shape(weight.shape, kind)
    back = quants.dequantize(packed.reshape(42, -1), kind).reshape(weight.shape)
    limits = {"F32": 0, "F16": 3e-4, "BF16": 2e-3, "Q8_0": 6e-3, "Q5_0": 0.05, "Q5_1": 0.05}
    limits |= {"Q4_K": 0.075, "Q5_K": 0.04, "Q6_K": 0.02}
    assert np.linalg.norm(back - weight) <= limits[name] * np.linalg.norm(weight)
    monkeypatch.setattr(kinds, "_VALUES_AT_ONCE", 5 * 512)
    np.testing.assert_array_equal(pack("w", weight, kind), packed)


def test_k_quants_name_the_package_that_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "libgguf":
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match="needs the package libgguf") as caught:
        packer("Q4_K_M")
    assert "droidft[gguf]" in caught.value.hint
    packer("Q8_0")


def _wide(folder: Path) -> Arrays:
    """A Qwen2 whose rows fill the blocks of K-quants."""
    sizes = {48: 256, 40: 512, 24: 128}
    weights = write_folder(CASES["qwen2"], folder, hidden_size=256, intermediate_size=512)
    generator = np.random.default_rng(1)
    for name, array in weights.arrays.items():
        shape = tuple(sizes.get(size, size) for size in array.shape)
        scale = 1.3 / shape[-1] ** 0.5 if len(shape) > 1 else 0.3
        weights.arrays[name] = (generator.standard_normal(shape) * scale + (len(shape) == 1)).astype(np.float32)
    return weights


@pytest.mark.parametrize("kind", ERROR)
def test_k_quants_in_a_whole_file(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("libgguf", reason="libgguf, which packs K-quants, is not installed")
    weights = _wide(tmp_path / "base")
    written = write_gguf(tmp_path / "base", weights, tmp_path / "model.gguf", kind=kind)
    assert not written.fallen
    file = read(written.path)
    exact = weights.arrays["model.layers.1.mlp.gate_proj.weight"]
    error = np.linalg.norm(file.load("blk.1.ffn_gate.weight") - exact) / np.linalg.norm(exact)
    assert ERROR[kind] / 3 < error < ERROR[kind]
    # llama.cpp opens it, and reads the same values: its distance from the exact model is that of these values.
    exactly = write_gguf(tmp_path / "base", weights, tmp_path / "exact.gguf", kind="F32").path
    back = Arrays({ours: file.load(theirs) for theirs, ours in _names(weights).items()})
    rounded = write_gguf(tmp_path / "base", back, tmp_path / "rounded.gguf", kind="F32").path
    asked = tokens(CASES["qwen2"])[:6]
    packed, values, original = (log_probabilities(path, asked, ROWS) for path in (written.path, rounded, exactly))
    # llama.cpp rounds what it multiplies K-quants with to 8 bits.
    assert _apart(packed, values) < 0.01
    assert _apart(packed, original) < 10 * ERROR[kind]


def _names(weights: Arrays) -> dict[str, str]:
    return layout.QWEN2.names(2, lambda theirs, ours: ours in weights.arrays)
