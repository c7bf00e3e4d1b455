from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from droidft.engine.model.loading import load_model
from droidft.errors import DroidError
from droidft.models.catalog import load_config
from droidft.models.gguf import architectures
from droidft.models.gguf.architectures import describe
from droidft.models.gguf.convert import import_gguf
from droidft.models.gguf.reader import read
from tests.models.gguf.tiny import CASES, POSITIONS, STRIDE, tokens, weights, write

GOLDEN = Path(__file__).parents[2] / "golden" / "gguf_logits.txt"
TOLERANCE = 1e-4
"""Of the logits' norm; both sides compute in float32, in different orders. Seen: 2e-6, and 2e-5 after 46 blocks."""


def _golden(name: str) -> dict[int, list[float]]:
    lines = [line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    return {int(place): [float(number) for number in rest] for case, place, *rest in lines if case == name}


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_makers_code(name: str, tmp_path: Path) -> None:
    case, golden = CASES[name], _golden(name)
    done = import_gguf(write(case, tmp_path / "a.gguf"), tmp_path / "model", dtype="float32")
    model, _ = load_model(done.path)
    logits = np.array(model(mx.array([tokens(case)]))[0])
    assert sorted(golden) == sorted({position % case.length for position in POSITIONS})
    for position, expected in golden.items():
        assert _apart(logits[position, ::STRIDE], np.array(expected)) < TOLERANCE, position


@pytest.mark.parametrize("name", CASES)
def test_weights_are_the_makers(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    import_gguf(write(case, tmp_path / "a.gguf"), tmp_path / "model", dtype="float32")
    stored = mx.load(str(tmp_path / "model" / "model.safetensors"))
    expected = weights(case)
    assert stored.keys() == expected.keys()
    for weight, values in expected.items():
        # Gemma's norms have lost a bit or two on their way through 1 + w.
        np.testing.assert_allclose(np.array(stored[weight]), values, rtol=0, atol=2e-7, err_msg=weight)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("llama", "rope_scaling", None),
        ("llama", "rope_theta", 10000.0),
        ("llama-biases", "rope_scaling", {"type": "linear", "factor": 1.0}),
        ("mixtral", "rope_theta", 10000.0),
        ("mixtral", "num_experts_per_tok", 1),
        ("qwen2", "rope_scaling", None),
        ("qwen3", "rope_scaling", None),
        ("qwen3", "rms_norm_eps", 1e-2),
        ("gemma2", "attn_logit_softcapping", 50.0),
        ("gemma2", "final_logit_softcapping", 30.0),
        ("gemma2-46-blocks", "query_pre_attn_scalar", 8),
        ("gemma3", "rope_scaling", None),
        ("gemma3", "sliding_window", 24),
        ("gemma3", "rope_theta", 10000.0),
        ("gemma3-pattern", "sliding_window_pattern", 4),
        ("gemma3-pattern", "rope_local_base_freq", 10000.0),
        ("phi3", "rope_theta", 10000.0),
        ("phi3-longrope", "original_max_position_embeddings", 216),
        ("phi3-longrope", "partial_rotary_factor", 1.0),
        ("phi3-longrope", "rope_scaling", None),
    ],
)
def test_each_setting_tells_in_the_logits(name: str, setting: str, value: Any, tmp_path: Path) -> None:
    """So the first test sees every setting: a wrong one moves the last logits by far more than its tolerance."""
    case = CASES[name]
    done = import_gguf(write(case, tmp_path / "a.gguf"), tmp_path / "model", dtype="float32")
    file = done.path / "config.json"
    config = json.loads(file.read_text())
    assert config[setting] != value
    if setting == "partial_rotary_factor":
        config["rope_scaling"] = None
    file.write_text(json.dumps({**config, setting: value}))
    model, _ = load_model(done.path)
    last = np.array(model(mx.array([tokens(case)]))[0, -1, ::STRIDE])
    assert _apart(last, np.array(_golden(name)[case.length - 1])) > 20 * TOLERANCE


@pytest.mark.parametrize(
    ("name", "length"), [("gemma2", 16), ("gemma2-46-blocks", 32), ("phi3", 24), ("phi3-longrope", 216)]
)
def test_the_context_ends_where_mlx_lm_departs_from_the_makers(name: str, length: int, tmp_path: Path) -> None:
    done = import_gguf(write(CASES[name], tmp_path / "a.gguf"), tmp_path / "model")
    assert load_config(done.path)["max_position_embeddings"] == length
    assert json.loads((done.path / "tokenizer_config.json").read_text())["model_max_length"] == length
    assert any(f"up to {length} tokens" in warning for warning in done.warnings)


def test_longrope_scales_attention_by_two_whole_lengths() -> None:
    # Phi-3.5-mini: 131,072 positions from 4,096.
    wanted = 1 + math.log(131072 / 4096) / math.log(4096)
    longest, original = architectures._lengths(4096, wanted)
    assert 4000 < longest <= 4096
    assert math.log(longest) / math.log(original) == pytest.approx(wanted, rel=1e-6)
    assert architectures._lengths(4096, 1.0) == (4096, 4096)


def test_one_expert_is_held_at_a_time_as_its_makers_name_it(tmp_path: Path) -> None:
    described = describe(read(write(CASES["mixtral"], tmp_path / "a.gguf")))
    assert described.names["blk.1.ffn_down_exps.weight"] == "model.layers.1.block_sparse_moe.experts.{}.w2.weight"
    assert described.config["num_local_experts"] == 4


@pytest.mark.parametrize("name", ["mixtral", "qwen3", "gemma3-pattern", "phi3-longrope"])
def test_damaged_headers_never_end_in_anything_but_an_error(name: str, tmp_path: Path) -> None:
    whole = write(CASES[name], tmp_path / "a.gguf").read_bytes()
    settings = range(24, whole.index(b"tokenizer.ggml.tokens"))
    dice, refused = random.Random(7), 0
    for number in range(40):
        data = bytearray(whole)
        for _ in range(dice.choice([1, 2, 4])):
            data[dice.choice(settings)] = dice.choice([0, 1, 127, 255, dice.randrange(256)])
        (tmp_path / "b.gguf").write_bytes(data)
        try:
            import_gguf(tmp_path / "b.gguf", tmp_path / f"model{number}")
        except DroidError:
            refused += 1
    assert refused > 20
