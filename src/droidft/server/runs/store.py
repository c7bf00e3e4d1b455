"""The server's own memory: the queue, how workers ended, and which client keys made which run. One SQLite file.

Everything else is in the run folders; losing this file loses the order of waiting runs and the reasons of crashes.
So one that is damaged is put aside, and one that cannot be written (locked, or on a full disk) is a `StorageError`:
what was asked for is refused, or tried again later. The queue is also held in memory, so that reading it never fails.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from droidft.errors import StorageError

Action = Literal["start", "resume"]

KEYS_KEPT_SECONDS = 7 * 86_400
LOCKED_SECONDS = 1.0
"""How long a write waits for another program that holds the file."""

logger = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS queue
  (run TEXT PRIMARY KEY, action TEXT NOT NULL, added REAL NOT NULL, place INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS endings (run TEXT PRIMARY KEY, problem TEXT NOT NULL, time REAL NOT NULL);
CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, body TEXT NOT NULL, run TEXT NOT NULL, time REAL NOT NULL);
"""


@dataclass(frozen=True)
class Waiting:
    """A run in the queue."""

    run: str
    action: Action
    added: float


class Store:
    """Rows that are on the disk when a method returns. Safe to call from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._faults():
            try:
                self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                aside = path.with_name(f"{path.name}.damaged")
                logger.error("%s is damaged (%s): kept as %s; the queue begins empty", path, error, aside.name)
                os.replace(path, aside)
                for ending in ("-wal", "-shm"):
                    path.with_name(path.name + ending).unlink(missing_ok=True)
                self._open()

    def _open(self) -> None:
        self._database = sqlite3.connect(
            self._path, timeout=LOCKED_SECONDS, check_same_thread=False, isolation_level=None
        )
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(SCHEMA)
            self._waiting = self._queue()
        except sqlite3.Error:
            self._database.close()
            raise

    def close(self) -> None:
        """Write back and close."""
        with self._lock, suppress(sqlite3.Error):
            self._database.close()

    def waiting(self) -> list[Waiting]:
        """The queue in order."""
        return list(self._waiting)

    def _queue(self) -> list[Waiting]:
        rows = self._database.execute("SELECT run, action, added FROM queue ORDER BY place").fetchall()
        return [Waiting(str(run), cast("Action", action), _seconds(added)) for run, action, added in rows]

    def enqueue(self, run: str, action: Action) -> None:
        """Put a run at the end; one that waits already stays where it is."""
        self._do(
            "INSERT OR IGNORE INTO queue SELECT ?, ?, ?, COALESCE(MAX(place), 0) + 1 FROM queue",
            run,
            action,
            time.time(),
        )

    def dequeue(self, run: str) -> bool:
        """Take a run out; whether it was in."""
        return self._do("DELETE FROM queue WHERE run = ?", run) > 0

    def move(self, run: str, position: int) -> bool:
        """Put a waiting run at `position`, counted from 0; whether it waits at all."""
        with self._lock, self._faults():
            order = [row[0] for row in self._database.execute("SELECT run FROM queue ORDER BY place")]
            if run not in order:
                return False
            order.remove(run)
            order.insert(position, run)
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                places = [(place, name) for place, name in enumerate(order, 1)]
                self._database.executemany("UPDATE queue SET place = ? WHERE run = ?", places)
            self._waiting = self._queue()
            return True

    def endings(self) -> dict[str, str]:
        """Run -> how its last worker ended, as JSON; only of those that gave no reason themselves."""
        return {str(run): str(problem) for run, problem in self._all("SELECT run, problem FROM endings")}

    def keep_ending(self, run: str, problem: str) -> None:
        """Remember how a worker ended."""
        self._do("INSERT OR REPLACE INTO endings VALUES (?, ?, ?)", run, problem, time.time())

    def run_of_key(self, key: str) -> tuple[str, str] | None:
        """The body's hash and the run that a client key has made."""
        rows = self._all("SELECT body, run FROM keys WHERE key = ?", key)
        return (str(rows[0][0]), str(rows[0][1])) if rows else None

    def keep_key(self, key: str, body: str, run: str) -> None:
        """Remember that a client key has made a run; old keys are forgotten."""
        self._do("DELETE FROM keys WHERE time < ?", time.time() - KEYS_KEPT_SECONDS)
        self._do("INSERT INTO keys VALUES (?, ?, ?, ?)", key, body, run, time.time())

    def drop_ending(self, run: str) -> None:
        """Forget how a worker ended, since another one begins."""
        self._do("DELETE FROM endings WHERE run = ?", run)

    def forget(self, run: str) -> None:
        """Forget a deleted run."""
        for table in ("queue", "endings"):
            self._do(f"DELETE FROM {table} WHERE run = ?", run)

    def _all(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock, self._faults():
            return self._database.execute(statement, values).fetchall()

    def _do(self, statement: str, *values: object) -> int:
        with self._lock, self._faults():
            count = self._database.execute(statement, values).rowcount
            self._waiting = self._queue()
            return count

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn what the database or the system refuses into a sentence."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            hints = {"locked": "end the program that holds it", "full": "free some space"}
            hint = next((hint for word, hint in hints.items() if word in str(error)), "see whether it can be written")
            raise StorageError(f"{self._path} cannot be used: {error}", hint=hint) from error


def _seconds(added: object) -> float:
    """When a run was added; a value that is no number is of a file that was edited."""
    try:
        return float(str(added))
    except ValueError:
        return 0.0
