"""Pairs of factors for stored matrices: together they are what merging adds."""

from pathlib import Path

import numpy as np
import pytest

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.updates import updates
from droidft.errors import AdapterError
from droidft.models.factors import Factors
from droidft.models.floats import Floats
from tests.adapters.exports.trained import Trained, trained


def pairs_of(made: Trained) -> tuple[list[Factors], Checkpoint, Checkpoint]:
    wanted = updates(made.info, made.origins())
    base, merged = Checkpoint(made.base, []), Checkpoint(made.base, wanted)
    shapes = {name: base.shape(name) for name in base.names}
    return list(factors(wanted, shapes)), base, merged


def matrix(pair: Factors, values: Floats) -> Floats:
    """The stored matrix that a pair belongs to, (out, in)."""
    whole = values if pair.expert is None else values[pair.expert]
    return whole.T if pair.transposed else whole


@pytest.mark.parametrize(
    "case",
    ["llama", "phi3", "gpt2", "mixtral", "qwen2_moe", "qwen3_5_moe", "gpt_oss", "granitemoe", "olmoe", "gpt_neox"],
)
def test_scale_times_b_a_is_what_merging_adds(case: str, tmp_path: Path) -> None:
    pairs, base, merged = pairs_of(trained(case, tmp_path))
    assert {pair.tensor for pair in pairs} == set(merged.changed)
    for pair in pairs:
        added = matrix(pair, merged.load(pair.tensor)) - matrix(pair, base.load(pair.tensor))
        np.testing.assert_allclose(pair.scale * pair.b @ pair.a, added, atol=2e-5 * max(1, np.abs(added).max()))


def test_ranks_are_stacked_where_a_stored_matrix_is_split_here(tmp_path: Path) -> None:
    pairs, *_ = pairs_of(trained("gpt_neox", tmp_path))
    assert {pair.rank for pair in pairs} >= {4}


def test_whole_weights_are_no_factors(tmp_path: Path) -> None:
    made = trained("llama", tmp_path, fine_tune_type="full")
    with pytest.raises(AdapterError, match="was trained whole"):
        pairs_of(made)


def test_magnitudes_of_dora_follow_the_rows(tmp_path: Path) -> None:
    pairs, base, merged = pairs_of(trained("phi3", tmp_path, fine_tune_type="dora"))
    for pair in pairs:
        assert pair.magnitude is not None
        adapted = base.load(pair.tensor) + pair.scale * pair.b @ pair.a
        made = pair.magnitude[:, None] * adapted / np.linalg.norm(adapted, axis=1, keepdims=True)
        np.testing.assert_allclose(made, merged.load(pair.tensor), atol=1e-5)
