"""Where weights lie in a checkpoint: stacked, split, joined and transposed ones."""

from pathlib import Path

import numpy as np
import pytest

from droidft.adapters.exports.origins import Role
from droidft.engine.model.origins import trace
from tests.adapters.exports.trained import trained
from tests.engine.model.logits.files import load, write_model
from tests.places import ROOT


def test_a_plain_matrix_is_one_piece_in_order(tmp_path: Path) -> None:
    made = trained("llama", tmp_path)
    origin = made.origins().weights["model.layers.0.self_attn.q_proj"]
    (piece,) = origin.pieces
    assert (piece.tensor, piece.stride, origin.role) == ("model.layers.0.self_attn.q_proj.weight", 1, Role.LINEAR)
    assert piece.starts.tolist() == [origin.width * row for row in range(origin.shape[0])]


def test_experts_are_a_piece_each_and_routers_are_known(tmp_path: Path) -> None:
    origins = trained("mixtral", tmp_path, lora_routers="on").origins()
    origin = origins.weights["model.layers.0.block_sparse_moe.switch_mlp.up_proj"]
    assert [piece.tensor.partition("moe.")[2] for piece in origin.pieces] == [
        f"experts.{e}.w3.weight" for e in range(4)
    ]
    assert origin.role is Role.EXPERTS
    routers = {name for name, each in origins.weights.items() if each.router}
    assert {name.rpartition(".")[2] for name in routers} == {"gate"}


def test_a_transposed_matrix_has_the_stride_of_its_columns(tmp_path: Path) -> None:
    origin = trained("gpt2", tmp_path).origins().weights["model.h.0.mlp.c_fc"]
    assert {piece.stride for piece in origin.pieces} == {origin.shape[0]}


def test_what_loading_adds_to_norms_is_found(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base", load(ROOT / "tests" / "golden" / "logits" / "qwen3_next.txt"))
    name = "model.layers.0.input_layernorm.weight"
    origin = trace(folder, [name], whole=True).weights[name]
    assert (origin.shift, origin.role) == (1.0, Role.WHOLE)


def test_rescaled_weights_have_no_origin(tmp_path: Path) -> None:
    unknown = trained("falcon_h1", tmp_path).origins().unknown
    assert unknown["model.layers.0.feed_forward.down_proj"] == "its values are rescaled while they are loaded"


@pytest.mark.parametrize("case", ["phi3", "qwen3_5_text", "olmoe"])
def test_every_row_has_exactly_one_place(case: str, tmp_path: Path) -> None:
    for origin in trained(case, tmp_path).origins().weights.values():
        rows = np.concatenate([piece.rows for piece in origin.pieces])
        assert sorted(rows.tolist()) == list(range(int(np.prod(origin.shape[:-1]))))
