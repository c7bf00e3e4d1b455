"""The stand-in for the hub, taking uploads too: accounts, new repositories, Git LFS in one piece or many, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.models.hub_server import COMMIT, Handler, HubServer, named, running

TOKEN, READ_ONLY = "hf_StandInForAToken0123", "hf_MayOnlyRead0123456789"
SIGNATURE = "X-Signature=not-to-be-shown"


@dataclass
class UploadServer(HubServer):
    """A hub with one user, maria of acme. Whole files of any repository are in `objects`, by SHA-256."""

    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    """Bytes that came of each large file, whole or not, by SHA-256."""
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    multipart: int | None = None
    """Bytes of a part, where large files are taken in parts."""
    cut_uploads: int | None = None
    """Hang up after so many bytes of a large file."""
    cuts: int = 0
    """How many more times."""
    refusing: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and message, by a part of the path."""
    branches: dict[str, list[str]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    authorized: list[tuple[str, bool]] = field(default_factory=list)
    """Requests, and whether they came with a token."""

    def head(self, repository: str) -> str:
        return self.heads.get(repository, COMMIT)

    def is_private(self, repository: str) -> bool:
        return self.private[repository]


def serve_uploads(**repositories: dict[str, bytes]) -> AbstractContextManager[UploadServer]:
    """An `UploadServer` on a free port of the loopback interface; `org__name` stands for `org/name`."""
    state = UploadServer(named(repositories))
    state.private = dict.fromkeys(state.repositories, True)
    return running(state, _Uploads)


class _Uploads(Handler):
    state: UploadServer

    def do_POST(self) -> None:
        self._answer(body=True)

    def do_PUT(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.state.authorized.append((f"{self.command} {path}", self.headers.get("Authorization") is not None))
        for part, (status, message) in self.state.refusing.items():
            if part in path:
                self._sent()
                self._send(status, b"{}", body=body, headers={"X-Error-Message": message})
                return
        if path.startswith("/lfs/"):
            self.state.requests.append(f"{self.command} {path}")
            self._large(path.removeprefix("/lfs/"))
        elif self.command == "POST" or path == "/api/whoami-v2":
            self._account(path, body=body)
        else:
            super()._answer(body=body)

    def _account(self, path: str, *, body: bool) -> None:
        """What needs a token."""
        self.state.requests.append(f"{self.command} {path}")
        sent = self._sent()
        status, after, times = self.state.busy
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if times > 0:
            self.state.busy = (status, after, times - 1)
            self._send(status, b"{}", body=body, headers={"Retry-After": after})
        elif token not in (TOKEN, READ_ONLY):
            self._send(401, b"{}", body=body, headers={"X-Error-Message": "Invalid credentials"})
        elif path == "/api/whoami-v2":
            role = "write" if token == TOKEN else "read"
            self._json({"name": "maria", "orgs": [{"name": "acme"}], "auth": {"accessToken": {"role": role}}})
        elif path == "/api/repos/create":
            self._create(json.loads(sent))
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(sent))
        else:
            self._repository(path.removeprefix("/api/models/"), sent)

    def _repository(self, path: str, sent: bytes) -> None:
        owner, name, action, *rest = path.split("/")
        repo_id = f"{owner}/{name}"
        if repo_id not in self.state.repositories:
            self._send(404, b"{}", body=True, headers={"X-Error-Code": "RepoNotFound"})
        elif action == "preupload":
            self._json({"files": [self._mode(repo_id, each) for each in json.loads(sent)["files"]]})
        elif action == "branch":
            self.state.branches.setdefault(repo_id, []).append(rest[0])
            self._json({})
        else:
            self._commit(repo_id, [json.loads(line) for line in sent.splitlines()])

    def _create(self, asked: dict[str, Any]) -> None:
        repo_id = f"{asked['organization']}/{asked['name']}"
        if repo_id in self.state.repositories:
            self._send(409, b"{}", body=True)
            return
        self.state.repositories[repo_id] = {".gitattributes": b"*.safetensors filter=lfs\n"}
        self.state.private[repo_id] = asked["visibility"] == "private"
        self._json({"url": f"{self.state.url}/{repo_id}"})

    def _mode(self, repo_id: str, asked: dict[str, Any]) -> dict[str, Any]:
        large = asked["path"].endswith((".safetensors", ".gguf")) or asked["size"] > 1 << 20
        held = self.state.repositories[repo_id].get(asked["path"])
        oid = None if held is None else hashlib.sha256(held).hexdigest() if large else _blob(held)
        mode = "lfs" if large else "regular"
        return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _batch(self, asked: dict[str, Any]) -> None:
        assert "xet" not in asked["transfers"]
        self._json({"objects": [self._instructions(**each) for each in asked["objects"]]})

    def _instructions(self, oid: str, size: int) -> dict[str, Any]:
        if oid in self.state.objects:
            return {"oid": oid, "size": size}
        place, header = f"{self.state.url}/lfs/{oid}", {}
        href = f"{place}?{SIGNATURE}"
        if (piece := self.state.multipart) is not None:
            numbers = range(1, math.ceil(size / piece) + 1)
            header = {"chunk_size": str(piece), **{str(at): f"{place}/{at}?{SIGNATURE}" for at in numbers}}
            href = f"{place}/complete"
        verify = {"href": f"{self.state.url}/lfs/{oid}/verify"}
        return {"oid": oid, "size": size, "actions": {"upload": {"href": href, "header": header}, "verify": verify}}

    def _large(self, path: str) -> None:
        oid, _, part = path.partition("/")
        content = self._sent(of=oid if self.command == "PUT" else None)
        if content is None:
            return
        if self.command == "PUT" and part:
            self.state.parts[oid, int(part)] = content
        elif self.command == "PUT":
            self._keep(oid, content)
        elif part == "complete":
            numbers = [each["partNumber"] for each in json.loads(content)["parts"]]
            self._keep(oid, b"".join(self.state.parts.pop((oid, number)) for number in numbers))
        elif len(self.state.objects[oid]) != json.loads(content)["size"]:
            self._send(422, b"{}", body=True)
            return
        self._send(200, b"{}", body=True, headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    def _keep(self, oid: str, content: bytes) -> None:
        assert hashlib.sha256(content).hexdigest() == oid
        self.state.objects[oid] = content

    def _commit(self, repo_id: str, lines: list[dict[str, Any]]) -> None:
        parent = lines[0]["value"].get("parentCommit")
        if parent not in (None, self.state.head(repo_id)):
            self._send(412, b"{}", body=True, headers={"X-Error-Message": "A commit has happened since"})
            return
        files = dict(self.state.repositories[repo_id])
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.state.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        self.state.repositories[repo_id] = files
        oid = self.state.heads[repo_id] = hashlib.sha1(json.dumps(lines).encode()).hexdigest()
        self._json(
            {"commitUrl": f"{self.state.url}/{repo_id}/commit/{oid}", "commitOid": oid, "pullRequestUrl": None}
        )

    def _sent(self, of: str | None = None) -> Any:
        """What came with the request; None where the connection was cut in the middle of the large file `of`."""
        length, came = int(self.headers.get("Content-Length", 0)), b""
        cut = self.state.cut_uploads if of is not None and self.state.cuts > 0 else None
        while len(came) < length and (cut is None or len(came) < cut):
            came += self.rfile.read(min(length - len(came), 1 << 14))
        if of is not None:
            self.state.received[of] = self.state.received.get(of, 0) + len(came)
        if cut is None or len(came) == length:
            return came
        self.state.cuts -= 1
        self.close_connection = True
        self.connection.close()
        return None

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), body=True)


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
