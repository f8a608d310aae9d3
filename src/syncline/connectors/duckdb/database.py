"""The database file: made so that no half of it is ever seen, opened for one act, closed after it.

DuckDB lets one process in. So the file is open only while something is committed, and other processes hand their rows
over as staged files. Within this process one lock per file keeps threads from opening it side by side.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.connectors.duckdb.errors import LockedError, from_duckdb, from_os
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Database"]

_locks: dict[Path, threading.Lock] = {}
_locks_guard = threading.Lock()

#: First pause while the file is held elsewhere; each following one is half as long again, up to the second.
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


class Database:
    """One database file. ``side`` is the folder beside it that holds what is not committed yet."""

    def __init__(self, config: DuckdbDestinationConfig) -> None:
        self.path = config.destination_path.resolve()
        self.side = self.path.with_name(self.path.name + ".syncline")
        self.lock_timeout = config.lock_timeout
        self._version = config.storage_version
        self._settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": config.memory_limit,
            "threads": config.threads,
            # Rows of a batch need not be kept in line with others: insertion then holds fewer of them.
            "preserve_insertion_order": False,
            # Made by DuckDB when it needs it, in a folder that must be there; ours beside the file comes and goes.
            "temp_directory": f"{self.path}.tmp",
            # Closing the file would rewrite row groups only to join small ones: with 16 commits of 125,000 rows that
            # costs 1.7 s of CPU per million. Deleted rows are another matter: see :func:`.loading.reclaim`.
            "max_vacuum_tasks": 0,
            # Nothing is ever fetched from the network on the way.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }

    @property
    def exists(self) -> bool:
        return self.path.exists()

    @contextmanager
    def opened(self, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """The open database; one transaction at most, rolled back when an exception leaves the block.

        Raises ``conflict`` when another process holds the file for longer than ``lock_timeout``; every error of DuckDB
        that leaves the block has become ours.
        """
        deadline = time.monotonic() + self.lock_timeout
        lock = _lock_of(self.path)
        if not lock.acquire(timeout=max(self.lock_timeout, 0.001)):
            raise SynclineError(
                ErrorKind.CONFLICT,
                "another thread of this process is committing to the database file",
                hint="run again when it has ended, or raise lock_timeout",
                where={"connector": "duckdb", "path": str(self.path)},
            )
        try:
            connection = self._connect(deadline, read_only=read_only)
            try:
                yield connection
            except duckdb.Error as error:
                self._discard(connection)
                raise from_duckdb(error, self.path) from error
            except BaseException:
                self._discard(connection)
                raise
            self._close(connection)
        finally:
            lock.release()

    def _connect(self, deadline: float, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._connect_once(read_only=read_only)
            except LockedError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _connect_once(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        try:
            if not read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if not self.exists:
                    self._make()
            connection = duckdb.connect(str(self.path), read_only=read_only, config=self._settings)
            connection.execute("SET TimeZone = 'UTC'")
            return connection
        except duckdb.Error as error:
            raise from_duckdb(error, self.path) from error
        except OSError as error:
            raise from_os(error, self.path) from error

    def _make(self) -> None:
        """A fresh database under another name, then linked to its own: a kill on the way leaves no file that DuckDB
        would refuse, and of two that do it at once one wins."""
        self.side.mkdir(exist_ok=True)
        fresh = self.side / f"new-{os.getpid()}-{threading.get_ident()}.duckdb"
        fresh.unlink(missing_ok=True)
        duckdb.connect(str(fresh), config={"storage_compatibility_version": self._version}).close()
        try:
            with suppress(FileExistsError):
                os.link(fresh, self.path)
        finally:
            fresh.unlink(missing_ok=True)

    def _close(self, connection: duckdb.DuckDBPyConnection) -> None:
        # Closing rolls back what is open, moves the log into the file and lets go of the lock.
        try:
            connection.close()
        except duckdb.Error as error:
            raise from_duckdb(error, self.path) from error

    @staticmethod
    def _discard(connection: duckdb.DuckDBPyConnection) -> None:
        """Close after an error, which is the one to report."""
        with suppress(duckdb.Error):
            connection.close()


def _lock_of(path: Path) -> threading.Lock:
    with _locks_guard:
        return _locks.setdefault(path.resolve(), threading.Lock())
