"""A packed adapter is the adapter, tells nothing of the machine that it comes from, and cannot do harm."""

from __future__ import annotations

import json
import random
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from droidft.adapters.folder import CONFIG, LATEST, AdapterInfo, read_adapter
from droidft.adapters.imports.pack import CERTIFICATE, MANIFEST, Pack, is_pack, pack
from droidft.adapters.record import FILE as TRAINING
from droidft.adapters.record import TrainingRecord, settings_without_places, without_place
from droidft.config import TrainingConfig
from droidft.errors import AdapterError, DroidError, StorageError
from tests.adapters.files import write_adapter
from tests.tiny import llama

RECORD = TrainingRecord(settings={"lora_rank": 4}, data_hash="d" * 64, steps=10, best_loss=0.5)
HASHES = {"config_sha256": "c" * 64, "weights_sha256": "a" * 64}


@pytest.fixture
def info(tmp_path: Path) -> AdapterInfo:
    """An adapter as a run leaves it, with paths of this machine in its config."""
    place = str(tmp_path / "maria" / "models" / "tiny")
    section = {"run": "r1", "alpha": 4.0, "base": {**HASHES, "path": place}, "system_prompt": "/no_think"}
    config = {"droidft": section, "model": place, "data": str(tmp_path / "maria" / "rows")}
    folder = write_adapter(tmp_path / "poet", llama(), config=config)
    (folder / "best_adapters.safetensors").symlink_to(LATEST)
    return read_adapter(folder, "best")


@pytest.fixture
def packed(info: AdapterInfo, tmp_path: Path) -> Path:
    pack(info, RECORD, tmp_path / "poet.adapter.zip")
    return tmp_path / "poet.adapter.zip"


def test_what_comes_out_is_what_went_in(info: AdapterInfo, packed: Path, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    (out := tmp_path / "out").mkdir()
    source = Pack(packed)
    source.write(out, lambda *each: reports.append(each))
    again = read_adapter(out, "best")
    assert (out / LATEST).read_bytes() == info.file.read_bytes()
    assert (again.rank, again.scale, again.keys, again.tensors) == (info.rank, info.scale, info.keys, info.tensors)
    assert again.has_best
    assert source.name == "poet"
    assert source.manifest.base.weights_sha256 == "a" * 64
    assert TrainingRecord.model_validate_json((out / TRAINING).read_text()) == RECORD
    assert reports[-1][1:] == (info.file.stat().st_size,) * 2


def test_it_is_a_plain_zip_that_mlx_lm_reads_when_it_is_unpacked(packed: Path, tmp_path: Path) -> None:
    from mlx_lm.tuner.utils import load_adapters

    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == [MANIFEST, CONFIG, TRAINING, LATEST]
        archive.extractall(tmp_path / "unpacked")
    load_adapters(llama(), str(tmp_path / "unpacked"))


def test_no_place_of_this_machine_is_in_it(packed: Path, tmp_path: Path) -> None:
    content = packed.read_bytes()
    for secret in (str(tmp_path), "maria", "/models/"):
        assert secret.encode() not in content
    with zipfile.ZipFile(packed) as archive:
        config = json.loads(archive.read(CONFIG))
    assert config["model"] == config["droidft"]["base"]["path"] == "tiny"
    assert config["droidft"]["system_prompt"] == "/no_think"
    assert "data" not in config


def test_settings_keep_names_and_lose_places() -> None:
    config = TrainingConfig(
        model_path="/Users/maria/models/tiny",
        train_data_path="~/secret/rows.jsonl",
        val_data_path="hub:acme/rows",
        init_adapter="$DROIDFT_HOME/adapters/poet@best",
        system_prompt="/no_think",
    )
    kept = settings_without_places(config.model_dump(mode="json"))
    assert (kept["model_path"], kept["train_data_path"], kept["val_data_path"], kept["init_adapter"]) == (
        "tiny",
        "rows.jsonl",
        "hub:acme/rows",
        "poet@best",
    )
    assert kept["system_prompt"] == "/no_think"
    cached = "/Users/maria/.cache/huggingface/hub/models--acme--tiny/snapshots/0123"
    assert [without_place(each) for each in (cached, "acme/tiny", "tiny", r"C:\Users\maria\tiny", "a/b/c")] == [
        "acme/tiny",
        "acme/tiny",
        "tiny",
        "tiny",
        "c",
    ]


def test_packing_again_gives_the_same_file(info: AdapterInfo, packed: Path, tmp_path: Path) -> None:
    pack(info, RECORD, tmp_path / "second.zip")
    assert (tmp_path / "second.zip").read_bytes() == packed.read_bytes()
    with pytest.raises(AdapterError, match=r"there is a file .*second\.zip already"):
        pack(info, RECORD, tmp_path / "second.zip")


def test_a_pack_that_could_not_be_written_leaves_nothing(info: AdapterInfo, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        pack(info, None, tmp_path / "x.zip", progress=full)
    assert not list(tmp_path.glob("*x.zip*"))
    with pytest.raises(StorageError):
        pack(info, None, tmp_path / "nowhere" / "x.zip")


def test_the_certificate_comes_with_it(info: AdapterInfo, tmp_path: Path) -> None:
    (info.path / CERTIFICATE).write_text('{"format": 1}')
    pack(info, None, tmp_path / "x.zip")
    (out := tmp_path / "out").mkdir()
    Pack(tmp_path / "x.zip").write(out)
    assert {path.name for path in out.iterdir()} == {CONFIG, LATEST, "best_adapters.safetensors", CERTIFICATE}
    pack(info, None, tmp_path / "y.zip", certificate=b'{"format": 2}')
    (other := tmp_path / "other").mkdir()
    Pack(tmp_path / "y.zip").write(other)
    assert (other / CERTIFICATE).read_bytes() == b'{"format": 2}'


def rewritten(packed: Path, change: Callable[[dict[str, bytes], dict[str, zipfile.ZipInfo]], None]) -> Path:
    """The same pack with entries as `change` leaves them."""
    with zipfile.ZipFile(packed) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    infos = {name: zipfile.ZipInfo(name) for name in contents}
    change(contents, infos)
    target = packed.with_name("rewritten.zip")
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in contents.items():
            archive.writestr(infos.get(name, zipfile.ZipInfo(name)), content)
    return target


def _linked(_: dict[str, bytes], infos: dict[str, zipfile.ZipInfo]) -> None:
    infos[LATEST].external_attr = (stat.S_IFLNK | 0o777) << 16


def _compressed(_: dict[str, bytes], infos: dict[str, zipfile.ZipInfo]) -> None:
    infos[LATEST].compress_type = zipfile.ZIP_DEFLATED


def _swapped(contents: dict[str, bytes], _: dict[str, zipfile.ZipInfo]) -> None:
    contents[LATEST] = contents[LATEST][:-1] + b"\0\1"[contents[LATEST][-1] == 0 :][:1]


def _said(**changes: Any) -> Callable[[dict[str, bytes], dict[str, zipfile.ZipInfo]], None]:
    def change(contents: dict[str, bytes], _: dict[str, zipfile.ZipInfo]) -> None:
        contents[MANIFEST] = json.dumps(json.loads(contents[MANIFEST]) | changes).encode()

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda contents, _: contents.update({"../escape": b"x"}), "'../escape', which no packed adapter has"),
        (lambda contents, _: contents.update({"/etc/x": b"x"}), "'/etc/x', which no packed adapter has"),
        (lambda contents, _: contents.update({"x.py": b"x"}), "'x.py', which no packed adapter has"),
        (lambda contents, _: contents.pop(MANIFEST), "is no packed adapter: it has no manifest.json"),
        (lambda contents, _: contents.pop(LATEST), "it lacks adapters.safetensors"),
        (lambda contents, _: contents.pop(CONFIG), "it lacks adapter_config.json"),
        (lambda contents, _: contents.pop(TRAINING), "training.json is not as its manifest says"),
        (lambda contents, _: contents.update({CERTIFICATE: b"{}"}), "certificate.json is not as its manifest says"),
        (lambda contents, _: contents.update({CONFIG: b"{}"}), "adapter_config.json is not as its manifest says"),
        (lambda contents, _: contents.update({MANIFEST: b"{"}), "its manifest.json cannot be used"),
        (lambda contents, _: contents.update({MANIFEST: b"[" * 99999}), "its manifest.json cannot be used"),
        (_said(version=2), "format 2, and 1 is read here"),
        (_said(kind="other"), "its manifest.json cannot be used"),
        (_said(files={"../x": {"bytes": 1, "sha256": "0" * 64}}), "its manifest.json cannot be used"),
        (_linked, "adapters.safetensors is a link or a device"),
        (_compressed, "adapters.safetensors is compressed or encrypted"),
        (_swapped, "adapters.safetensors is not what its manifest says"),
    ],
)
def test_what_was_tampered_with_is_refused(
    packed: Path, tmp_path: Path, change: Callable[..., None], words: str
) -> None:
    (out := tmp_path / "out").mkdir()
    with pytest.raises(AdapterError) as caught:
        Pack(rewritten(packed, change)).write(out)
    assert words in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "escape").exists()


def test_a_name_twice_is_refused(packed: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(zipfile.ZipInfo(CONFIG), b"{}")
    with pytest.raises(AdapterError, match="it holds a name twice"):
        Pack(packed)


def test_entries_that_share_their_bytes_are_refused(packed: Path) -> None:
    """As in a zip bomb without compression: many entries of the directory name one place in the file."""
    with zipfile.ZipFile(packed) as archive:
        large = archive.getinfo(LATEST)
    assert large.file_size * 2 > packed.stat().st_size
    raw = bytearray(packed.read_bytes())
    at = raw.rindex(TRAINING.encode()) - 46  # its entry in the directory gets the size and the place of the weights
    assert raw[at : at + 4] == b"PK\x01\x02"
    raw[at + 20 : at + 28] = large.file_size.to_bytes(4, "little") * 2
    raw[at + 42 : at + 46] = large.header_offset.to_bytes(4, "little")
    packed.write_bytes(raw)
    with pytest.raises(AdapterError, match=r"its entries overlap|[Oo]verlapped entries"):
        Pack(packed)


def test_no_bytes_of_it_make_it_end_in_anything_but_a_sentence(packed: Path, tmp_path: Path) -> None:
    whole, dice = packed.read_bytes(), random.Random(7)
    with zipfile.ZipFile(packed) as archive:
        weights = archive.getinfo(LATEST).header_offset
    ends = [*range(weights + 60), *range(whole.index(b"PK\x01\x02"), len(whole))]
    broken = tmp_path / "broken.zip"
    for attempt in range(400):
        content = bytearray(whole)
        if attempt % 4 == 0:
            content = content[: dice.randrange(len(content))]
        else:
            for _ in range(dice.randint(1, 3)):
                content[dice.choice(ends)] = dice.randrange(256)
        broken.write_bytes(content)
        (out := tmp_path / f"out{attempt}").mkdir()
        try:
            Pack(broken).write(out)
        except DroidError:
            continue
        assert (out / LATEST).stat().st_size > 0


def test_what_needs_more_room_than_there_is_says_so_first(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out := tmp_path / "out").mkdir()
    monkeypatch.setattr("droidft.support.room.shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(StorageError, match=r"needs .*, and 100 B is free"):
        Pack(packed).write(out)
    assert not list(out.iterdir())


def test_how_it_is_told_from_others(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    assert [is_pack(path) for path in (packed, tmp_path / "text", tmp_path, tmp_path / "none")] == [
        True,
        False,
        False,
        False,
    ]
