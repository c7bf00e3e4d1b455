from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from droidft.errors import AdapterError
from droidft.models.factors import Factors
from droidft.models.gguf.lora import read_gguf_lora, write_gguf_lora
from droidft.models.gguf.reader import read
from droidft.models.gguf.write import write_gguf
from tests.models.gguf.checkpoints import Arrays, write_folder
from tests.models.gguf.llama_cpp import log_probabilities
from tests.models.gguf.test_llama_cpp import LENGTH, TOLERANCE, _apart
from tests.models.gguf.tiny import CASES, ROWS, tokens

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def _update(name: str, shape: tuple[int, ...], rank: int, expert: int | None = None) -> Factors:
    generator = np.random.default_rng([len(name), sum(map(ord, name)), rank, expert or 0])
    a = generator.standard_normal((rank, shape[-1])).astype(np.float32)
    b = generator.standard_normal((shape[-2], rank)).astype(np.float32)
    return Factors(name, a, b * np.float32(0.3 / (rank * shape[-1]) ** 0.5), expert)


def _updates(weights: Arrays, *, without: tuple[str, ...] = (EMBEDDING, HEAD), rank: int = 3) -> list[Factors]:
    matrices = {name: array for name, array in weights.arrays.items() if array.ndim == 2 and name not in without}
    return [_update(name, array.shape, rank) for name, array in matrices.items()]


def _merged(weights: Arrays, updates: list[Factors]) -> Arrays:
    arrays = dict(weights.arrays)
    for update in updates:
        arrays[update.tensor] = arrays[update.tensor] + update.b @ update.a
    return Arrays(arrays)


def _tied(name: str) -> bool:
    tied: bool = CASES[name].config["tie_word_embeddings"]
    return tied


@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_adds_what_a_merged_model_has(name: str, tmp_path: Path) -> None:
    weights = write_folder(CASES[name], tmp_path / "base")
    updates = _updates(weights, without=(EMBEDDING, HEAD) if _tied(name) else ())
    base = write_gguf(tmp_path / "base", weights, tmp_path / "base.gguf", kind="F32").path
    merged = write_gguf(tmp_path / "base", _merged(weights, updates), tmp_path / "merged.gguf", kind="F32").path
    lora = write_gguf_lora(tmp_path / "base", updates, tmp_path / "lora.gguf").path
    asked = tokens(CASES[name])[:LENGTH]
    plain = log_probabilities(base, asked, ROWS)
    expected, adapted = log_probabilities(merged, asked, ROWS), log_probabilities(base, asked, ROWS, lora=lora)
    assert _apart(expected, adapted) < TOLERANCE["gemma" if "gemma" in name else "other"]
    assert _apart(expected, plain) > 0.02


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    weights = write_folder(CASES[name], tmp_path / "base")
    updates = _updates(weights, without=(EMBEDDING, HEAD) if _tied(name) else ())
    lora = write_gguf_lora(tmp_path / "base", updates, tmp_path / "lora.gguf").path
    back = {update.tensor: update for update in read_gguf_lora(lora, tmp_path / "base")}
    assert back.keys() == {update.tensor for update in updates}
    for update in updates:
        np.testing.assert_array_equal(back[update.tensor].a, update.a, err_msg=update.tensor)
        np.testing.assert_allclose(back[update.tensor].b, update.b, rtol=1e-6, err_msg=update.tensor)


def test_ranks_may_differ(tmp_path: Path) -> None:
    weights = write_folder(CASES["mixtral"], tmp_path / "base")
    updates = [
        _update(name, array.shape, 1 + index % 3)
        for index, (name, array) in enumerate(weights.arrays.items())
        if array.ndim == 2 and not name.endswith(("gate.weight", "experts.2.w1.weight"))
    ]
    lora = write_gguf_lora(tmp_path / "base", updates, tmp_path / "lora.gguf").path
    back = {update.tensor: update.b @ update.a for update in read_gguf_lora(lora, tmp_path / "base")}
    for update in updates:
        np.testing.assert_allclose(
            back[update.tensor], update.b @ update.a, rtol=1e-5, atol=1e-6, err_msg=update.tensor
        )
    # An expert that is not adapted has zeros between those that are.
    assert not back["model.layers.0.block_sparse_moe.experts.2.w1.weight"].any()


def test_alpha_over_rank_scales(tmp_path: Path) -> None:
    weights = write_folder(CASES["llama"], tmp_path / "base")
    update = _update("model.layers.0.self_attn.q_proj.weight", (64, 48), 4)
    ours = read(write_gguf_lora(tmp_path / "base", [update], tmp_path / "lora.gguf").path)
    assert ours.metadata["adapter.lora.alpha"] == 4.0
    for alpha, scale in ((2.0, 0.5), (None, 1.0)):
        path = tmp_path / f"{alpha}.gguf"
        _copy(ours, path, {} if alpha is None else {"adapter.lora.alpha": alpha})
        (back,) = read_gguf_lora(path, tmp_path / "base")
        np.testing.assert_allclose(back.b, update.b * scale, rtol=1e-6)
    assert weights.names


def _copy(file: Any, path: Path, changes: dict[str, Any], *, leave_out: str = "") -> None:
    """The file again with other metadata (None removes a key), as gguf writes it."""
    metadata = {"general.type": "adapter", "adapter.type": "lora", **changes}
    writer = gguf.GGUFWriter(path, metadata.pop("general.architecture", "llama"))
    for key, value in metadata.items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for name in file.tensors:
        if name != leave_out:
            writer.add_tensor(name, file.load(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_experts_that_the_checkpoint_keeps_in_one_tensor(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    weights = write_folder(CASES["mixtral"], tmp_path / "base")
    one = [update for update in _updates(weights) if ".experts." in update.tensor]
    lora = read(write_gguf_lora(tmp_path / "base", one, tmp_path / "one.gguf").path)
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    stacked = {name: array for name, array in weights.arrays.items() if ".experts." not in name}
    for block in range(2):
        stem = f"model.layers.{block}.block_sparse_moe"
        for theirs, ours in names.items():
            parts = [weights.arrays[f"{stem}.experts.{expert}.{theirs}.weight"] for expert in range(4)]
            stacked[f"{stem}.switch_mlp.{ours}.weight"] = np.stack(parts)
    save_file(stacked, tmp_path / "base" / "model.safetensors")
    other = []
    for update in one:
        stem, _, rest = update.tensor.partition(".experts.")
        expert, projection, _ = rest.split(".")
        other.append(Factors(f"{stem}.switch_mlp.{names[projection]}.weight", update.a, update.b, int(expert)))
    again = write_gguf_lora(tmp_path / "base", other, tmp_path / "other.gguf").path
    for name in lora.tensors:
        np.testing.assert_array_equal(read(again).load(name), lora.load(name))
    assert {(back.tensor, back.expert) for back in read_gguf_lora(again, tmp_path / "base")} == {
        (update.tensor, update.expert) for update in other
    }


@pytest.mark.parametrize(
    ("name", "updates", "message"),
    [
        ("qwen2", [], "changes nothing"),
        ("qwen2", [(EMBEDDING, (ROWS, 48))], "the embedding, which is the output head as well"),
        ("qwen2", [(HEAD, (ROWS, 48))], "output head, which is the embedding itself"),
        (
            "qwen2",
            [("model.layers.0.self_attn.z_proj.weight", (48, 48))],
            r"z_proj\.weight, which .* qwen2 has no place",
        ),
        ("qwen2", [("model.layers.7.self_attn.q_proj.weight", (48, 48))], r"layers\.7"),
        ("qwen2", [("model.layers.0.self_attn.k_proj.weight", (48, 48))], r"does not fit the base's \(24, 48\)"),
        ("qwen2", [("model.layers.0.self_attn.o_proj.weight", (48, 48))] * 2, "two updates"),
    ],
)
def test_what_a_file_cannot_hold_is_named(name: str, updates: list[Any], message: str, tmp_path: Path) -> None:
    write_folder(CASES[name], tmp_path / "base")
    with pytest.raises(AdapterError, match=message):
        write_gguf_lora(tmp_path / "base", [_update(*each, 2) for each in updates], tmp_path / "lora.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.type": "model"}, "is no LoRA, but a model of GGUF"),
        ({"adapter.type": "control"}, "is no LoRA"),
        ({"general.architecture": "qwen2"}, "architecture 'qwen2', and the base is 'llama'"),
        ({"adapter.alora.invocation_tokens": [1, 2]}, "takes effect behind the tokens"),
    ],
)
def test_files_that_are_no_lora_of_the_base_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    weights = write_folder(CASES["llama"], tmp_path / "base")
    ours = read(write_gguf_lora(tmp_path / "base", _updates(weights), tmp_path / "lora.gguf").path)
    _copy(ours, tmp_path / "changed.gguf", {"adapter.lora.alpha": 3.0, **changes})
    with pytest.raises(AdapterError, match=message):
        read_gguf_lora(tmp_path / "changed.gguf", tmp_path / "base")


def test_files_with_gaps_or_for_larger_models_are_named(tmp_path: Path) -> None:
    weights = write_folder(CASES["llama"], tmp_path / "base")
    ours = read(write_gguf_lora(tmp_path / "base", _updates(weights), tmp_path / "lora.gguf").path)
    _copy(ours, tmp_path / "gap.gguf", {}, leave_out="blk.1.attn_q.weight.lora_b")
    with pytest.raises(AdapterError, match=r"lacks blk\.1\.attn_q\.weight\.lora_b"):
        read_gguf_lora(tmp_path / "gap.gguf", tmp_path / "base")
    write_folder(CASES["llama"], tmp_path / "small", num_hidden_layers=1)
    with pytest.raises(AdapterError, match=r"blk\.1\.[a-z_]+\.weight, which the base has not"):
        read_gguf_lora(tmp_path / "lora.gguf", tmp_path / "small")


def test_progress_is_in_bytes(tmp_path: Path) -> None:
    weights = write_folder(CASES["llama"], tmp_path / "base")
    seen: list[tuple[str, int, int]] = []
    written = write_gguf_lora(
        tmp_path / "base", _updates(weights), tmp_path / "lora.gguf", progress=lambda *report: seen.append(report)
    )
    assert seen[-1][1] == seen[-1][2] < written.bytes
    assert written.types == {"F32": 2 * len(_updates(weights))}
