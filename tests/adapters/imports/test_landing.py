"""An adapter that comes in lands whole under its name or not at all, and finds its base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from droidft.adapters.folder import BEST, CONFIG, LATEST, AdapterInfo, list_adapters, read_adapter
from droidft.adapters.imports.landing import base_here, free_name, landing, settle
from droidft.adapters.imports.sources import open_source
from droidft.errors import AdapterError, NotFound
from droidft.models.fingerprint import fingerprint
from tests.adapters.files import write_adapter
from tests.tiny import llama, write_model


def test_it_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    with landing(tmp_path / "poet") as folder:
        write_adapter(folder, llama())
        assert not list_adapters(tmp_path)
        assert folder.name == "poet"
    assert [path.name for path in tmp_path.iterdir()] == ["poet"]
    assert read_adapter(tmp_path / "poet").name == "poet"


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def begin() -> None:
        with landing(tmp_path / "poet") as folder:
            (folder / LATEST).write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_is_refused_before_and_after(tmp_path: Path) -> None:
    (tmp_path / "poet").mkdir()
    with (
        pytest.raises(AdapterError, match="there is an adapter 'poet' already") as caught,
        landing(tmp_path / "poet"),
    ):
        pytest.fail("it must not begin")
    assert "--name NAME" in caught.value.hint
    with pytest.raises(AdapterError, match="there is an adapter 'other' already"), landing(tmp_path / "other"):
        (tmp_path / "other").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "poet"]


def test_names_of_others_become_names_here() -> None:
    assert [free_name(name) for name in ("poet", "my poet", "../../etc/passwd", "_x", "ü" * 3 + "a")] == [
        "poet",
        "my-poet",
        "etc-passwd",
        "x",
        "a",
    ]
    assert len(free_name("x" * 300)) == 64
    with pytest.raises(AdapterError, match="gives the adapter no name"):
        free_name("...")


def adapter_of(tmp_path: Path, base: dict[str, Any], name: str | None = None) -> AdapterInfo:
    config = {"droidft": {"base": base}, **({"model": name} if name else {})}
    return read_adapter(write_adapter(tmp_path / "poet", llama(), config=config))


def test_the_base_is_known_by_its_hashes_wherever_it_lies(home: Path, tmp_path: Path) -> None:
    (home / "models").mkdir()
    (home / "own").mkdir()
    write_model(home / "models" / "other", seed=1)
    here = write_model(home / "models" / "renamed")
    info = adapter_of(tmp_path, dict(fingerprint(here)), "tiny")
    places = {"models_dir": home / "models", "cache_dir": home / "own"}
    assert base_here(info, **places) == here
    (here / "config.json").write_text(json.dumps({**json.loads((here / "config.json").read_text()), "x": 1}))
    assert base_here(info, **places) is None


def test_without_hashes_the_name_decides(home: Path, tmp_path: Path) -> None:
    (home / "models").mkdir()
    here = write_model(home / "models" / "tiny")
    places = {"models_dir": home / "models", "cache_dir": home}
    assert base_here(adapter_of(tmp_path, {}, "tiny"), **places) == here
    assert base_here(adapter_of(tmp_path, {}, "acme/none"), **places) is None
    assert base_here(adapter_of(tmp_path, {}), **places) is None


def test_what_came_in_belongs_to_no_run_here(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "poet", llama(), config={"droidft": {"run": "r1", "alpha": 4}, "model": "x"})
    settle(folder, tmp_path / "models" / "x")
    config = json.loads((folder / CONFIG).read_text())
    assert config["droidft"] == {"alpha": 4, "from": "r1"}
    assert config["model"] == str(tmp_path / "models" / "x")


@pytest.mark.parametrize("best", ["none", "link", "file"])
def test_a_folder_of_mlx_lm_comes_in_with_its_best_weights(tmp_path: Path, best: str) -> None:
    folder = write_adapter(tmp_path / "poet", llama())
    if best == "link":
        (folder / BEST).symlink_to(LATEST)
    elif best == "file":
        write_adapter(folder, llama(), name=BEST, strength=0.7)
    (folder / "0000200_adapters.safetensors").write_bytes(b"not needed")
    (out := tmp_path / "out").mkdir()
    source = open_source(folder)
    source.write(out)
    assert source.name == "poet"
    for name in (LATEST, *([BEST] if best != "none" else [])):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert (out / BEST).exists() == (best != "none")
    assert not (out / "0000200_adapters.safetensors").exists()


def test_what_is_no_adapter_is_called_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no "):
        open_source(tmp_path / "none")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(AdapterError, match=r"x\.txt is no adapter that is read here"):
        open_source(tmp_path / "x.txt")
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(AdapterError, match="cannot be read as a zip file"):
        open_source(tmp_path / "x.zip")
    with pytest.raises(AdapterError, match="is a whole model"):
        open_source(write_model(tmp_path / "model"))
