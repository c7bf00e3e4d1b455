"""Every architecture that transformers has computes the logits of its makers' code, or is known not to."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache
from numpy.typing import NDArray

from droidft.config import parse_config
from droidft.engine.model import loading, lora
from droidft.engine.model.architectures import understood
from droidft.engine.model.compared import DIFFERS
from droidft.engine.model.renamed import module_of
from droidft.errors import ModelError
from droidft.models.catalog import load_config
from tests.engine.model.logits.cases import CASES, REFUSED, WITHOUT_CACHE
from tests.engine.model.logits.files import LENGTH, POSITIONS, STRIDE, Golden, load, tokens, write_model
from tests.places import ROOT

FOLDER = ROOT / "tests" / "golden" / "logits"
CLOSE = 1e-3
"""Of the logits' standard deviation; another processor's rounding takes 1e-5 of it."""


def golden(case: str) -> Golden:
    return load(FOLDER / f"{case}.txt")


def test_every_case_has_its_file_and_the_files_stay_small() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(CASES)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_500_000


@pytest.mark.parametrize("case", [case for case in CASES if case not in REFUSED])
def test_logits_are_those_of_the_makers_code(case: str, tmp_path: Path) -> None:
    made = golden(case)
    model, _ = loading.load_model(write_model(tmp_path / case, made))
    whole = read(model, [(0, LENGTH)])
    apart = np.abs(whole[list(POSITIONS), ::STRIDE] - made.logits).max() / made.logits.std()
    if module_of(made.config) in DIFFERS:
        assert apart > CLOSE, "it no longer differs: take it out of compared.py"
    else:
        assert apart < CLOSE
    if case not in WITHOUT_CACHE:
        # As in a chat: the prompt in parts, then token by token, from what was kept of the tokens before.
        parts = [(0, 13), (13, 27), *((start, start + 1) for start in range(27, LENGTH))]
        assert np.abs(read(model, parts, kept=True) - whole).max() / made.logits.std() < CLOSE
    # What is loaded can be adapted, and an adapter begins without an effect.
    settings = parse_config({"model_path": case, "train_data_path": "rows", "lora_rank": 2, "lora_alpha": 2})
    lora.attach(model, lora.targets_of(model, settings), settings)
    np.testing.assert_array_equal(read(model.eval(), [(0, LENGTH)]), whole)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_computed_is_refused_in_words(case: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / case, golden(case))
    with pytest.raises(ModelError) as refused:
        loading.load_model(folder)
    assert REFUSED[case] in refused.value.message
    assert "__init__" not in refused.value.message


@pytest.mark.parametrize("case", [case for case in CASES if case not in REFUSED])
def test_nothing_in_a_config_of_transformers_is_named_as_unread(case: str, tmp_path: Path) -> None:
    made = golden(case)
    (tmp_path / "config.json").write_text(json.dumps(made.config))
    warnings = understood(load_config(tmp_path), stored=set(made.shapes)).warnings
    expected = 1 if module_of(made.config) in DIFFERS else 0
    assert len(warnings) == expected, warnings


def read(model: object, parts: list[tuple[int, int]], *, kept: bool = False) -> NDArray[np.float32]:
    """Logits (LENGTH, VOCABULARY), the text given part by part."""
    cache = make_prompt_cache(model) if kept else None
    text = tokens()
    logits = [model(mx.array([text[start:end]]), cache=cache)[0] for start, end in parts]  # type: ignore[operator]
    return np.concatenate([np.array(each.astype(mx.float32)) for each in logits])
