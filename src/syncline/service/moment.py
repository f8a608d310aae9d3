"""Bringing a connection that follows a log to one moment of its source, for as long as somebody compares both ends."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.hold import EXPIRY_SECONDS, Hold, HoldRequest
from syncline.jobs.launcher import InProcessLauncher
from syncline.sdk.connector import connector
from syncline.sdk.reference import validated
from syncline.service.fan_out import sync_parts
from syncline.service.project import Connection
from syncline.service.sync import SyncOutcome, sync_connection
from syncline.settings import Settings
from syncline.verify.moment import FixedMoment, fixed_moment

__all__ = ["common_moment"]

_PATIENCE_SECONDS = 120.0


@contextmanager
def common_moment(connection: Connection, settings: Settings) -> Iterator[FixedMoment]:
    """Both ends at one place of the log: the destination holds exactly what was committed before the moment's LSN.

    When nobody syncs the connection, it is synced up to there; else the running sync is asked to go there and to wait
    (its log is received meanwhile). Raises what the sync raises; ``conflict`` when a running one does not answer."""
    source = validated(connector("source", connection.source.type), connection.source, "source")
    work_dir = settings.scratch(connection.folder_name)
    try:
        with fixed_moment(source, work_dir) as moment:
            outcome = _synced(connection, settings, moment.lsn)
            if outcome.result.error is not None:
                raise outcome.result.error
            yield moment
            return
    except SynclineError as error:
        if error.kind is not ErrorKind.CONFLICT or "being synced" not in error.message:
            raise
    with _held(Hold(work_dir)) as (hold, name):
        _wait(hold, HoldRequest(id=name, until=None))
        with fixed_moment(source, work_dir) as moment:
            _wait(hold, HoldRequest(id=name, until=moment.lsn))
            yield moment


def _synced(connection: Connection, settings: Settings, until: int) -> SyncOutcome:
    if connection.destination_name is not None:
        (outcome,) = sync_parts([connection], settings, lambda part: lambda event: None, until=until, max_attempts=1)
        return outcome
    return sync_connection(connection, settings, InProcessLauncher(), lambda event: None, until=until, max_attempts=1)


@contextmanager
def _held(hold: Hold) -> Iterator[tuple[Hold, str]]:
    """The request is renewed until the block ends, then withdrawn."""
    name, ended = uuid.uuid4().hex, threading.Event()
    hold.ask(HoldRequest(id=name, until=None))

    def renew() -> None:
        while not ended.wait(EXPIRY_SECONDS / 4):
            hold.renew()

    keeper = threading.Thread(target=renew, name="hold", daemon=True)
    keeper.start()
    try:
        yield hold, name
    finally:
        ended.set()
        keeper.join()
        hold.release()


def _wait(hold: Hold, request: HoldRequest) -> int:
    hold.ask(request)
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        lsn = hold.answered(request)
        if lsn is not None:
            return lsn
        time.sleep(0.05)
    raise SynclineError(
        ErrorKind.CONFLICT,
        f"the running sync did not stop at one place within {_PATIENCE_SECONDS:g} s",
        hint="its streams are still being copied or far behind: see its progress, and verify when it has caught up",
    )
