"""Leading: of several servers on one store, one schedules and supervises, the others stand by.

The rule: whoever holds the lease leads. The holder gives a sign of life every :data:`BEAT_SECONDS`. Another server
takes over when it has seen none for :data:`LEASE_SECONDS` by its own clock, or at once when the holder gave the lease
back, or lived in the same home folder and is gone (its lock is free).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store import leases
from syncline.store.database import Database, Transaction
from syncline.store.job_values import Lease

__all__ = ["BEAT_SECONDS", "LEASE_SECONDS", "Leadership", "home_id"]

BEAT_SECONDS = 2.0
LEASE_SECONDS = 12.0


def home_id(home: Path) -> str:
    """The name of a home folder, made at its first use: attempts whose folders are in it can be found again by whoever
    has it, on this machine or, when it was moved or mounted, on another."""
    path = home / "id"
    with contextlib.suppress(FileExistsError), path.open("x") as file:
        file.write(f"{socket.gethostname()}-{secrets.token_hex(4)}")
    for _ in range(100):
        if written := path.read_text().strip():
            return written
        time.sleep(0.01)  # another server is just making it
    raise SynclineError(ErrorKind.CONFIG, f"{path} is empty", hint="delete it")


class Leadership:
    """This server's part in it. Used by the supervisor's thread only."""

    def __init__(self, database: Database, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self.home = home_id(home)
        self._folder = home / "servers"
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._name = secrets.token_hex(8)
        # Whoever shares our home sees by this lock whether we live; it goes with the process.
        self._lock = os.open(self._folder / self._name, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lease: Lease | None = None
        self._beat_at = 0.0
        self._seen: tuple[Lease | None, float] | None = None

    @property
    def leads(self) -> bool:
        return self._lease is not None

    @property
    def token(self) -> int:
        return self._lease.token if self._lease else 0

    def keep(self) -> bool:
        """Give a sign of life, or look whether it is our turn. To be called about every second; True when this call
        made us lead."""
        if self._lease is not None:
            if self._clock() - self._beat_at >= BEAT_SECONDS:
                with self._database.write() as tx:
                    alive = leases.beat(tx, self._lease)
                if not alive:
                    self.lose()
                self._beat_at = self._clock()
            return False
        return self._try()

    def _try(self) -> bool:
        with self._database.read() as tx:
            found = leases.find(tx)
        if self._seen is None or self._seen[0] != found:
            self._seen = (found, self._clock())
        still = self._clock() - self._seen[1]
        if found is not None and still < LEASE_SECONDS and not self._is_free(found):
            return False
        holder = json.dumps({"home": self.home, "server": self._name, "pid": os.getpid()})
        try:
            with self._database.write() as tx:
                self._lease = leases.take(tx, found, holder)
        except SynclineError as error:
            if error.kind is not ErrorKind.CONFLICT:
                raise
        self._beat_at = self._clock()
        return self._lease is not None

    def _is_free(self, lease: Lease) -> bool:
        if not lease.holder:
            return True
        holder = json.loads(lease.holder)
        return holder["home"] == self.home and not self._lives(holder["server"])

    def _lives(self, server: str) -> bool:
        try:
            descriptor = os.open(self._folder / Path(server).name, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def led_from_elsewhere(self) -> bool:
        """Whether the leader now is a server that does not see our home folder."""
        with self._database.read() as tx:
            found = leases.find(tx)
        return found is not None and bool(found.holder) and json.loads(found.holder)["home"] != self.home

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction of the leader; raises ``conflict`` when we lead no more, and then writes nothing."""
        assert self._lease is not None
        with self._database.write() as tx:
            leases.hold(tx, self._lease)
            yield tx

    def lose(self) -> None:
        """Somebody else leads."""
        self._lease = None
        self._seen = None

    def close(self) -> None:
        """Give the lease back, so that the next server begins at once."""
        with contextlib.suppress(SynclineError):
            if self._lease is not None:
                with self._database.write() as tx:
                    leases.release(tx, self._lease)
        self._lease = None
        (self._folder / self._name).unlink(missing_ok=True)
        os.close(self._lock)
