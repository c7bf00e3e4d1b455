"""Data sets from a model hub: only the files of the wanted split are downloaded."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from droidft.data.sources import HUB, Pick, files_to_train
from droidft.errors import DataError, DownloadError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def fetch_dataset(
    reference: str,
    *,
    pick: Pick = files_to_train,
    offline: bool = False,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """Download `hub:org/name`, or a file or folder of it (`hub:org/name/path`), and return its local path.

    `pick` says which of its files are wanted.

    `offline` uses what an earlier download left in the cache and never opens a connection.

    Raises:
        DataError: the reference is malformed, or the data set has no recognisable files.
        DownloadError: offline and not in the cache; unknown data set; network trouble.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = reference.removeprefix(HUB).strip("/").split("/")
    if len(parts) < 2 or not all(parts) or ".." in parts:
        raise DataError(f"{reference!r} is not a hub data set", hint="write hub:org/name or hub:org/name/file.jsonl")
    repo, inside = "/".join(parts[:2]), "/".join(parts[2:])
    api = HfApi(endpoint=endpoint)
    # The base of every connection error is httpx's or httpx2's, depending on the version of huggingface_hub.
    network_error: type[Exception] = HfHubHTTPError.__mro__[1]
    try:
        folder = _snapshot(api, repo, inside, reference, pick, offline=offline, cache=cache)
    except LocalEntryNotFoundError as error:
        if offline:
            hint = "turn offline off, or download the data once and name the file"
            raise DownloadError(f"{reference} is not on this machine, and offline is on", hint=hint) from error
        raise DownloadError(f"{reference}: the hub cannot be reached: {_first_line(error)}", hint=_RETRY) from error
    except HFValidationError as error:
        raise DataError(f"{reference}: {_first_line(error)}", hint="write hub:org/name") from error
    except (network_error, OSError) as error:
        raise DownloadError(f"{reference}: {_first_line(error)}", hint=_RETRY) from error
    found = folder / inside
    if not found.exists():
        raise DownloadError(f"{reference}: the data set has no {inside!r}", hint="check the path on the hub's page")
    return found


_RETRY = "check the name and the connection; private data sets need `hf auth login`"


def _snapshot(
    api: HfApi, repo: str, inside: str, reference: str, pick: Pick, *, offline: bool, cache: Path | None
) -> Path:
    if offline:
        return _from_cache(api, repo, inside, reference, pick, cache)
    # One request; listing the tree instead would retry for half a minute where there is no network.
    listed = [sibling.rfilename for sibling in api.dataset_info(repo).siblings or []]
    names = [name for name in listed if _is_inside(name, inside)]
    if inside and not names:
        raise DownloadError(f"{reference}: the data set has no {inside!r}", hint="check the path on the hub's page")
    wanted = list(pick(names, reference))
    return Path(api.snapshot_download(repo, repo_type="dataset", cache_dir=cache, allow_patterns=wanted))


def _from_cache(api: HfApi, repo: str, inside: str, reference: str, pick: Pick, cache: Path | None) -> Path:
    """The snapshot in the cache, if it holds every shard of the wanted splits."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    local = partial(api.snapshot_download, repo, repo_type="dataset", cache_dir=cache, local_files_only=True)
    try:
        folder = Path(local())
    except LocalEntryNotFoundError as error:
        # Files that were never wanted are missing, of course; the shards of the wanted ones are looked at below.
        if (partly := getattr(error, "snapshot_path", None)) is None:
            raise
        folder = Path(partly)
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    wanted = pick([name for name in names if _is_inside(name, inside)], reference)
    return Path(local(allow_patterns=[re.sub(r"\d+", "*", name) for name in wanted]))


def _is_inside(name: str, folder: str) -> bool:
    return not folder or name == folder or name.startswith(folder + "/")


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
