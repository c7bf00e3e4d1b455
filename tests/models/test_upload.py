"""A folder is pushed to a hub: one commit, nothing sent twice, every failure a sentence, no secrets in it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from droidft.errors import NotFound, UploadError
from droidft.models import upload
from droidft.models.upload import Destination, destination, push, reach
from tests.models.hub_uploads import READ_ONLY, SIGNATURE, TOKEN, UploadServer, serve_uploads

# huggingface_hub gives httpx2 an open file as `data`, which httpx2 would rather have as `content`.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

WEIGHTS = bytes(range(256)) * 4000
OTHER = WEIGHTS[::-1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[UploadServer]:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("time.sleep", lambda seconds: sleep(min(seconds, 0.01)))
    with serve_uploads() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """As `droidft export` leaves one: two large files, small ones, a certificate with their hashes."""
    return write_export(
        tmp_path / "export",
        {"one.safetensors": WEIGHTS, "two.safetensors": OTHER, "config.json": b'{"model_type":"llama"}'},
    )


def write_export(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "certificate.json").write_text(json.dumps({"format": 1, "hashes": {"files": hashes(files)}}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    return folder


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def look(folder: Path, repo_id: str, **options: Any) -> Destination:
    return destination(folder, reach(repo_id, **options))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("multipart", [None, 300_000])
def test_a_folder_becomes_a_private_repository(server: UploadServer, export: Path, multipart: int | None) -> None:
    server.multipart = multipart
    there = look(export, "acme/tiny")
    assert not server.repositories
    assert there.question() == (
        f"Push 5 files ({(there.bytes) / 1e6:.1f} MB) as maria to acme/tiny, a new private repository?"
    )
    reports: list[tuple[str, int, int]] = []
    pushed = push(there, progress=lambda *each: reports.append(each))
    held = server.repositories["acme/tiny"]
    assert {name: held[name] for name in contents(export)} == contents(export)
    assert server.private == {"acme/tiny": True}
    assert (pushed.files, pushed.bytes) == (5, there.bytes)
    assert (pushed.url, pushed.commit) == (f"{server.url}/acme/tiny", server.heads["acme/tiny"])
    assert pushed.sent == len(WEIGHTS) + len(OTHER) == sum(server.received.values())
    assert [line for line in server.requests if "/commit/" in line] == ["POST /api/models/acme/tiny/commit/main"]
    done = [each for what, each, _ in reports if what.startswith(("uploading", "committing"))]
    assert done == sorted(done)
    assert done[-1] == there.bytes
    assert len({each for what, each, _ in reports if what == "uploading one.safetensors"}) > 3


def test_no_token_goes_to_the_storage_and_none_into_a_log(
    server: UploadServer, export: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server.cut_uploads, server.cuts = 100_000, 1
    push(look(export, "acme/tiny"))
    with_token = {line for line, token in server.authorized if token}
    assert not {line for line in with_token if line.startswith("PUT")}
    assert "POST /api/repos/create" in with_token
    shown = caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in shown
    assert SIGNATURE not in shown


def test_a_lost_connection_is_tried_again_and_reported(server: UploadServer, export: Path) -> None:
    server.cut_uploads, server.cuts = 100_000, 2
    told: list[str] = []
    pushed = push(look(export, "acme/tiny"), progress=lambda what, *_: told.append(what))
    assert server.repositories["acme/tiny"]["one.safetensors"] == WEIGHTS
    assert "the connection was lost: trying again" in told
    assert pushed.sent > len(WEIGHTS) + len(OTHER)


def test_what_an_interrupted_push_sent_whole_is_not_sent_again(server: UploadServer, export: Path) -> None:
    def stop(what: str, *_: int) -> None:
        if what == "uploading two.safetensors":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(look(export, "acme/tiny"), progress=stop)
    assert set(server.repositories["acme/tiny"]) == {".gitattributes"}, "no half of an export is shown"
    one, two = hashes({"one": WEIGHTS, "two": OTHER}).values()
    before = server.received[one]
    pushed = push(look(export, "acme/tiny"))
    assert server.received[one] == before == len(WEIGHTS)
    assert pushed.sent == len(OTHER)
    assert server.repositories["acme/tiny"]["two.safetensors"] == OTHER
    assert server.received[two] >= len(OTHER)


def test_pushing_the_same_again_sends_nothing_and_commits_nothing(server: UploadServer, export: Path) -> None:
    first = push(look(export, "acme/tiny"))
    server.requests.clear()
    again = look(export, "acme/tiny")
    assert (again.repository.exists, again.removed, again.repository.others) == (True, (), ())
    second = push(again)
    assert (second.sent, second.commit) == (0, first.commit)
    assert not [line for line in server.requests if "/commit/" in line or line.startswith("PUT")]


def test_a_newer_export_replaces_the_one_there(server: UploadServer, export: Path, tmp_path: Path) -> None:
    push(look(export, "acme/tiny"))
    newer = look(write_export(tmp_path / "newer", {"model.gguf": OTHER}), "acme/tiny")
    assert newer.removed == ("config.json", "one.safetensors", "two.safetensors")
    assert (
        "config.json, one.safetensors, two.safetensors of the export that is there are removed." in newer.question()
    )
    pushed = push(newer)
    assert set(server.repositories["acme/tiny"]) == {
        ".gitattributes",
        "README.md",
        "certificate.json",
        "model.gguf",
    }
    assert pushed.sent == 0, "the hub has these bytes from the export before"


def test_a_repository_of_somebody_else_is_not_written_over(server: UploadServer, export: Path) -> None:
    server.repositories["acme/work"] = {"notes.md": b"mine", "model.safetensors": b"mine", "config.json": b"{}"}
    server.private["acme/work"] = True
    with pytest.raises(
        UploadError, match=r"holds something else: config\.json, model\.safetensors, notes\.md"
    ) as why:
        look(export, "acme/work")
    assert "--overwrite" in why.value.hint
    allowed = look(export, "acme/work", overwrite=True)
    assert "equal names are replaced" in allowed.question()
    push(allowed)
    assert server.repositories["acme/work"]["notes.md"] == b"mine"
    assert server.repositories["acme/work"]["config.json"] == (export / "config.json").read_bytes()


@pytest.mark.parametrize("certificate", [b"{", b"[]", b'{"hashes": {"files": 3}}'])
def test_a_certificate_that_is_none_makes_nothing_ours(
    server: UploadServer, export: Path, certificate: bytes
) -> None:
    server.repositories["acme/work"] = {"certificate.json": certificate, "x.bin": b"1"}
    server.private["acme/work"] = True
    with pytest.raises(UploadError, match="holds something else"):
        look(export, "acme/work")


def test_public_only_where_it_was_asked_for(server: UploadServer, export: Path) -> None:
    push(look(export, "acme/open", private=False))
    assert server.private == {"acme/open": False}
    with pytest.raises(UploadError, match="acme/open is public, and a private repository was asked for"):
        look(export, "acme/open")
    assert "to the public repository acme/open?" in look(export, "acme/open", private=False).question()
    server.private["acme/open"] = True
    assert "to the private repository acme/open?" in look(export, "acme/open", private=False).question()


def test_a_branch_is_made(server: UploadServer, export: Path) -> None:
    pushed = push(look(export, "acme/tiny", revision="v2"))
    assert server.branches == {"acme/tiny": ["v2"]}
    assert "POST /api/models/acme/tiny/commit/v2" in server.requests
    assert pushed.url == f"{server.url}/acme/tiny/tree/v2"


def test_a_commit_in_between_is_not_written_over(server: UploadServer, export: Path) -> None:
    push(look(export, "acme/tiny"))
    (export / "config.json").write_text('{"model_type":"qwen2"}')
    there = look(export, "acme/tiny")
    server.heads["acme/tiny"] = "f" * 40
    with pytest.raises(UploadError, match=r"changed by somebody else meanwhile \(status 412"):
        push(there)


def test_what_is_pushed_is_what_was_certified(server: UploadServer, export: Path) -> None:
    certified = json.loads((export / "certificate.json").read_text())["hashes"]["files"]
    there = look(export, "acme/tiny")
    (export / "two.safetensors").write_bytes(WEIGHTS)
    with pytest.raises(UploadError, match=r"two\.safetensors was changed since its certificate"):
        push(there, hashes=certified)
    assert set(server.repositories["acme/tiny"]) == {".gitattributes"}


def test_without_a_token_the_fix_is_named(
    server: UploadServer, export: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UploadError, match="there is no token") as why:
        look(export, "acme/tiny")
    assert "hf auth login" in why.value.hint
    assert not server.requests
    (tmp_path / "token").write_text(TOKEN)  # as `hf auth login` leaves it
    assert reach("acme/tiny").user == "maria"


@pytest.mark.parametrize(
    ("token", "repo_id", "words"),
    [
        ("hf_WrongTokenWrongToken", "acme/tiny", r"does not accept the token for acme/tiny \(status 401\)"),
        (READ_ONLY, "acme/tiny", "the token of maria may only read"),
        (TOKEN, "other/tiny", "signed in as maria, who does not belong to other"),
        (TOKEN, "tiny", "'tiny' is not a hub id"),
        (TOKEN, "acme/../tiny", "is not a hub id"),
    ],
)
def test_who_may_not_write_is_told_before_anything_is_sent(
    server: UploadServer, export: Path, monkeypatch: pytest.MonkeyPatch, token: str, repo_id: str, words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UploadError, match=words) as why:
        look(export, repo_id)
    assert token not in why.value.message + why.value.hint
    assert not server.repositories


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/repos/create", 403, r"you may not write to acme/tiny \(status 403\): because of this"),
        ("/repos/create", 409, "changed by somebody else meanwhile"),
        ("/preupload/", 404, "the hub knows no 'acme/tiny'"),
        ("/objects/batch", 413, "the hub answered 413 for acme/tiny: because of this"),
        ("/commit/", 402, "the hub answered 402 for acme/tiny: because of this"),
        ("/lfs/", 403, r"you may not write to acme/tiny \(status 403\)"),
        ("/lfs/", 503, "the hub answered 503 for acme/tiny"),
        ("/verify", 500, "the hub answered 500 for acme/tiny"),
        ("/commit/", 503, "the hub answered 503 for acme/tiny"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(
    server: UploadServer, export: Path, path: str, status: int, words: str
) -> None:
    server.refusing[path] = (status, "because of this")
    with pytest.raises(UploadError, match=words) as why:
        push(look(export, "acme/tiny"))
    assert why.value.hint
    assert TOKEN not in why.value.message
    assert SIGNATURE not in why.value.message
    if path == "/repos/create":
        return
    assert set(server.repositories["acme/tiny"]) == {".gitattributes"}
    server.refusing.clear()
    push(look(export, "acme/tiny"))
    assert server.repositories["acme/tiny"]["one.safetensors"] == WEIGHTS


def test_the_address_of_a_hub_may_end_in_a_slash(
    server: UploadServer, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
    assert push(look(export, "acme/tiny")).url == f"{server.url}/acme/tiny"


def test_a_busy_hub_is_waited_for(server: UploadServer, export: Path) -> None:
    server.busy = (503, "1", 2)
    told: list[str] = []
    look(export, "acme/tiny", progress=lambda what, *_: told.append(what))
    assert "acme/tiny: the hub is busy, waiting 1 s" in told


def test_a_connection_that_is_always_cut_is_a_sentence_without_its_address(
    server: UploadServer, export: Path
) -> None:
    server.cut_uploads, server.cuts = 100_000, 1000
    with pytest.raises(UploadError, match="acme/tiny could not be uploaded: ") as why:
        push(look(export, "acme/tiny"))
    assert "files that the hub has whole are not sent again" in why.value.hint
    assert SIGNATURE not in why.value.message


def test_nothing_is_asked_offline(server: UploadServer, export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UploadError, match="the network may not be used: offline is set"):
        look(export, "acme/tiny", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UploadError, match="the environment says HF_HUB_OFFLINE=1"):
        look(export, "acme/tiny")
    assert not server.requests


def test_hidden_files_stay_and_links_out_of_the_folder_are_refused(tmp_path: Path, export: Path) -> None:
    (export / ".cache").mkdir()
    (export / ".cache" / "secret").write_text("x")
    (export / "sub").mkdir()
    (export / "sub" / "a.txt").write_text("x")
    (export / "alias").symlink_to("config.json")
    assert {"sub/a.txt", "alias", "config.json"} < set(upload._files(export))
    assert not [name for name in upload._files(export) if "secret" in name]
    (tmp_path / "secret").write_text("x")
    (export / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(UploadError, match="out leads out of export"):
        upload._files(export)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="holds no files"):
        upload._files(tmp_path / "empty")
