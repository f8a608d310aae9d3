"""Looking for files that have arrived, for schedules that wait for them."""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id
from syncline.jobs.attempt_folder import AttemptFolder
from syncline.jobs.bell import BELL
from syncline.jobs.journal import JournalTail
from syncline.jobs.order import Order
from syncline.jobs.starter import Starter
from syncline.service.control import Control
from syncline.service.stored_connections import runnable
from syncline.store.values import ScheduledConnection

__all__ = ["FileLooks"]

_log = logging.getLogger("syncline.server")

_PATIENCE_SECONDS = 60.0


class FileLooks:
    """Looks in a process each, as attempts run, so that no driver and no slow bucket is in the server's. One look at a
    connection at a time. ``tell`` takes what was found; set by whoever makes both."""

    def __init__(self, control: Control, starter: Starter) -> None:
        self._control, self._starter = control, starter
        self._looking: set[UUID] = set()
        self.tell: Callable[[UUID, str, datetime], None] | None = None

    def look(self, connection: ScheduledConnection) -> None:
        """Begin a look; returns at once."""
        if connection.id in self._looking:
            return
        self._looking.add(connection.id)
        self._control.later(lambda: self._look(connection))

    def _look(self, connection: ScheduledConnection) -> None:
        try:
            found = self._found(connection)
            if self.tell is not None:
                self.tell(connection.id, found, datetime.now(UTC))
                BELL.ring()
        except (SynclineError, OSError) as error:
            _log.warning("connection %s: looking for files failed: %s", connection.key, error)
        finally:
            self._looking.discard(connection.id)

    def _found(self, connection: ScheduledConnection) -> str:
        ready = runnable(self._control, connection.id)
        at = datetime.now(UTC)
        spec = AttemptSpec(
            connection=ready.name,
            source=ready.source,
            destination=ready.destination,
            choices=None,
            default=ready.default_choice(),
            sync_id=new_sync_id(),
            sync_date=at.date(),
            started_at=at,
            attempt=1,
            work_dir=str(self._control.settings.scratch(ready.name)),
        )
        folder = AttemptFolder(self._control.settings.home / "looks" / uuid.uuid4().hex)
        folder.make()
        try:
            self._starter.start(Order(job=0, task="look", spec=spec), folder)
            return _answer(folder)
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)


def _answer(folder: AttemptFolder) -> str:
    tail = JournalTail(folder.journal)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for _, line in tail.read():
            if "error" in line:
                raise SynclineError.from_json(line["error"])
            return str(line["found"])
        time.sleep(0.02)
    raise SynclineError(
        ErrorKind.UNREACHABLE, f"the source did not answer within {_PATIENCE_SECONDS:g} s", hint="see its logs"
    )
