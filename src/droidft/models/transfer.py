"""What a request to a hub can end in, in words; and waiting where the hub asks for it. For models and data sets."""

from __future__ import annotations

import email.utils
import errno
import importlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from droidft.errors import DownloadError, DroidError, StorageError, UploadError
from droidft.support.progress import Progress

T = TypeVar("T")

ATTEMPTS = 4
LONGEST_PAUSE = 300.0
"""Seconds. A hub that asks for more is not waited for."""
AGAIN = "check the connection and run the same command again: it goes on where this one stopped"
AGAIN_UP = "check the connection and run the same command again: files that the hub has whole are not sent again"
_USER = re.compile(r"(?<=//)[^/@]*@")
"""Name and password in the address of a proxy."""
_ADDRESS = re.compile(r"(https?://[^\s'\"?]*)\?[^\s'\"]*")
"""An address with a query, which in those of a storage service is a signature: whoever has it may write there."""
_TOKEN = re.compile(r"\bhf_\w{8,}")
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


@dataclass(frozen=True)
class _Way:
    """What differs between a download and an upload: the kind of error, and how it is told."""

    kind: type[DownloadError] | type[UploadError]
    done: str
    again: str
    refused: Callable[[str, list[BaseException], Any], DroidError]


@contextmanager
def worded(what: str, *, kept_in: object) -> Iterator[None]:
    """Let whatever a download of `what` ends in become a sentence. What it brought so far is `kept_in` that folder.

    Raises:
        DownloadError: unreachable, unknown, gated, busy, cut off, or a proxy that cannot be used.
        StorageError: the disk is full or read-only.
    """
    with _in_words(what, kept_in, _Way(DownloadError, "downloaded", AGAIN, _refused)):
        yield


@contextmanager
def worded_upload(what: str) -> Iterator[None]:
    """Let whatever an upload to the repository `what` ends in become a sentence, without tokens and signatures.

    Raises:
        UploadError: unreachable, not allowed, full, changed meanwhile, busy, cut off, or a proxy that cannot be used.
    """
    with _in_words(what, None, _Way(UploadError, "uploaded", AGAIN_UP, _upload_refused)):
        yield


@contextmanager
def _in_words(what: str, kept_in: object, way: _Way) -> Iterator[None]:
    try:
        yield
    except DroidError:
        raise
    except Exception as error:  # httpx, huggingface_hub and their backends raise some twenty kinds, and change them
        causes = list(_chain(error))
        if not any(isinstance(each, _foreseen()) for each in causes):
            raise
        raise _worded(what, causes, kept_in, way) from error


def broken_connection() -> tuple[type[BaseException], ...]:
    """What is raised while a file comes, and is worth another try."""
    http = _http()
    return (http.NetworkError, http.RemoteProtocolError, http.TimeoutException)


def patiently(what: str, ask: Callable[[], T], progress: Progress | None = None) -> T:
    """What `ask` gives. Where the hub has no time (status 429 or 503) it is asked again, as late as it says.

    Waiting is reported to `progress`, and ends with whatever that raises.
    """
    for attempt in range(ATTEMPTS):
        try:
            return ask()
        except Exception as error:  # looked at below; anything else goes on up
            pause = _pause(error, attempt)
            if pause is None or attempt == ATTEMPTS - 1:
                raise
            _wait(pause, f"{what}: the hub is busy, waiting {pause:.0f} s", progress)
    raise AssertionError


def _wait(pause: float, text: str, progress: Progress | None) -> None:
    end = time.monotonic() + pause
    while (left := end - time.monotonic()) > 0:
        if progress is not None:
            progress(text, 0, 0)
        time.sleep(min(left, 0.5))


def _pause(error: Exception, attempt: int) -> float | None:
    """Seconds to wait before asking again; None where that is of no use."""
    response = _response(error)
    if response is None or response.status_code not in (429, 503):
        return None
    asked = _seconds(response.headers.get("retry-after", ""))
    pause = float(2**attempt) if asked is None else asked
    return pause if pause <= LONGEST_PAUSE else None


def _seconds(given: str) -> float | None:
    """Of a `Retry-After` header: a number of seconds, or a date."""
    if given.strip().isdecimal():
        return float(given[:9])
    try:
        return max(email.utils.parsedate_to_datetime(given).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, and so on."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _foreseen() -> tuple[type[BaseException], ...]:
    # RuntimeError: a failed transfer. ImportError: SOCKS without its package. ValueError: a malformed proxy or id.
    http = _http()
    return (http.HTTPError, http.InvalidURL, OSError, RuntimeError, ImportError, ValueError)


def _http() -> Any:
    """httpx or httpx2, whichever this version of huggingface_hub is built on."""
    from huggingface_hub.errors import HfHubHTTPError

    return importlib.import_module(HfHubHTTPError.__mro__[1].__module__.partition(".")[0])


def _response(error: BaseException) -> Any:
    """The hub's answer that an error is about, if it answered."""
    from huggingface_hub.errors import HfHubHTTPError

    return next((each.response for each in _chain(error) if isinstance(each, HfHubHTTPError)), None)


def _worded(what: str, causes: list[BaseException], kept_in: object, way: _Way) -> DroidError:
    for each in causes:
        if kept_in is not None and isinstance(each, OSError) and each.errno in _DISK and not _is_network(each):
            return StorageError(
                f"{what} cannot be written to {kept_in}: {each.strerror}",
                hint="free some space or make the folder writable; HF_HOME names another folder",
            )
    if (response := _response(causes[0])) is not None:
        return way.refused(what, causes, response)
    if (proxy := _of_proxy(causes, way)) is not None:
        return proxy
    through = f"; requests go through the proxy of {given}" if (given := _proxies()) else ""
    return way.kind(f"{what} could not be {way.done}: {_reason(causes)}", hint=way.again + through)


def _reason(causes: list[BaseException]) -> str:
    return next(filter(None, map(_first_line, reversed(causes))), type(causes[0]).__name__)


def _is_network(error: OSError) -> bool:
    return isinstance(error, ConnectionError | TimeoutError)


def _of_proxy(causes: list[BaseException], way: _Way) -> DroidError | None:
    """What is wrong with the proxy that the environment names, if that is it."""
    from huggingface_hub.errors import RevisionResolutionError

    given = _proxies()
    # The error left out quotes a path, which may contain any word; its cause says the same.
    telling = [each for each in causes if not isinstance(each, RevisionResolutionError)]
    text = " ".join(f"{type(each).__name__} {each}" for each in telling).lower()
    if not given or not any(word in text for word in ("proxy", "socks", "invalidurl", "port", "scheme")):
        return None
    if "socks" in text and any(isinstance(each, ImportError) for each in causes):
        hint = "`pip install socksio`, or unset it, or name an http proxy"
        return way.kind(f"the proxy of {given} needs a package that is not installed", hint=hint)
    return way.kind(
        f"the proxy cannot be used ({given}): {_reason(causes)}",
        hint="correct the variable, or unset it; NO_PROXY names exceptions",
    )


def _proxies() -> str:
    """The proxies that the environment names, without their passwords."""
    names = [name for upper in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY") for name in (upper, upper.lower())]
    return ", ".join(f"{name}={_USER.sub('', os.environ[name])}" for name in names if os.environ.get(name))


def _refused(what: str, causes: list[BaseException], response: Any) -> DownloadError:
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    status = response.status_code
    if any(isinstance(each, GatedRepoError) for each in causes):
        return DownloadError(
            f"{what} is gated: its owner asks you to accept terms",
            hint=f"accept them on the page of {what}, then `hf auth login` or set HF_TOKEN",
        )
    if any(isinstance(each, RevisionNotFoundError) for each in causes):
        return DownloadError(f"{what} has no such revision", hint="leave the revision out to get the newest")
    if status in (401, 403, 404):
        return DownloadError(
            f"the hub knows no {what!r}, or does not show it to you (status {status})",
            hint="check the spelling; for private ones run `hf auth login` or set HF_TOKEN",
        )
    if status == 429:
        hint = "run the same command again later; signing in (`hf auth login`) allows more requests"
        return DownloadError(_too_many(what, response), hint=hint)
    return DownloadError(f"the hub answered {status} for {what}", hint="run the same command again later")


def _too_many(what: str, response: Any) -> str:
    asked = response.headers.get("retry-after")
    until = f"; it asks to wait {asked} s" if asked and asked.isdecimal() else ""
    return f"the hub takes no more requests for {what} now (status 429){until}"


def _upload_refused(what: str, causes: list[BaseException], response: Any) -> UploadError:
    status = response.status_code
    its = next((text for each in causes if (text := _line(getattr(each, "server_message", None) or ""))), "")
    because = f": {its}" if its else ""
    if status == 401:
        hint = "run `hf auth login` again; where HF_TOKEN is set, it counts before that: correct or unset it"
        return UploadError(f"the hub does not accept the token for {what} (status 401){because}", hint=hint)
    if status == 403:
        hint = "use a token that may write to it (`hf auth login`), or a repository of your own"
        return UploadError(f"you may not write to {what} (status 403){because}", hint=hint)
    if status == 404:
        hint = "check the spelling of the repository and of the revision"
        return UploadError(f"the hub knows no {what!r}, or does not show it to you (status 404)", hint=hint)
    if status in (409, 412):
        hint = "look at what is there now, and run the same command again"
        return UploadError(f"{what} was changed by somebody else meanwhile (status {status}){because}", hint=hint)
    if status == 429:
        return UploadError(_too_many(what, response), hint="run the same command again later")
    # 402 and 413, of storage that is used up, come with a reason of the hub's own
    return UploadError(f"the hub answered {status} for {what}{because}", hint=AGAIN_UP)


def _first_line(error: BaseException) -> str:
    return _line(str(error))


def _line(text: str) -> str:
    """The first line of a message that holds anything, without tokens, and addresses without their queries."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return _TOKEN.sub("hf_…", _ADDRESS.sub(r"\1", first))
