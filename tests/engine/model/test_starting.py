"""A run starts from an adapter of another format as from the same one of ours; what an import refuses is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.updates import updates
from droidft.adapters.folder import AdapterInfo
from droidft.adapters.imports.pack import pack
from droidft.config import parse_config
from droidft.engine.model import adapter_weights, loading
from droidft.engine.model.starting import starting_adapter
from droidft.engine.training.acceptance import check
from droidft.errors import AdapterError, NotFound
from droidft.home import Home
from droidft.models.gguf.lora import write_gguf_lora
from droidft.support.places import Places
from tests.adapters.exports.trained import Logits, Trained, adapted, difference, read
from tests.adapters.imports.test_peft import exported
from tests.tiny import write_chat, write_model

CLOSE = 1e-4


@pytest.fixture
def places(home: Path) -> Places:
    return Home(home).places(checkpoints=home / "checkpoints")


@pytest.fixture
def made(home: Path) -> Trained:
    return adapted(write_model(home / "models" / "tiny"), home / "adapters" / "ours")


@pytest.fixture
def peft(made: Trained, tmp_path: Path) -> Path:
    """The same adapter as PEFT has it."""
    return exported(made, tmp_path / "theirs")


def logits_with(base: Path, info: AdapterInfo) -> Logits:
    model, _ = loading.load_model(base)
    adapter_weights.apply(model, info)
    return read(model)


def test_it_computes_what_it_computes_there(made: Trained, peft: Path, places: Places) -> None:
    info = starting_adapter(str(peft), made.base, places)
    assert info is not None
    assert (info.name, info.rank) == ("theirs", 4)
    assert difference(logits_with(made.base, info), made.adapted) < CLOSE
    assert info.path.is_relative_to(places.cache)
    stamp = info.file.stat().st_mtime_ns
    again = starting_adapter(str(peft), made.base, places)
    assert again is not None
    assert (again.file, again.file.stat().st_mtime_ns) == (info.file, stamp), "converted once"


@pytest.mark.parametrize("kind", ["gguf", "pack"])
def test_a_file_is_taken_too(made: Trained, places: Places, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "poet.file"
    if kind == "pack":
        pack(made.info, None, file)
    else:
        base = Checkpoint(made.base, [])
        pairs = factors(updates(made.info, made.origins()), {name: base.shape(name) for name in base.names})
        write_gguf_lora(made.base, pairs, file)
    info = starting_adapter(str(file), made.base, places)
    assert info is not None
    assert difference(logits_with(made.base, info), made.adapted) < CLOSE


def test_what_an_import_refuses_is_refused(made: Trained, peft: Path, places: Places) -> None:
    with pytest.raises(NotFound, match="there is no adapter 'nobody'"):
        starting_adapter("nobody", made.base, places)
    config = json.loads((peft / "adapter_config.json").read_text())
    (peft / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": ["lm_head"]}))
    for base in (made.base, None):
        with pytest.raises(AdapterError, match="modules_to_save"):
            starting_adapter(str(peft), base, places)


def test_while_the_model_is_to_be_fetched_nothing_is_converted(peft: Path, places: Places) -> None:
    assert starting_adapter(str(peft), None, places) is None


def test_a_run_is_held_to_its_rank_before_it_begins(made: Trained, peft: Path, places: Places) -> None:
    rows = write_chat(places.adapters.parent / "rows.jsonl")
    given = {"model_path": str(made.base), "train_data_path": str(rows), "init_adapter": str(peft)}
    assert not check(parse_config({**given, "lora_rank": 4}), places).faults
    [fault] = check(parse_config({**given, "lora_rank": 8}), places).faults
    assert "init_adapter theirs has rank 4, and this run 8" in str(fault)
