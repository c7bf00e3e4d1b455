"""Who may use the server: the token, one-time launch codes, and the cookie of a browser that signed in.

The token stands in `server/token` of the home folder, readable for its owner alone. A browser never holds it: it gets
a cookie of its own, whose hash is kept in `server/sessions.json`, so that a restart signs nobody out and signing out
is final. Removing the token's file ends every session.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import threading
import time
from collections import deque
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from droidft.server.errors import Busy, Unauthorized
from droidft.support.durable import storage_errors, write_atomically

logger = logging.getLogger(__name__)

TOKEN = re.compile(r"[A-Za-z0-9_-]{43,128}")
CODE_SECONDS = 600.0
MOST_CODES = 100
SESSION_SECONDS = 30 * 24 * 3600
MOST_SESSIONS = 1000
FAILURES, FAILURE_SECONDS = 10, 60.0


class Access:
    """The secrets of one server. Nothing is read or written before it is needed."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self._port = port
        self.cookie = f"droidft_{port}"
        """Name of the cookie; browsers share cookies among ports, so the name holds the port."""
        self._codes: dict[str, float] = {}
        self._failures: deque[float] = deque()
        self._lock = threading.Lock()

    @cached_property
    def token(self) -> str:
        """The secret that programs send as `Authorization: Bearer`; made when there is none."""
        self._make_private()
        file = self.folder / "token"
        while (token := _read_private(file)) is None:
            _create(file, secrets.token_urlsafe(32))
        return token

    def is_token(self, given: str) -> bool:
        """Whether `given` is the token."""
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.token.encode())

    def proof(self, nonce: str) -> str:
        """What only a server that holds the token can answer to `nonce`, at this port and no other."""
        return proof(self.token, self._port, nonce)

    def launch_code(self) -> str:
        """A code that signs one browser in, once, within ten minutes."""
        now = time.monotonic()
        self._codes = {code: until for code, until in self._codes.items() if until > now}
        while len(self._codes) >= MOST_CODES:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(24)
        self._codes[_hash(code)] = now + CODE_SECONDS
        return code

    def launch_url(self, server: str) -> str:
        """A link with a launch code, for the server at `http://host:port`; from now on the token's file is there."""
        assert self.token
        return f"{server}/launch?code={self.launch_code()}"

    def redeem(self, code: str) -> bool:
        """Use a launch code up; whether it was good."""
        until = self._codes.pop(_hash(code), 0.0)
        return until > time.monotonic()

    def sign_in(self, secret: str) -> str:
        """The value of a new cookie, for the token or a launch code.

        Nobody is kept out by the wrong guesses of others: the secrets are too long to be guessed, so the limit is on
        what guessing costs, and the right one is always taken.

        Raises:
            Unauthorized: it is neither.
            Busy: neither, and there were too many wrong ones within a minute.
        """
        with self._lock:
            self._check(secret)
            return self._new_session()

    def _check(self, secret: str) -> None:
        if self.is_token(secret) or self.redeem(secret):
            return
        now = time.monotonic()
        while self._failures and self._failures[0] < now - FAILURE_SECONDS:
            self._failures.popleft()
        if len(self._failures) >= FAILURES:
            raise Busy(
                f"{FAILURES} wrong tokens within a minute", hint="wait a minute, then try again", field="token"
            )
        self._failures.append(now)
        raise Unauthorized(
            "that is neither the token nor a fresh launch code",
            hint=f"run `droidft serve` again, or copy the token from {self.folder / 'token'}",
            field="token",
        )

    def is_session(self, cookie: str) -> bool:
        """Whether a cookie's value is that of a browser that signed in and did not sign out."""
        return self._sessions.get(_hash(cookie), 0.0) > time.time()

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        with self._lock:
            if self._sessions.pop(_hash(cookie), None) is not None:
                self._keep()

    @property
    def _file(self) -> Path:
        return self.folder / "sessions.json"

    @cached_property
    def _sessions(self) -> dict[str, float]:
        """Hash of each cookie's value -> when it ends."""
        self._make_private()
        text = _read(self._file)
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            kept = json.loads(text or "{}")
            if kept.get("token") == _hash(self.token):
                return {str(name): float(until) for name, until in kept["sessions"].items()}
        return {}

    def _new_session(self) -> str:
        cookie = secrets.token_urlsafe(32)
        now = time.time()
        for name in [name for name, until in self._sessions.items() if until <= now]:
            del self._sessions[name]
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=self._sessions.__getitem__)]
        self._sessions[_hash(cookie)] = now + SESSION_SECONDS
        self._keep()
        return cookie

    def _keep(self) -> None:
        kept = {"token": _hash(self.token), "sessions": self._sessions}
        write_atomically(self._file, json.dumps(kept).encode())

    def _make_private(self) -> None:
        with storage_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if stat.S_IMODE(self.folder.stat().st_mode) != 0o700:
                self.folder.chmod(0o700)


def proof(token: str, port: int, nonce: str) -> str:
    """HMAC-SHA256 by the token over a port and a `nonce`, in hexadecimal: shows that a server knows the token without
    telling it. The port keeps another program from passing the question on to the server and its answer back."""
    message = f"droidft server at port {port}: {nonce}".encode("utf-8", "surrogatepass")
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _read(file: Path) -> str | None:
    """The text of a small file that is ours and no link, or None."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None
        return opened.read(1 << 20)


def _read_private(file: Path) -> str | None:
    """The token in `file`; None when there is none that can be trusted, and then the file is removed."""
    text = (_read(file) or "").strip()
    if TOKEN.fullmatch(text) and not stat.S_IMODE(file.lstat().st_mode) & 0o077:
        return text
    if os.path.lexists(file):
        logger.warning("%s was damaged or readable for others: there is a new token now", file)
        with storage_errors(file):
            file.unlink(missing_ok=True)
    return None


def _create(file: Path, token: str) -> None:
    """Write the token, unless another server was faster: the file appears whole, and private from the start."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with storage_errors(file):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            os.fchmod(descriptor, 0o600)
            opened.write(token + "\n")
            opened.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(temporary, file)
        temporary.unlink()
