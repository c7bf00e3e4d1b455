"""Downloads that break off continue inside a file: over HTTP with `Range`, and from Xet storage."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from droidft.data.sources import fetch_dataset
from droidft.errors import DownloadError, StorageError
from droidft.home import Home
from droidft.models import catalog, hub, snapshot
from droidft.runs.removal import model_removal
from tests.models.hub_server import COMMIT, HubServer, serve
from tests.tiny import write_model

WEIGHTS = "model.safetensors"


class Stopped(Exception):
    """Raised by a progress function, as when a user cancels."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[HubServer]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(snapshot, "PAUSE_SECONDS", 0.01)
    files = {path.name: path.read_bytes() for path in write_model(tmp_path / "files").iterdir()}
    with serve(acme__tiny=files) as running:
        running.hashes = True
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def weights(server: HubServer) -> bytes:
    return server.repositories["acme/tiny"][WEIGHTS]


def partial_files() -> dict[str, int]:
    return {path.name: path.stat().st_size for path in hub.folder_of("acme/tiny").rglob("*.incomplete")}


def pull_until(server: HubServer, sent: int) -> DownloadError:
    """What a pull ends in where the line is dead after so many bytes of files."""
    server.sent, server.gone_after = 0, sent
    with pytest.raises(DownloadError) as caught:
        catalog.pull("acme/tiny")
    server.gone_after = None
    return caught.value


def put_part(content: bytes, *, of: bytes) -> Path:
    path = hub.folder_of("acme/tiny") / "blobs" / f"{sha256(of).hexdigest()}.incomplete"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def fetched(server: HubServer) -> int:
    """Bytes of files that a pull needs, which must give the right weights."""
    server.sent = 0
    assert (catalog.pull("acme/tiny") / WEIGHTS).read_bytes() == weights(server)
    assert not partial_files()
    return server.sent


@pytest.mark.parametrize("hashes", [True, False])
def test_each_attempt_goes_on_where_the_last_one_stopped(server: HubServer, hashes: bool) -> None:
    server.hashes = hashes
    whole, small = (
        len(weights(server)),
        sum(map(len, server.repositories["acme/tiny"].values())) - len(weights(server)),
    )
    first = pull_until(server, small + 40_000)
    assert "acme/tiny could not be downloaded: " in first.message
    assert "run the same command again: it goes on where this one stopped" in first.hint
    assert list(partial_files().values()) == [40_000]
    pull_until(server, 30_000)
    assert list(partial_files().values()) == [70_000]
    assert fetched(server) == whole - 70_000


def test_a_line_that_is_cut_again_and_again_is_opened_again(server: HubServer) -> None:
    server.cut_always = 20_000
    assert fetched(server) == sum(map(len, server.repositories["acme/tiny"].values()))


def test_progress_counts_the_whole_download_and_what_was_here(server: HubServer) -> None:
    wanted = {name: len(it) for name, it in server.repositories["acme/tiny"].items() if not name.endswith(".py")}
    told: list[tuple[str, int, int]] = []
    pull_until(server, sum(wanted.values()) - wanted[WEIGHTS] + 60_000)
    catalog.pull("acme/tiny", progress=lambda *it: told.append(it))
    assert {what for what, _, _ in told} == {"downloading"}
    assert {total for _, _, total in told} == {sum(wanted.values())}
    assert told[0][1] == sum(wanted.values()) - wanted[WEIGHTS] + 60_000
    assert told[-1][1] == sum(wanted.values())


def test_cancelling_keeps_the_part(server: HubServer) -> None:
    def stop(_: str, done: int, total: int) -> None:
        if total - done < 60_000:
            raise Stopped

    server.pace = 2_000_000
    with pytest.raises(Stopped):
        catalog.pull("acme/tiny", progress=stop)
    server.pace = None
    (kept,) = partial_files().values()
    assert fetched(server) == len(weights(server)) - kept < 60_000


def test_a_server_without_ranges_sends_the_file_again(server: HubServer) -> None:
    server.whole_only = True
    put_part(weights(server)[:30_000], of=weights(server))
    fetched(server)


@pytest.mark.parametrize("content", [b"x" * 50_000, b"x" * 200_000, None], ids=["other", "longer", "whole, other"])
def test_a_part_of_something_else_is_discarded(server: HubServer, content: bytes | None) -> None:
    content = b"x" * len(weights(server)) if content is None else content
    put_part(content, of=weights(server))
    assert fetched(server) >= len(weights(server))


def test_a_whole_part_is_only_moved(server: HubServer) -> None:
    put_part(weights(server), of=weights(server))
    fetched(server)
    assert WEIGHTS not in server.fetched


def test_a_file_that_changed_on_the_hub_begins_at_zero(server: HubServer) -> None:
    pull_until(server, 50_000)
    (old,) = hub.folder_of("acme/tiny").rglob("*.incomplete")
    foreign = old.with_name(f"{'0' * 64}.12345678.incomplete")
    foreign.write_bytes(b"of a program that was killed")
    for path in (old, foreign):
        os.utime(path, (time.time() - 2 * snapshot.IDLE_SECONDS,) * 2)
    server.repositories["acme/tiny"][WEIGHTS] = weights(server)[:-1] + b"\1"
    assert fetched(server) >= len(weights(server))


def test_wrong_bytes_are_not_kept(server: HubServer) -> None:
    server.hashes = False
    right, wrong = weights(server), b"y" * len(weights(server))
    named = sha256(right).hexdigest()
    remote = snapshot._Remote(f"{server.url}/acme/tiny/resolve/main/{WEIGHTS}", named, len(right), {}, None)
    server.repositories["acme/tiny"][WEIGHTS] = wrong
    blobs = hub.folder_of("acme/tiny") / "blobs"
    with pytest.raises(OSError, match="do not have the checksum"):
        snapshot._complete(blobs, remote, snapshot._Tally(None, done=0, total=0))
    assert not list(blobs.iterdir())


def test_two_downloads_at_once_share_the_work(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_LOCK_SECONDS", 0.05)
    server.pace = 400_000
    told: list[str] = []
    with ThreadPoolExecutor() as pool:
        pulls = [pool.submit(catalog.pull, "acme/tiny", progress=lambda *it: told.append(it[0])) for _ in range(2)]
        assert {(pull.result() / WEIGHTS).read_bytes() for pull in pulls} == {weights(server)}
    asked = [line for line in server.requests if line.startswith("GET") and line.endswith(WEIGHTS)]
    assert len(asked) == 1
    assert f"{WEIGHTS}: waiting for another download of it" in told


def test_a_disk_without_room_is_said_before_anything_is_sent(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=8_000))
    with pytest.raises(StorageError, match=r"the rest of the download needs 111 kB in .*, and 8\.0 kB is free"):
        catalog.pull("acme/tiny")
    assert WEIGHTS not in server.fetched
    assert not partial_files()


def test_deleting_a_model_takes_its_partial_files(server: HubServer, home: Path) -> None:
    pull_until(server, 60_000)
    assert partial_files()
    (listed,) = catalog.list_models(Home(home).models)
    assert listed.problem
    model_removal(Home(home), "acme/tiny").do()
    assert not hub.folder_of("acme/tiny").exists()


def test_a_data_set_goes_on_too(server: HubServer, tmp_path: Path) -> None:
    rows = b"".join(b'{"text": "row %d of many"}\n' % number for number in range(8_000))
    server.repositories["acme/rows"] = {"train.jsonl": rows}
    server.gone_after = 100_000
    with pytest.raises(DownloadError, match="hub:acme/rows could not be downloaded"):
        fetch_dataset("hub:acme/rows", endpoint=server.url)
    server.gone_after, server.sent = None, 0
    assert (fetch_dataset("hub:acme/rows", endpoint=server.url) / "train.jsonl").read_bytes() == rows
    assert server.sent == len(rows) - 100_000


def test_files_in_xet_storage_go_on_too(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf_xet = pytest.importorskip("hf_xet")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    server.xet_storage = f"local://{tmp_path / 'storage'}"
    (tmp_path / WEIGHTS).write_bytes(weights(server))
    with hf_xet.XetSession().new_upload_commit(endpoint=server.xet_storage) as commit:
        upload = commit.start_upload_file(str(tmp_path / WEIGHTS))
    server.xet = {WEIGHTS: upload.result().xet_info.hash}
    put_part(weights(server)[:70_000], of=weights(server))
    told: list[int] = []
    remote = snapshot._Remote.ask(HfApi(endpoint=server.url), "acme/tiny", "model", COMMIT, WEIGHTS)
    assert remote is not None
    assert b"".join(block for _, block in remote.content(100_000)) == weights(server)[100_000:]
    path = catalog.pull("acme/tiny", progress=lambda _, done, __: told.append(done))
    assert (path / WEIGHTS).read_bytes() == weights(server)
    assert WEIGHTS not in server.fetched
    assert any(done >= 70_000 for done in told[:2])


def test_silence_in_xet_storage_can_be_called_off(server: HubServer) -> None:
    def stop(*_: object) -> None:
        if "GET /xet-access" in asked:
            raise Stopped

    pytest.importorskip("hf_xet")
    asked = server.requests
    server.xet, server.xet_storage = {WEIGHTS: "0" * 64}, f"{server.url}/silent"
    began = time.monotonic()
    try:
        with pytest.raises(Stopped):
            catalog.pull("acme/tiny", progress=stop)
        assert time.monotonic() - began < 10
    finally:
        server.silent.set()
