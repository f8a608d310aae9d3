"""The guard: measures every ten seconds what the source keeps for us, and sees that this stays within the budget.

In its own thread with its own session. It also sends heartbeats, and where the spool is durable it brings it to disk
and lets the source forget what is there. It tells of what it finds in the log of this process (``syncline.postgres``)
and in :attr:`Guard.measured`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from syncline.connectors.postgres.changes.config import ChangeCapture
from syncline.connectors.postgres.changes.continuity import broken_log
from syncline.connectors.postgres.changes.followed import Followed
from syncline.connectors.postgres.changes.heartbeat import Heartbeat
from syncline.connectors.postgres.changes.lsn import lsn_from_text
from syncline.connectors.postgres.changes.names import LogNames
from syncline.connectors.postgres.changes.receive import Receiver
from syncline.connectors.postgres.changes.slot import drop_slot, look_at_slot
from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.changes.watch import attached_since, catalog_horizon
from syncline.connectors.postgres.reading.transaction import SessionMaker
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Guard", "Measured", "seconds_left"]

MEASURE_SECONDS = 10.0
#: An fsync of the spool at most this often.
_SYNC_SECONDS = 1.0
#: The slot is dropped only when the retained log has been over the budget and not shrunk for so many measures: a run
#: that begins far behind is given the time to catch up.
_MEASURES_OVER = 6

_log = logging.getLogger("syncline.postgres")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The last measure; see :class:`~syncline.sdk.change_log.LogStatus` for the names."""

    end: int = 0
    confirmed: int = 0
    retained_bytes: int = 0
    state: str = "unknown"
    seconds_left: float | None = None


def seconds_left(samples: list[tuple[float, int]], room: int | None) -> float | None:
    """Until ``room`` bytes are used up, at the rate at which ``samples`` (time, retained bytes) grew. None without a
    limit, or when nothing grows."""
    if room is None or len(samples) < 2:
        return None
    (began, before), (now, after) = samples[0], samples[-1]
    rate = (after - before) / (now - began) if now > began else 0.0
    return max(room, 0) / rate if rate > 0 else None


class Guard:
    """Started once the log flows, stopped before the receiver. ``followed``: what is read of it now; ``tend`` is called
    about once a second."""

    def __init__(
        self,
        maker: SessionMaker,
        capture: ChangeCapture,
        names: LogNames,
        *,
        spool: Spool,
        receiver: Receiver,
        heartbeat: Heartbeat,
        followed: Callable[[], Sequence[Followed]],
        tend: Callable[[], None] = lambda: None,
        interval: float = MEASURE_SECONDS,
    ) -> None:
        self._maker, self._capture, self._names = maker, capture, names
        self._spool, self._receiver, self._heartbeat, self._followed = spool, receiver, heartbeat, followed
        self._tend, self._interval = tend, interval
        self._stopping = threading.Event()
        self._session: Session | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=_MEASURES_OVER + 1)
        #: What was confirmed at each of them, and how far the spool was read: of one large transaction nothing is
        #: confirmed before its end, and yet it gets on. What is read again after a failure does not count.
        self._told: deque[tuple[int, tuple[int, int]]] = deque(maxlen=_MEASURES_OVER + 1)
        self._problem = ""
        self.measured = Measured()
        self._thread = threading.Thread(target=self._run, name=f"syncline-guard-{names.slot}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when its session is closed; may be called twice, and without a start."""
        self._stopping.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(10.0)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        next_measure = next_beat = 0.0
        beat_seconds = self._capture.heartbeat.interval
        with contextlib.ExitStack() as stack:
            stack.callback(self._hang_up)
            while not self._stopping.is_set():
                try:
                    self._tend()
                    if self._capture.spool.durable:
                        self._make_durable()
                    now = time.monotonic()
                    if now >= next_beat:
                        next_beat = now + beat_seconds
                        self._heartbeat.beat(self._connected())
                    if now >= next_measure:
                        next_measure = now + self._interval
                        self._measure(self._connected())
                    self._problem = ""
                except (psycopg.Error, SynclineError) as error:
                    # The receiver says so too when it lasts, and ends the run; here it only costs a measure.
                    self._hang_up()
                    if str(error) != self._problem:
                        _log.info("the source's log cannot be measured now: %s", error)
                    self._problem = str(error)
                self._stopping.wait(min(_SYNC_SECONDS, beat_seconds, self._interval))

    def _connected(self) -> Session:
        if self._session is None or self._session.closed or self._session.broken:
            self._session = self._maker.connect()
        return self._session

    def _hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _make_durable(self) -> None:
        """Rule: the source may forget what is durable here. ``sync`` first, ``confirm`` after, never the other way."""
        if self._spool.end > self._receiver.confirmed:
            self._receiver.confirm(self._spool.sync())

    def _measure(self, session: Session) -> None:
        slot = look_at_slot(session, self._names.slot)
        row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        end = lsn_from_text(row[0])
        if slot is None:
            self.measured = Measured(end=end, state="dropped")
            return
        retained = 0 if slot.restart is None else max(end - slot.restart, 0)
        self._samples.append((time.monotonic(), retained))
        self.measured = Measured(
            end=end,
            confirmed=slot.confirmed,
            retained_bytes=retained,
            state="lost" if slot.lost else slot.state,
            seconds_left=seconds_left(list(self._samples), slot.room),
        )
        self._weigh(session, retained)
        self._watch(session)

    def _watch(self, session: Session) -> None:
        seen = catalog_horizon(session)
        for followed in self._followed():
            followed.broken.update(attached_since(session, followed.tables, followed.horizon))
            followed.horizon = seen

    def _weigh(self, session: Session, retained: int) -> None:
        told = self._receiver.confirmed
        self._told.append((told, self._spool.read_to))
        if len(self._samples) <= _MEASURES_OVER:
            return
        sizes = [size for _, size in self._samples]
        if min(sizes) < self._capture.max_retained_wal or sizes[-1] < sizes[0]:
            return
        if self._capture.on_budget == "drop_slot_and_plan_resnapshot":
            self._give_up(session, retained)
        elif told and self._told[-1] == self._told[0]:
            # Not while a first copy runs, which confirms nothing and whose end is the only help.
            self._pause(retained)

    def _pause(self, retained: int) -> None:
        """Somebody has to look: the run that confirms nothing ends, and all that it has and the slot keeps stays."""
        self._stopping.set()
        self._receiver.stop()
        self._spool.fail(
            SynclineError(
                ErrorKind.RESOURCE,
                f"the source keeps {retained / 1e9:.2f} GB of log for slot {self._names.slot}, over max_retained_wal "
                f"({self._capture.max_retained_wal / 1e9:.2f} GB), and nothing could be confirmed for a minute: paused "
                "as on_budget says",
                hint="the slot stays and nothing is lost: see why the destination takes nothing, then run again; a "
                "durable spool (replication_method.spool) lets the source forget meanwhile",
                where={"connector": "postgres"},
            )
        )

    def _give_up(self, session: Session, retained: int) -> None:
        """drop_slot_and_plan_resnapshot: the source's disk counts more than a new copy."""
        error = broken_log(
            f"the source kept {retained / 1e9:.1f} GB of log for slot {self._names.slot}, over max_retained_wal "
            f"({self._capture.max_retained_wal / 1e9:.1f} GB), and it did not shrink: the slot was dropped, as "
            "on_budget says"
        )
        self._stopping.set()
        self._receiver.stop()
        drop_slot(session, self._names.slot)
        self.measured = Measured(end=self.measured.end, state="dropped")
        _log.error("%s", error)
        self._spool.fail(error)
