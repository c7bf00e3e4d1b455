"""Only an export that passed, whose files are still those of its certificate, goes to the hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from droidft.adapters.exports import certificate, pushing
from droidft.adapters.exports.certificate import Certificate
from droidft.errors import DamagedFile, UploadError
from droidft.models.upload import Repository, reach
from tests.adapters.exports.test_card import subject
from tests.adapters.exports.test_certificate import certified, reading
from tests.models.hub_uploads import TOKEN, serve_uploads

THERE = Repository("acme/tiny", None, "maria", False, True, frozenset(), (), None)


def export(folder: Path, *, exported: float = 1.2, config: str = "{}", command: str = "droidft export x") -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "config.json").write_text(config)
    made = certified(reading(exported))
    hashes = made.hashes.model_copy(update={"files": certificate.hash_files(folder)})
    certificate.write(folder, made.model_copy(update={"hashes": hashes, "command": command}))
    (folder / "README.md").write_text("# x")
    return folder


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_one_that_passed_is_pushed(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export(tmp_path / "x")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serve_uploads() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        pushed = pushing.push(pushing.destination(folder, reach("acme/tiny")))
        held = server.repositories["acme/tiny"]
    assert {name: held[name] for name in held if name != ".gitattributes"} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }, "nothing in this certificate had to be left out"
    assert pushed.files == 4


def test_one_that_failed_is_not(tmp_path: Path) -> None:
    with pytest.raises(
        UploadError, match=r"x did not pass its check: failed: the exported files have a loss of 2\.1000"
    ):
        pushing.destination(export(tmp_path / "x", exported=2.1), THERE)


def test_one_without_a_certificate_or_with_a_file_less_is_not(tmp_path: Path) -> None:
    folder = export(tmp_path / "x")
    (folder / "config.json").unlink()
    with pytest.raises(UploadError, match=r"config\.json is missing, which the certificate is about"):
        pushing.destination(folder, THERE)
    (folder / "certificate.json").unlink()
    with pytest.raises(DamagedFile, match=r"certificate\.json is missing"):
        pushing.destination(folder, THERE)


def test_one_that_names_a_folder_of_this_machine_is_not(tmp_path: Path) -> None:
    place = tmp_path / "private"
    folder = export(tmp_path / "x", config=f'{{"_name_or_path": "{place}/tiny"}}')
    with pytest.raises(UploadError, match=r"config\.json names a folder of this machine"):
        pushing.destination(folder, THERE, places=[place])
    assert pushing.destination(folder, THERE).files
    folder = export(tmp_path / "y")
    (folder / "tokenizer.json").write_text(f"{place}/")
    assert pushing.destination(folder, THERE, places=[place]).files
    (folder / "gguf_source").write_text(f"{place}/")
    with pytest.raises(UploadError, match="gguf_source names a folder of this machine"):
        pushing.destination(folder, THERE, places=[place])


def test_certificate_and_card_go_without_places_and_stay_as_they_are_here(tmp_path: Path) -> None:
    command = f"droidft export poet --to merged --model {Path.home()}/models/tiny"
    folder = export(tmp_path / "x", command=command)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = pushing.destination(folder, THERE, subject())
    shared = Certificate.model_validate_json(found.instead["certificate.json"])
    assert shared.command == "droidft export poet --to merged --model tiny"
    assert shared.hashes == certificate.read(folder).hashes
    assert "pipeline(\"text-generation\", 'acme/tiny')" in found.instead["README.md"].decode()
    assert found.files["README.md"] == len(found.instead["README.md"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_weights_that_were_changed_are_not(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export(tmp_path / "x")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serve_uploads() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        (folder / "model.safetensors").write_bytes(b"other" * 1000)
        found = pushing.destination(folder, reach("acme/tiny"))
        with pytest.raises(UploadError, match=r"model\.safetensors was changed since its certificate was made"):
            pushing.push(found)
        assert set(server.repositories["acme/tiny"]) == {".gitattributes"}


def test_the_newest_certificate_of_an_adapter_is_found_among_the_exports(tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    exports.mkdir()
    assert pushing.certificate_for(exports, "a" * 64) is None
    export(exports / "failed", exported=2.1)
    (exports / "broken").mkdir()
    (exports / "broken" / certificate.FILE).write_text("{")
    assert pushing.certificate_for(exports, "a" * 64) is None
    for place, name in enumerate(("first", "second")):
        folder = export(exports / name, command=f"droidft export {Path.home()}/{name}/poet")
        os.utime(folder / certificate.FILE, ns=(place, place))
    found = pushing.certificate_for(exports, "a" * 64)
    assert found is not None
    judged = Certificate.model_validate_json(found)
    assert (judged.command, judged.hashes) == ("droidft export poet", certificate.read(exports / "second").hashes)
    assert pushing.certificate_for(exports, "b" * 64) is None
