"""Files of a hub repository, fetched into the Hugging Face cache; a large file that broke off is continued.

huggingface_hub gives each attempt a temporary name of its own and removes that file when the attempt fails, and
hf_xet keeps nothing between processes, so both begin a file again after a lost connection. Large files are fetched
here instead: into `blobs/<etag>.incomplete`, under the lock that huggingface_hub takes for the same file, then moved
to `blobs/<etag>`, which huggingface_hub only has to link.
"""

from __future__ import annotations

import glob
import hashlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from droidft.models import transfer
from droidft.support.progress import Progress
from droidft.support.room import check_room

if TYPE_CHECKING:
    from huggingface_hub import HfApi, HfFileMetadata

Kind = Literal["model", "dataset"]

LARGE = 1 << 16
"""Bytes. Smaller files come in one piece, several at once."""
ATTEMPTS = 5
"""So often in a row may a connection bring nothing."""
PAUSE_SECONDS = 1.0
IDLE_SECONDS = 3600.0
"""A partial file that is not wanted, and not written to for so long, belongs to nobody."""
_REPORT_SECONDS = 0.1
_LOCK_SECONDS = 0.5
_BLOCK = 1 << 20
_SUFFIX = ".incomplete"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(
    api: HfApi,
    repo_id: str,
    *,
    cache: Path,
    wanted: Sequence[str],
    kind: Kind = "model",
    revision: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """The snapshot of `repo_id` in `cache`, with every file that matches the patterns `wanted`.

    What an earlier attempt brought is kept and counted, whole files and the beginning of large ones. Whatever
    `progress` raises ends the download, and what has come stays. Raises what `transfer.worded` puts into words.
    """
    pinned = api.resolve_revision(repo_id, repo_type=kind, revision=revision, cache_dir=cache)
    storage = cache / "--".join((f"{kind}s", *repo_id.split("/")))
    sizes = _sizes(api, repo_id, kind, pinned, cache, wanted)
    here = {name for name in sizes if (storage / "snapshots" / pinned.resolved / name).is_file()}
    tally = _Tally(progress, done=sum(sizes[name] for name in here), total=sum(sizes.values()))
    large = sorted(name for name in sizes.keys() - here if sizes[name] >= LARGE)

    def others(without: Sequence[str] = ()) -> Path:
        folder = api.snapshot_download(
            repo_id,
            repo_type=kind,
            revision=pinned,
            cache_dir=cache,
            allow_patterns=list(wanted),
            ignore_patterns=[glob.escape(name) for name in without],
            tqdm_class=_bar_for(tally),
        )
        return Path(folder)

    if large:
        others(without=large)  # first: a folder with its settings is listed, and can be deleted
        known = {name: _Remote.ask(api, repo_id, kind, pinned.resolved, name) for name in large}
        files = {name: remote for name, remote in known.items() if remote is not None}
        _sweep(storage / "blobs", {remote.etag for remote in files.values()})
        for name, remote in files.items():
            with _locked(cache / ".locks" / storage.name / f"{remote.etag}.lock", name, progress):
                _complete(storage / "blobs", remote, tally)
    return others()


def _sizes(api: HfApi, repo_id: str, kind: Kind, revision: Any, cache: Path, wanted: Sequence[str]) -> dict[str, int]:
    """Bytes of each wanted file, by its name in the repository."""
    from huggingface_hub import RepoFile, get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        tree = get_cached_repo_tree(repo_id, repo_type=kind, revision=revision, cache_dir=cache)
    except CachedRepoTreeNotFoundError:
        listed = api.list_repo_tree(repo_id, recursive=True, revision=revision.resolved, repo_type=kind)
        tree = [entry for entry in listed if isinstance(entry, RepoFile)]
    return {file.path: file.size for file in tree if any(fnmatch(file.path, pattern) for pattern in wanted)}


@dataclass(frozen=True)
class _Remote:
    """A file on the hub, at a fixed revision."""

    url: str
    etag: str
    """Names the content. The SHA-256 of files in large storage (LFS, Xet)."""
    size: int
    headers: dict[str, str]
    xet: Any
    """The Xet hash, and where access to that storage is given; None where the file comes over HTTP."""

    @classmethod
    def ask(cls, api: HfApi, repo_id: str, kind: Kind, revision: str, name: str) -> _Remote | None:
        """What the hub answers to a HEAD request; None without an etag or a size, which resuming needs."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = hf_hub_url(repo_id, name, repo_type=kind, revision=revision, endpoint=api.endpoint)
        answer: HfFileMetadata = api.get_hf_file_metadata(url=url)
        if not answer.etag or not answer.size or "/" in answer.etag:
            return None
        headers = {**build_hf_headers(token=api.token), "Accept-Encoding": "identity"}
        with_xet = find_spec("hf_xet") is not None and not constants.HF_HUB_DISABLE_XET
        return cls(url, answer.etag, answer.size, headers, answer.xet_file_data if with_xet else None)

    def content(self, start: int) -> Generator[tuple[int, bytes]]:
        """The content from byte `start` on, as (offset, bytes), in order; from 0 where the server gives no parts."""
        return self._from_xet(start) if self.xet is not None else self._from_http(start)

    def _from_http(self, start: int) -> Generator[tuple[int, bytes]]:
        from huggingface_hub import constants, get_session, hf_raise_for_status

        headers = {**self.headers, **({"Range": f"bytes={start}-"} if start else {})}
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        # Redirects to another host are followed without the token.
        with get_session().stream("GET", self.url, headers=headers, timeout=timeout) as response:
            hf_raise_for_status(response)
            offset = _first_byte(response) if response.status_code == 206 else 0
            for block in response.iter_bytes():
                yield offset, block
                offset += len(block)

    def _from_xet(self, start: int) -> Generator[tuple[int, bytes]]:
        with closing(_read_aside(partial(self._xet_stream, start))) as blocks:
            for block in blocks:
                yield start, block
                start += len(block)

    def _xet_stream(self, start: int) -> Iterator[bytes]:
        from hf_xet import XetFileInfo, XetSession  # type: ignore[import-untyped]

        access = {"token_refresh_url": self.xet.refresh_route, "token_refresh_headers": self.headers}
        with XetSession().new_download_stream_group(**access) as group:
            yield from group.download_stream(XetFileInfo(self.xet.file_hash, self.size), start=start)


def _read_aside(read: Callable[[], Iterator[bytes]]) -> Generator[bytes]:
    """What `read` gives, read in a thread; nothing (`b""`) every now and then while none comes.

    Within hf_xet neither Ctrl-C nor `progress` is heard, for minutes where the network is silent.
    """
    blocks: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=1)
    left = threading.Event()

    def put(item: bytes | Exception | None) -> None:
        while not left.is_set():
            with suppress(queue.Full):
                return blocks.put(item, timeout=_REPORT_SECONDS)

    def work() -> None:
        try:
            for block in read():
                put(block)
                if left.is_set():
                    return
            put(None)
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that asked
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            try:
                item = blocks.get(timeout=_REPORT_SECONDS)
            except queue.Empty:
                item = b""
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        left.set()


def _first_byte(response: Any) -> int:
    """Where a partial answer begins: `Content-Range: bytes 500-999/1000`."""
    given = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    if given is None:
        raise OSError("the server sent a part of the file without naming which")
    return int(given.group(1))


class _Part:
    """The beginning of a file on disk, and its hash, which is kept up to date. Open until `close`."""

    def __init__(self, path: Path, remote: _Remote) -> None:
        self.path, self._remote = path, remote
        self._file: BinaryIO = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115
        self._hash = hashlib.sha256()
        self.size = 0
        if os.fstat(self._file.fileno()).st_size > remote.size:
            self.clear()
        while block := self._file.read(_BLOCK):
            self._hash.update(block)
            self.size += len(block)

    def close(self) -> None:
        self._file.close()

    def clear(self) -> None:
        """Begin at byte 0 again."""
        self._file.seek(0)
        self._file.truncate()
        self._hash, self.size = hashlib.sha256(), 0

    def append(self, block: bytes, offset: int) -> None:
        """Add the bytes that begin at `offset` of the file, which is where this ends."""
        if offset != self.size:
            raise OSError(f"the server sent bytes from {offset} on, and not those from {self.size}")
        if self.size + len(block) > self._remote.size:
            raise OSError(f"the server sent more than the {self._remote.size} bytes that it had named")
        for start in range(0, len(block), _BLOCK):
            piece = memoryview(block)[start : start + _BLOCK]
            while piece:  # a disk that is almost full takes a part of it
                written = self._file.write(piece)
                self._hash.update(piece[:written])
                self.size += written
                piece = piece[written:]

    @property
    def is_whole(self) -> bool:
        return self.size == self._remote.size

    @property
    def is_right(self) -> bool:
        """Whether the content is the one that the etag names, where it is a hash of the content."""
        return not _SHA256.fullmatch(self._remote.etag) or self._hash.hexdigest() == self._remote.etag


def _complete(blobs: Path, remote: _Remote, tally: _Tally) -> None:
    """Fetch what is missing of a file, whose lock is held, and put it in its place."""
    blob, path = blobs / remote.etag, blobs / f"{remote.etag}{_SUFFIX}"
    if blob.exists():  # another process has fetched it meanwhile, or it has another name in this repository
        tally.add(remote.size)
        return
    blobs.mkdir(parents=True, exist_ok=True)
    part = _Part(path, remote)
    try:
        hint = "free some space, or let HF_HOME name a folder on another disk"
        check_room(remote.size - part.size, blobs, what="the rest of the download", hint=hint)
        inherited = part.size
        tally.add(part.size)
        _append(part, remote, tally)
        if not part.is_right and inherited:  # perhaps a crash of the machine left a part that was never written
            _clear(part, tally)
            _append(part, remote, tally)
        if not part.is_right:
            _clear(part, tally)
            raise OSError("the bytes that came do not have the checksum that the hub names")
    finally:
        part.close()
        if not part.size:
            path.unlink(missing_ok=True)
    os.replace(path, blob)


def _append(part: _Part, remote: _Remote, tally: _Tally) -> None:
    """Fetch the rest of a file. A connection that breaks off is opened again where it stopped."""
    failed = 0
    while not part.is_whole:
        before = part.size
        try:
            with closing(remote.content(part.size)) as content:
                for offset, block in content:
                    if offset == 0 < part.size:
                        _clear(part, tally)
                    part.append(block, offset)
                    tally.add(len(block))
            if part.size == before:
                raise OSError("the connection brought nothing")
        except transfer.broken_connection():
            failed = failed + 1 if part.size <= before else 0
            if failed >= ATTEMPTS:
                raise
            tally.add(0)
            time.sleep(PAUSE_SECONDS)


def _clear(part: _Part, tally: _Tally) -> None:
    tally.add(-part.size)
    part.clear()


def _sweep(blobs: Path, etags: set[str]) -> None:
    """Remove partial files of other contents: the file on the hub has changed, or another program was killed."""
    for path in blobs.glob(f"*{_SUFFIX}"):
        with suppress(OSError):
            if path.name.removesuffix(_SUFFIX) not in etags and time.time() - path.stat().st_mtime > IDLE_SECONDS:
                path.unlink()


@contextmanager
def _locked(path: Path, name: str, progress: Progress | None) -> Iterator[None]:
    """Hold huggingface_hub's lock for one file of its cache; another process that holds it is waited for."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        while True:
            with suppress(Timeout):
                stack.enter_context(WeakFileLock(path, timeout=_LOCK_SECONDS))
                break
            if progress is not None:
                progress(f"{name}: waiting for another download of it", 0, 0)
        yield


class _Tally:
    """Bytes of a whole download that are on disk, given to `progress`, from several threads."""

    def __init__(self, progress: Progress | None, *, done: int, total: int) -> None:
        self._progress = progress
        self._done, self._total = done, total
        self._lock = threading.Lock()
        self._last = float("-inf")

    def add(self, count: int) -> None:
        """So many bytes more; fewer, where some are fetched again. Raises what `progress` raises."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if self._progress is not None and (now - self._last >= _REPORT_SECONDS or self._done >= self._total):
                self._last = now
                self._progress("downloading", self._done, max(self._total, self._done))


def _bar_for(tally: _Tally) -> Any:
    """A silent tqdm that hands the byte counts to `tally`; huggingface_hub takes nothing but a tqdm class."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Of the three bars made, one counts the bytes that reached the disk.
            self.counts = str(kwargs.get("desc")).startswith("Reconstructing")
            super().__init__(*args, **{**kwargs, "disable": True})
            self.total = kwargs.get("total") or 0

        def update(self, n: float | None = 1) -> bool | None:
            if self.counts:
                tally.add(int(n or 0))
            return None

    return Bar
