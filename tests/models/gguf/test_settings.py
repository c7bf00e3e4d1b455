from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from droidft.errors import ModelError
from droidft.models.gguf import reader
from droidft.models.gguf.architectures import describe
from tests.models.gguf.files import write_llama
from tests.models.gguf.tiny import CASES, write


def test_llama3_rotary_scaling_is_recovered(tmp_path: Path) -> None:
    pairs = 4
    wavelengths = 2 * np.pi * 500000.0 ** (np.arange(pairs) / pairs)
    smooth = np.clip((8192 / wavelengths - 1) / 3, 0, 1)
    divisors = (1 / ((1 - smooth) / 8 + smooth)).astype(np.float32)
    base = {"llama.rope.freq_base": 500000.0}
    file = write_llama(tmp_path / "a.gguf", metadata=base, extra={"rope_freqs.weight": divisors})
    found = describe(reader.read(file.path)).config["rope_scaling"]
    assert found["rope_type"] == "llama3"
    assert found["factor"] == 8.0
    odd = write_llama(tmp_path / "b.gguf", metadata=base, extra={"rope_freqs.weight": divisors * 1.5})
    with pytest.raises(ModelError, match="rotary factors"):
        describe(reader.read(odd.path))


@pytest.mark.parametrize(
    ("name", "config", "metadata", "message"),
    [
        ("qwen2", {"head_dim": 16}, {}, "4 heads of 16 in a hidden size of 48"),
        ("mixtral", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, {}, "'linear', which mlx-lm's mixtral"),
        ("gemma2", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, {}, "'linear', which mlx-lm's gemma2"),
        ("gemma2", {}, {"gemma2.rope.freq_base_swa": 500.0}, "rotates two ways"),
        ("gemma3", {}, {"gemma3.final_logit_softcapping": 30.0}, "caps its logits at 30"),
        ("gemma3", {}, {"gemma3.attention.sliding_window_pattern": 9}, "every block 9 of 7"),
        ("gemma3", {}, {"gemma3.attention.sliding_window_pattern": [True, False, False] * 2}, "no fixed period"),
        ("gemma3", {}, {"gemma3.vision.block_count": 27}, "sets gemma3.vision.block_count to 27"),
        ("qwen3", {}, {"qwen3.rope.scaling.yarn_attn_factor": 1.5}, "yarn_attn_factor to 1.5"),
        ("llama-biases", {}, {"llama.attention.value_length": 4}, "values of 4 dimensions beside keys of 12"),
        ("qwen3", {"rope_scaling": None}, {"qwen3.attention.sliding_window": 8}, "the last 8 tokens only"),
        ("qwen3", {}, {"qwen3.attention.causal": False}, "later tokens"),
        ("qwen3", {}, {"qwen3.expert_count": 4}, "mixture of experts"),
        ("qwen3", {}, {"qwen3.attention.scale": 0.1}, "sets qwen3.attention.scale to 0.1"),
        ("phi3", {}, {"phi3.rope.scaling.type": "yarn"}, "'yarn'"),
        ("phi3", {}, {"phi3.rope.scaling.type": "longrope"}, "none of longrope's two sets"),
        ("phi3-longrope", {}, {"phi3.rope.scaling.type": "linear", "phi3.rope.scaling.factor": 2.0}, "scales twice"),
        ("llama", {}, {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}, "factors of its own"),
        ("llama", {}, {"llama.rope.scaling.factor": -2.0}, "by -2"),
        ("llama", {"rms_norm_eps": 0.0}, {}, "not a positive number"),
        ("qwen3", {"head_dim": 15}, {}, "15 dimensions of a head, which is not an even number"),
    ],
)
def test_what_mlx_lm_would_compute_otherwise_is_refused_by_name(
    name: str, config: dict[str, Any], metadata: dict[str, Any], message: str, tmp_path: Path
) -> None:
    case = CASES[name]
    given = replace(case, config={**case.config, **config}, metadata=metadata)
    file = reader.read(write(given, tmp_path / "a.gguf"))
    with pytest.raises(ModelError, match=message):
        describe(file)
