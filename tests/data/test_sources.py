"""Data sets from a hub: against a small server of the end points that the hub's client asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from droidft.data.check import check_structure
from droidft.data.prepare import read_set
from droidft.data.sources import fetch_dataset, files_to_test, find_test
from droidft.errors import DataError, DownloadError
from tests.data.helpers import make_tokenizer, settings

COMMIT = "a" * 40
ROWS = b'{"text": "one"}\n{"text": "two"}\n'
FILES = {
    "org/plain": {
        "README.md": b"# data",
        "train.jsonl": ROWS,
        "validation.jsonl": ROWS * 2,
        "test.jsonl": ROWS * 3,
        "extra.bin": b"x" * 1000,
    },
    "org/configs": {"main/train.jsonl": ROWS, "socratic/train.jsonl": ROWS + ROWS},
    "org/shards": {f"train-0000{number}-of-00002.jsonl": ROWS * (number + 1) for number in range(2)},
    "org/empty": {"README.md": b"# nothing"},
}


@dataclass
class Hub:
    """The stand-in: its address, and what was asked of it."""

    url: str
    asked: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        for repo, files in FILES.items():
            if path.startswith(f"/api/datasets/{repo}/tree/"):
                return self.send(
                    [{"type": "file", "path": name, "size": len(data), "oid": COMMIT} for name, data in files.items()]
                )
            if path.startswith(f"/api/datasets/{repo}"):
                siblings = [{"rfilename": name} for name in files]
                return self.send({"id": repo, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0})
            for name, data in files.items():
                if path == f"/datasets/{repo}/resolve/{COMMIT}/{name}":
                    return self.send(data)
        return self.send({"error": "Repository not found"}, status=404, error="RepoNotFound")

    def send(self, content: object, *, status: int = 200, error: str = "") -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Length": str(len(data)), "X-Repo-Commit": COMMIT, "X-Error-Code": error}
        headers |= {"ETag": f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"'}
        headers |= {"Content-Type": "application/octet-stream" if isinstance(content, bytes) else "application/json"}
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[Hub]:
    handler = type("OneHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    found = Hub(f"http://127.0.0.1:{server.server_port}")
    handler.hub = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def test_only_the_data_files_of_both_splits_are_fetched(hub: Hub, tmp_path: Path) -> None:
    fetch = partial(fetch_dataset, endpoint=hub.url, cache=tmp_path)
    report = check_structure(settings("hub:org/plain"), fetch=fetch)
    assert (report.structure.train.rows, report.fault_count) == (2, 0)
    assert report.structure.validation is not None
    fetched = [path.rsplit("/", 1)[1] for path in hub.asked if path.startswith("GET /datasets/")]
    assert sorted(fetched) == ["train.jsonl", "validation.jsonl"]


def test_a_data_set_is_tested_on_its_test_split(hub: Hub, tmp_path: Path) -> None:
    fetch = partial(fetch_dataset, pick=files_to_test, endpoint=hub.url, cache=tmp_path)
    rows = read_set(settings("unused"), "hub:org/plain", make_tokenizer(), called="the test data", fetch=fetch)
    assert len(rows) == 6
    fetched = [path.rsplit("/", 1)[1] for path in hub.asked if path.startswith("GET /datasets/")]
    assert fetched == ["test.jsonl"]
    asked = len(hub.asked)
    assert find_test("hub:org/plain", partial(fetch, offline=True))[0].name == "test.jsonl"
    assert len(hub.asked) == asked
    with pytest.raises(DataError, match="hub:org/shards: holds 2 data files, none named test"):
        fetch("hub:org/shards")


def test_offline_uses_what_is_there_and_asks_nothing(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not on this machine, and offline is on"):
        fetch_dataset("hub:org/plain", offline=True, endpoint=hub.url, cache=tmp_path)
    assert hub.asked == []
    online = fetch_dataset("hub:org/plain", endpoint=hub.url, cache=tmp_path)
    asked = len(hub.asked)
    assert fetch_dataset("hub:org/plain", offline=True, endpoint=hub.url, cache=tmp_path) == online
    assert len(hub.asked) == asked


def test_offline_refuses_a_data_set_with_a_missing_shard(hub: Hub, tmp_path: Path) -> None:
    folder = fetch_dataset("hub:org/shards", endpoint=hub.url, cache=tmp_path)
    (folder / "train-00001-of-00002.jsonl").unlink()
    with pytest.raises(DownloadError, match="not on this machine"):
        fetch_dataset("hub:org/shards", offline=True, endpoint=hub.url, cache=tmp_path)


def test_a_file_and_a_folder_of_a_data_set(hub: Hub, tmp_path: Path) -> None:
    file = fetch_dataset("hub:org/plain/validation.jsonl", endpoint=hub.url, cache=tmp_path)
    assert file.read_bytes() == ROWS * 2
    fetch = partial(fetch_dataset, endpoint=hub.url, cache=tmp_path)
    assert check_structure(settings("hub:org/configs/socratic"), fetch=fetch).structure.train.rows == 4


@pytest.mark.parametrize(
    ("reference", "kind", "reason"),
    [
        ("hub:org/configs", DataError, "more than one training set: main/train.jsonl, socratic/train.jsonl"),
        ("hub:org/empty", DataError, "holds no data file"),
        ("hub:org/plain/gone.jsonl", DownloadError, "has no 'gone.jsonl'"),
        ("hub:org/unknown", DownloadError, "404"),
        ("hub:org", DataError, "not a hub data set"),
        ("hub:org/../etc", DataError, "not a hub data set"),
        ("hub:org/-bad-", DataError, "hub:org/-bad-"),
    ],
)
def test_what_cannot_be_had_is_explained(
    reference: str, kind: type[Exception], reason: str, hub: Hub, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=reason):
        fetch_dataset(reference, endpoint=hub.url, cache=tmp_path)


def test_a_hub_that_is_not_there_is_a_download_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch_dataset("hub:org/plain", endpoint="http://127.0.0.1:9", cache=tmp_path)
    assert caught.value.hint
