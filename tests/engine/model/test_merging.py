"""Merged models in mlx-lm's layout compute what base and adapter do, in every architecture."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlx_lm import utils

from droidft.engine.model import merging
from droidft.engine.model.merging import write_mlx
from droidft.errors import ModelError
from tests.adapters.exports.trained import Trained, adapted, difference, logits_of, read, trained
from tests.engine.model.logits.cases import CASES, REFUSED
from tests.tiny import write_model

CLOSE = 1e-3
DROPPED = "ernie4_5_moe"
"""Its experts are chosen with a bias that mlx-lm drops."""


def merge(made: Trained, target: Path, bits: int | None = None) -> Path:
    target.mkdir()
    write_mlx(made.base, made.info, target, bits=bits)
    return target


@pytest.mark.parametrize("case", [case for case in CASES if case not in {*REFUSED, DROPPED}])
def test_logits_are_those_of_the_adapter(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path)
    assert made.apart(merge(made, tmp_path / "merged")) < CLOSE


@pytest.mark.parametrize("case", ["llama", "qwen2", "qwen3", "gpt2", "falcon_h1", "qwen3_next"])
def test_mlx_lm_itself_reads_the_same(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path)
    model, _ = utils.load_model(merge(made, tmp_path / "merged"))
    assert difference(read(model), made.adapted) < CLOSE


def test_what_mlx_lm_drops_cannot_be_kept_in_its_layout(tmp_path: Path) -> None:
    made = trained(DROPPED, tmp_path)
    with pytest.raises(ModelError, match="has weights that mlx-lm drops"):
        merge(made, tmp_path / "merged")


@pytest.mark.parametrize("kind", ["dora", "full"])
def test_dora_and_whole_weights_are_merged_too(kind: str, tmp_path: Path) -> None:
    made = trained("llama", tmp_path, fine_tune_type=kind)
    assert made.apart(merge(made, tmp_path / "merged")) < CLOSE


def test_a_quantised_base_is_unpacked(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain", hidden_size=64)
    (tmp_path / "packed").mkdir()
    write_mlx(plain, None, tmp_path / "packed", bits=4)
    made = adapted(tmp_path / "packed", tmp_path / "adapter")
    merged = merge(made, tmp_path / "merged")
    assert "quantization" not in json.loads((merged / "config.json").read_text())
    assert made.apart(merged) < CLOSE


def test_eight_bits_are_closer_than_four(tmp_path: Path) -> None:
    made = adapted(write_model(tmp_path / "base", hidden_size=64), tmp_path / "adapter")
    apart = {}
    for bits in (4, 8):
        folder = merge(made, tmp_path / str(bits), bits)
        config = json.loads((folder / "config.json").read_text())
        assert config["quantization"]["bits"] == bits
        apart[bits] = difference(logits_of(folder), made.adapted)
    assert CLOSE < apart[8] < apart[4] / 4


def test_shards_and_their_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "SHARD_BYTES", 30_000)
    made = adapted(write_model(tmp_path / "base"), tmp_path / "adapter")
    seen: list[tuple[int, int]] = []
    (tmp_path / "merged").mkdir()
    write_mlx(made.base, made.info, tmp_path / "merged", progress=lambda _, done, total: seen.append((done, total)))
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == len(seen) > 2
    assert seen[-1][0] == seen[-1][1] == index["metadata"]["total_size"]
    assert made.apart(tmp_path / "merged") < CLOSE
    np.testing.assert_array_equal(logits_of(made.base), made.plain)
