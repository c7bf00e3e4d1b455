"""Stored tensors with updates in them."""

from pathlib import Path

import numpy as np
import pytest

from droidft.adapters.exports import checkpoint as module
from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.origins import Origin, Piece, Role
from droidft.adapters.exports.updates import Update, updates
from droidft.errors import AdapterError
from tests.adapters.exports.trained import trained


def test_work_in_small_parts_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trained("gpt2", tmp_path)
    wanted = updates(made.info, made.origins())
    whole = Checkpoint(made.base, wanted)
    values = {name: whole.load(name) for name in whole.changed}
    monkeypatch.setattr(module, "CHUNK", 100)
    for name, want in values.items():
        np.testing.assert_allclose(Checkpoint(made.base, wanted).load(name), want, rtol=1e-6, atol=1e-6)


def test_two_updates_of_the_same_values_are_refused(tmp_path: Path) -> None:
    made = trained("llama", tmp_path)
    piece = Piece("model.norm.weight", np.arange(1), np.zeros(1, np.int64), 1)
    both = [
        Update(Origin(name, Role.WHOLE, (1, 32), (piece,)), whole=np.ones((1, 32), np.float32))
        for name in ("first", "second")
    ]
    with pytest.raises(AdapterError, match="first, second share the stored tensor"):
        Checkpoint(made.base, both)
