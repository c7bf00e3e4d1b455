"""What a download ends in: a sentence each time, what came is kept, and a busy hub is waited for."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from droidft.data.sources import fetch_dataset
from droidft.errors import DownloadError, DroidError, StorageError, UploadError
from droidft.models import catalog, hub, transfer
from tests.models.hub_server import HubServer, serve
from tests.tiny import write_model


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[HubServer]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    files = {path.name: path.read_bytes() for path in write_model(tmp_path / "files").iterdir()}
    with serve(acme__tiny=files) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_waited_for_as_long_as_it_says(server: HubServer, status: int) -> None:
    server.busy = (status, "1", 2)
    told: list[str] = []
    start = time.monotonic()
    catalog.pull("acme/tiny", progress=lambda what, *_: told.append(what))
    assert time.monotonic() - start > 1.5
    assert "acme/tiny: the hub is busy, waiting 1 s" in told


@pytest.mark.parametrize(
    ("status", "after", "words"),
    [(429, "9999", r"takes no more requests .*\(status 429\); it asks to wait 9999 s"), (500, "", "answered 500")],
)
def test_a_hub_that_is_busy_for_long_is_not_waited_for(
    server: HubServer, status: int, after: str, words: str
) -> None:
    server.busy = (status, after, 1000)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=words):
        catalog.pull("acme/tiny")
    assert time.monotonic() - start < 10


def test_retry_after_may_be_a_date() -> None:
    assert transfer._seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [transfer._seconds(text) for text in ("12", "", "soon", "-1")] == [12, None, None, None]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1", "needs a package that is not installed|proxy|refused"),
        ("ALL_PROXY", "ftp://127.0.0.1", "the proxy cannot be used"),
        ("HTTPS_PROXY", "http://me:secret@127.0.0.1:port", "the proxy cannot be used"),
        ("https_proxy", "http://me:secret@127.0.0.1:1", "could not be downloaded"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    from huggingface_hub import close_session

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv(name, value)
    for fetch in (lambda: catalog.pull("acme/tiny"), lambda: fetch_dataset("hub:acme/rows")):
        close_session()  # the next one is made with these variables
        with pytest.raises(DroidError, match=words) as caught:
            fetch()
        assert name in caught.value.message + caught.value.hint
        assert "secret" not in caught.value.message + caught.value.hint
    close_session()


def test_a_cache_with_settings_alone_is_completed_or_says_what_is_missing(server: HubServer, home: Path) -> None:
    folder = catalog.find_config("acme/tiny", models_dir=home)
    for listing in hub.folder_of("acme/tiny").rglob("trees/*.json"):
        listing.unlink()  # as older versions of huggingface_hub leave the cache
    assert not (folder / "model.safetensors").exists()
    with pytest.raises(DownloadError, match=r"only in part .*model\*\.safetensors.*: offline is set"):
        catalog.find_model("acme/tiny", models_dir=home, offline=True)
    fetched = catalog.find_model("acme/tiny", models_dir=home)
    assert (fetched / "model.safetensors").is_file()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_no_more_is_no_network(number: int) -> None:
    failed = RuntimeError("transfer failed")
    failed.__cause__ = OSError(number, "no")
    with pytest.raises(StorageError, match="cannot be written to /cache"), transfer.worded("a/b", kept_in="/cache"):
        raise failed


def test_a_defect_of_ours_stays_one() -> None:
    with pytest.raises(ZeroDivisionError), transfer.worded("a/b", kept_in="/cache"):
        raise ZeroDivisionError
    with pytest.raises(DownloadError, match="peer closed"), transfer.worded("a/b", kept_in="/cache"):
        raise httpx2.RemoteProtocolError("peer closed connection")


def test_no_token_and_no_signature_is_in_a_message() -> None:
    text = "cut off at 'https://storage.example/x?X-Amz-Signature=abc&part=2' with Bearer hf_abcdefghij0123"
    with pytest.raises(UploadError) as caught, transfer.worded_upload("a/b"):
        raise httpx2.RemoteProtocolError(text)
    assert caught.value.message == (
        "a/b could not be uploaded: cut off at 'https://storage.example/x' with Bearer hf_…"
    )


def test_the_card_of_a_model_comes_with_it_and_its_metadata_can_be_asked_for(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repositories["acme/tiny"]["README.md"] = b"---\nlicense: mit\n---\n# Tiny\n"
    assert hub.card_metadata("acme/tiny")["license"] == "mit"
    assert (catalog.pull("acme/tiny") / "README.md").is_file()
    bare = {name: content for name, content in server.repositories["acme/tiny"].items() if name != "README.md"}
    server.repositories["acme/bare"] = bare
    assert (catalog.pull("acme/bare") / "config.json").is_file()
    assert hub.cached("acme/bare") is not None, "it is whole without one"
    assert hub.card_metadata("acme/bare") == {}
    assert hub.card_metadata("acme/none") == {}
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert hub.card_metadata("acme/tiny") == {}
