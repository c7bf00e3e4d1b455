"""A folder becomes a repository on a hub: looked at first, so that a question can name everything, then pushed.

One commit holds the whole folder: a repository never shows half of it. Large files go up before, through the hub's
Git LFS interface, which every hub has and which names content by its hash: what an earlier attempt sent whole is not
sent again.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droidft.errors import DroidError, NotFound, UploadError
from droidft.models import transfer
from droidft.models.hub import REPO_ID, endpoint, why_offline
from droidft.support import stored
from droidft.support.progress import Progress
from droidft.support.shapes import shape
from droidft.support.words import count, size

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

CERTIFICATE = "certificate.json"
"""What an export holds and nothing else does: a repository with one was filled from here."""
MOST_CERTIFICATE_BYTES = 1 << 24
_MADE_BY_THE_HUB = {".gitattributes"}
_SIGN_IN = "run `hf auth login`, or set HF_TOKEN; the token has to be one that may write"


@dataclass(frozen=True)
class Repository:
    """A repository on the hub as it was found, and who would write to it."""

    repo_id: str
    revision: str | None
    user: str
    exists: bool
    private: bool
    """What it is, or would be made."""
    ours: frozenset[str]
    """Files of an export that was pushed there before."""
    others: tuple[str, ...]
    """Files that were not put there from here."""
    parent: str | None
    """The commit that was found; a push is refused where another one came after it."""


@dataclass(frozen=True)
class Destination:
    """A folder, and the repository that it would go to."""

    repository: Repository
    folder: Path
    files: Mapping[str, int]
    """Bytes of each file, by its name in the repository."""
    instead: Mapping[str, bytes]
    """What small files hold there, where that is not what they hold here."""
    caution: str = ""
    """What has to be known of the folder before it is pushed."""

    @property
    def removed(self) -> tuple[str, ...]:
        """Files of an earlier export there that this one does not have: the push removes them."""
        return tuple(sorted(self.repository.ours - {*self.files}))

    @property
    def bytes(self) -> int:
        """All of the files together."""
        return sum(self.files.values())

    def question(self) -> str:
        """What the user is asked before anything is sent."""
        there = self.repository
        sort, name = "private" if there.private else "public", there.repo_id
        what = f"{count(len(self.files), 'file')} ({size(self.bytes)})"
        where = f"the {sort} repository {name}" if there.exists else f"{name}, a new {sort} repository"
        branch = f", branch {there.revision}" if there.revision else ""
        parts = [f"Push {what} as {there.user} to {where}{branch}?"]
        if self.removed:
            parts.append(f"{_listed(self.removed)} of the export that is there {_is_or_are(self.removed)} removed.")
        if there.others:
            held = _listed(there.others)
            parts.append(f"It holds {held}, which were not pushed from here; equal names are replaced.")
        if self.caution:
            parts.append(f"Its certificate is {self.caution}.")
        return " ".join(parts)


@shape
class Pushed:
    """A finished push."""

    repo_id: str
    url: str
    """Of the repository's page."""
    commit: str
    files: int
    bytes: int
    """Of all files."""
    sent: int
    """Bytes of large files that went over the line, repetitions included."""


def reach(
    repo_id: str,
    *,
    private: bool = True,
    revision: str | None = None,
    overwrite: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Repository:
    """The repository as it is, if it may be written to. Nothing is sent and nothing is made.

    `overwrite` allows one that holds something else.

    Raises:
        UploadError: offline, no token, a repository that may not be written to, that is public where a private one
            was asked for, or that holds something else.
    """
    if not REPO_ID.fullmatch(repo_id):
        raise UploadError(f"{repo_id!r} is not a hub id", hint="a hub id looks like org/name", field="repo_id")
    if reason := why_offline(offline=offline):
        hint = "allow the network for this one command"
        raise UploadError(f"nothing can be pushed: the network may not be used: {reason}", hint=hint)
    api = _api()
    with transfer.worded_upload(repo_id):
        user = _writer(transfer.patiently(repo_id, api.whoami, progress), repo_id)
        there = transfer.patiently(repo_id, lambda: _there(api, repo_id, revision), progress)
        names = {each.rfilename for each in (there.siblings or [])} if there else set()
        ours = _certified(api, repo_id, there.sha) & names if there and CERTIFICATE in names else frozenset()
    if there is not None and private and not there.private:
        hint = "name another one, make it private on its page, or allow a public one (in the terminal --public)"
        raise UploadError(f"{repo_id} is public, and a private repository was asked for", hint=hint, field="private")
    others = tuple(sorted(names - ours - _MADE_BY_THE_HUB))
    if others and not overwrite:
        hint = "name another repository, or allow it (in the terminal --overwrite)"
        raise UploadError(f"{repo_id} holds something else: {_listed(others)}", hint=hint, field="overwrite")
    return Repository(
        repo_id=repo_id,
        revision=revision,
        user=user,
        exists=there is not None,
        private=bool(there.private) if there else private,
        ours=ours,
        others=others,
        parent=there.sha if there else None,
    )


def destination(
    folder: Path, repository: Repository, instead: Mapping[str, bytes] | None = None, *, caution: str = ""
) -> Destination:
    """What pushing `folder` there would do; `instead` is the content of small files that is to differ there.

    `caution` is told with the question.

    Raises:
        NotFound: the folder is not there or empty.
        UploadError: a link in it leads out of it.
    """
    changed = instead or {}
    sizes = {name: len(content) for name, content in changed.items()}
    return Destination(repository, folder, _files(folder) | sizes, changed, caution)


def push(
    destination: Destination, *, hashes: Mapping[str, str] | None = None, progress: Progress | None = None
) -> Pushed:
    """Send the folder in one commit. The user has agreed to `Destination.question`.

    `hashes` are SHA-256 by file name, as a certificate holds them: a file that has become another is refused.
    Whatever `progress` raises ends the push; large files that are whole there by then are not sent again.

    Raises:
        UploadError: refused, unreachable or cut off; a file changed; the repository was changed meanwhile.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api, there = _api(), destination.repository
    repo_id, revision = there.repo_id, there.revision
    meter = _Meter(destination.bytes, progress)
    operations: list[Any] = [CommitOperationDelete(name) for name in destination.removed]
    with ExitStack() as opened, transfer.worded_upload(repo_id), _retries_told(meter):
        _make(api, there, progress)
        for name, content in destination.instead.items():
            operations.append(CommitOperationAdd(name, content))
        for name in (each for each in destination.files if each not in destination.instead):
            file = opened.enter_context(_File(destination.folder / name, name, meter))
            operation = CommitOperationAdd(name, file)
            _refuse_changed(name, operation.upload_info.sha256.hex(), hashes or {})
            meter.sending = True
            # One at a time: several would share a bar of huggingface_hub's own.
            api.preupload_lfs_files(repo_id, [operation], revision=revision)
            meter.finish(destination.files[name])
            operations.append(operation)
        meter.tell("committing")
        made = api.create_commit(
            repo_id,
            operations,
            commit_message="Export of droidft",
            revision=revision,
            parent_commit=there.parent,
        )
    url = f"{api.endpoint}/{repo_id}" + (f"/tree/{revision}" if revision else "")
    return Pushed(repo_id, url, made.oid, len(destination.files), destination.bytes, meter.sent)


def _api() -> HfApi:
    from huggingface_hub import HfApi, get_token

    if (token := get_token()) is None:
        raise UploadError("nothing can be pushed: there is no token of a hub's user here", hint=_SIGN_IN)
    return HfApi(endpoint=endpoint(), token=token, library_name="droidft")


def _files(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder but hidden ones, by name; links that lead out of it are refused."""
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}")
    root, files = folder.resolve(), {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or path.is_dir():
            continue
        if not path.resolve().is_relative_to(root) or not path.is_file():
            raise UploadError(f"{name} leads out of {folder.name}", hint="put the file itself there")
        files[name.as_posix()] = path.stat().st_size
    if not files:
        raise NotFound(f"{folder} holds no files")
    return files


def _writer(known: Mapping[str, Any], repo_id: str) -> str:
    """Name of the token's user, who may write to the namespace of `repo_id`."""
    user, namespace = str(known.get("name")), repo_id.partition("/")[0]
    allowed = [user, *(str(each.get("name")) for each in known.get("orgs") or [])]
    if namespace.lower() not in map(str.lower, allowed):
        hint = f"name one of {', '.join(f'{each}/…' for each in allowed)}, or sign in as another user"
        raise UploadError(f"you are signed in as {user}, who does not belong to {namespace}", hint=hint)
    role = ((known.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise UploadError(f"the token of {user} may only read", hint=_SIGN_IN)
    return user


def _there(api: HfApi, repo_id: str, revision: str | None) -> ModelInfo | None:
    """The repository as it is; of a revision that is not there yet, the branch that it would begin from."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return api.model_info(repo_id, revision=revision)
    except RevisionNotFoundError:
        return api.model_info(repo_id)
    except RepositoryNotFoundError:
        return None


def _certified(api: HfApi, repo_id: str, commit: str | None) -> frozenset[str]:
    """Names of the files that a repository's certificate stands for, its own included; none if it is not ours."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(api.hf_hub_download(repo_id, CERTIFICATE, revision=commit, local_dir=folder))
        try:
            stored.content(file, most=MOST_CERTIFICATE_BYTES)
            hashes = stored.mapping(file).get("hashes")
        except DroidError:
            return frozenset()
    files = hashes.get("files") if isinstance(hashes, dict) else None
    return frozenset({*map(str, files), CERTIFICATE, "README.md"}) if isinstance(files, dict) else frozenset()


def _make(api: HfApi, there: Repository, progress: Progress | None) -> None:
    repo_id = there.repo_id
    if not there.exists:
        transfer.patiently(repo_id, lambda: api.create_repo(repo_id, private=there.private), progress)
    if (branch := there.revision) is not None:
        transfer.patiently(repo_id, lambda: api.create_branch(repo_id, branch=branch, exist_ok=True), progress)


def _refuse_changed(name: str, digest: str, hashes: Mapping[str, str]) -> None:
    if hashes.get(name, digest) != digest:
        hint = "export again: what is pushed is what the certificate was made for"
        raise UploadError(f"{name} was changed since its certificate was made", hint=hint)


class _Meter:
    """Bytes of a push: how many are there, and how many went over the line."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total = total
        self.progress = progress
        self.finished = self.sent = 0
        self.sending = False

    def finish(self, amount: int) -> None:
        self.finished += amount
        self.sending = False

    def tell(self, what: str, position: int = 0) -> None:
        if self.progress is not None:
            self.progress(what, min(self.finished + position, self.total), self.total)


class _File(io.BufferedReader):
    """A file that tells a meter how far it was read.

    huggingface_hub sends open files through Git LFS, in its own pieces, after it has read them once for the hash.
    """

    def __init__(self, path: Path, name: str, meter: _Meter) -> None:
        super().__init__(io.FileIO(path), buffer_size=1 << 20)
        self._shown, self._meter = name, meter

    def read(self, size: int | None = -1, /) -> bytes:
        """As a file does."""
        data = super().read(size)
        if self._meter.sending:
            self._meter.sent += len(data)
            self._meter.tell(f"uploading {self._shown}", self.tell())
        else:
            self._meter.tell(f"reading {self._shown}")
        return data


@contextmanager
def _retries_told(meter: _Meter) -> Iterator[None]:
    """Report that huggingface_hub tries again, in place of its warnings, which hold signed addresses."""

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.endswith("_http"):
                waiting = "Waiting" in record.getMessage()  # as long as a hub asks that takes no more requests
                meter.tell("the hub is busy: waiting" if waiting else "the connection was lost: trying again")

    logger, told = logging.getLogger("huggingface_hub"), Told(logging.WARNING)
    before = logger.handlers[:], logger.propagate
    clients = [logging.getLogger(name) for name in ("httpx", "httpx2")]  # they log every address at level INFO
    levels = [client.level for client in clients]
    logger.handlers[:], logger.propagate = [told], False
    for client in clients:
        client.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = before
        for client, level in zip(clients, levels, strict=True):
            client.setLevel(level)


def _listed(names: Sequence[str]) -> str:
    """Some of the names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _is_or_are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
