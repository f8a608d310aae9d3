"""Faults from outside, done to a running scenario. Each returns when it is over; what it disturbed must mend itself."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from tests.faults.cdc_scenario import Run, Scenario

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.proxy import Proxy

__all__ = ["FAULTS", "Ground", "durable_lsn", "paused", "small_disk"]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What can be disturbed."""

    source: PostgresServer
    destination: PostgresServer
    to_source: Proxy
    to_destination: Proxy
    scenario: Scenario
    chance: random.Random


def _crash_source(ground: Ground) -> None:
    ground.source.restart("immediate")


def _crash_destination(ground: Ground) -> None:
    ground.destination.restart("immediate")


def _destination_away(ground: Ground) -> None:
    ground.destination.stop("immediate")
    time.sleep(ground.chance.uniform(1, 3))
    ground.destination.start()


def _end_walsender(ground: Ground) -> None:
    with psycopg.connect(ground.scenario.source_dsn, autocommit=True) as session:
        session.execute(
            """
            SELECT pg_terminate_backend(active_pid)
            FROM pg_replication_slots
            WHERE active AND database = current_database()
            """
        )


def _end_sessions(ground: Ground) -> None:
    """Every session of the product at the destination, as an administrator would."""
    with psycopg.connect(ground.destination.dsn("postgres"), autocommit=True) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'syncline%%'", ()
        )


def _cut(proxy: Callable[[Ground], Proxy]) -> Callable[[Ground], None]:
    def fault(ground: Ground) -> None:
        proxy(ground).cut()

    return fault


def _refuse(proxy: Callable[[Ground], Proxy]) -> Callable[[Ground], None]:
    def fault(ground: Ground) -> None:
        proxy(ground).refuse()
        time.sleep(ground.chance.uniform(0.5, 2))
        proxy(ground).resume()

    return fault


def _stall(proxy: Callable[[Ground], Proxy]) -> Callable[[Ground], None]:
    def fault(ground: Ground) -> None:
        proxy(ground).stall(ground.chance.choice(("both", "up", "down")))
        time.sleep(ground.chance.uniform(0.5, 3))
        # Half of the time the connection does not come back: a router that forgot it.
        if ground.chance.random() < 0.5:
            proxy(ground).cut()
        proxy(ground).resume()

    return fault


FAULTS: dict[str, Callable[[Ground], None]] = {
    "source crashes": _crash_source,
    "destination crashes": _crash_destination,
    "destination is away": _destination_away,
    "walsender ended": _end_walsender,
    "sessions ended": _end_sessions,
    "source cut off": _cut(lambda g: g.to_source),
    "source refused": _refuse(lambda g: g.to_source),
    "source stalled": _stall(lambda g: g.to_source),
    "destination cut off": _cut(lambda g: g.to_destination),
    "destination refused": _refuse(lambda g: g.to_destination),
    "destination stalled": _stall(lambda g: g.to_destination),
}


@contextmanager
def paused(run: Run) -> Iterator[None]:
    """The whole process stands still, as on a machine that swaps or a virtual one that is moved."""
    run.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        run.process.send_signal(signal.SIGCONT)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Callable[[int], None]]:
    """A file system of its own at ``folder`` (root only); what it gives changes the size."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)], check=True)

    def resize(size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}m", str(folder)], check=True, capture_output=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def durable_lsn(spool: Path) -> Callable[[], int | None]:
    """Reads the spool's own mark of what is on disk: 8 bytes of name, then sequence, offset and LSN. What was on disk
    once stays so, although the mark itself may be lost in a power cut."""
    most: int | None = None

    def read() -> int | None:
        nonlocal most
        for path in spool.rglob("durable"):
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if len(data) >= 32 and data[:8] == b"SYNCDUR1":
                most = max(most or 0, int(struct.unpack_from("<QQQ", data, 8)[2]))
        return most

    return read


def is_root() -> bool:
    return os.geteuid() == 0
