"""What a source with a log, and a destination that applies changes, can do besides. The docstrings are the protocol.

The log of a source is one (a Postgres slot, a MySQL binlog) for all streams of a connection. Order of calls, all by the
coordinator's thread:

    change_log -> open -> reader* -> [ reader.read ; confirm ]* -> close

What was received and not yet needed lies in the source's *spool*, on local disk, so that the log at the source can move
on while a snapshot runs or the destination is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch, ChangeSlice, LogPosition
from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.stream import SelectedStream, StreamName
from syncline.sdk.destination import StagedView

__all__ = [
    "Applied",
    "AppliesChanges",
    "ChangeLog",
    "ChangeReader",
    "ChangeSession",
    "ForgetsConnection",
    "LogStatus",
    "ReadsChanges",
    "ReadsFlush",
    "ReportsLag",
    "SharedLog",
    "SharesLog",
    "StreamCommit",
]


@dataclass(frozen=True, kw_only=True)
class LogStatus:
    """Where the log stands; LSNs and bytes. ``end`` is the source's end of log as last heard, ``received`` up to where
    it is in the spool, ``confirmed`` what the source may forget. ``retained_bytes`` is what the source keeps for us,
    ``spool_bytes`` what we keep, ``state`` the source's word for the slot (``reserved``, ``extended``, ``unreserved``,
    ``lost``). ``seconds_left`` until the source's disk or limit is reached at the present rate, None when unknown.
    ``slot`` is the name of what keeps it there, ``budget`` what the configuration allows it to keep (None: no bound).
    """

    end: int
    received: int
    confirmed: int
    retained_bytes: int
    spool_bytes: int
    state: str
    seconds_left: float | None = None
    slot: str = ""
    budget: int | None = None


class ChangeReader(Protocol):
    """One cursor on the log for some streams, decoded. Used by one thread."""

    @property
    def position(self) -> int:
        """Everything below has been given out by :meth:`read` in whole transactions."""
        ...

    def read(self, timeout: float, max_bytes: int = 16 << 20) -> ChangeSlice | None:
        """The next slice, at most about ``max_bytes`` of Arrow data; what is there at once, else the first that comes
        within ``timeout`` seconds, else None. A slice without batches says that the log moved on without changes to
        these streams. Raises when the log cannot go on (slot gone, disk full): then nothing later was given out."""
        ...

    def add(self, selected: SelectedStream, position: LogPosition) -> None:
        """Take one more stream; ``position.lsn`` must not be below :attr:`position`. As in ``reader``, its changes
        before its own position or visible in its snapshot are left out."""
        ...

    def close(self) -> None: ...


class ChangeLog(Protocol):
    """The log of one connection, from which any number of readers read. Made and closed by the coordinator; only its
    own background threads receive. Raises :class:`~syncline.core.errors.SynclineError` and nothing else."""

    def open(self, positions: Mapping[StreamName, LogPosition | None], identity: Mapping[str, Any] | None) -> None:
        """Begin to receive. Makes what is missing at the source (slot, publication, identities when told to manage) and
        takes up what a former attempt left in the spool.

        ``positions`` are the streams of the selection; None for those to be copied first (their snapshot is planned
        after this call). ``identity`` is what :attr:`identity` was when the ledger's global entry was last committed,
        None at the first run. When the log cannot continue every given position without a gap (another server, slot
        dropped, invalidated, advanced by hand, spool lost), raises ``conflict`` (or ``schema``) with the reason and the
        plan, before anything is received."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Whose log it is, plain JSON: server, timeline, slot, spool. Stored in the ledger's global entry."""
        ...

    def end(self) -> int:
        """Ask the source: the LSN up to which everything now committed is covered. Also sends a heartbeat into the log,
        so that a reader gets past this LSN even when nobody writes."""
        ...

    def reader(self, positions: Mapping[StreamName, tuple[SelectedStream, LogPosition]], start: int) -> ChangeReader:
        """A cursor from LSN ``start`` on (not above any of ``positions``); changes of a stream before its own position,
        or visible in its snapshot, are left out. Several may be open: one for the streams that are up to date, one for
        each that catches up after its snapshot."""
        ...

    def keep(self, lsn: int) -> None:
        """No reader will ask for anything below ``lsn``: the spool may forget it."""
        ...

    def confirm(self, lsn: int) -> None:
        """Everything below ``lsn`` is durable at the destination for every stream: the source may forget it. Cheap and
        asynchronous; called after each commit. (The log itself may confirm more when its spool is durable.)"""
        ...

    def status(self) -> LogStatus:
        """Cheap: what was last heard, not a question to the source."""
        ...

    def fetch(self, selected: SelectedStream, keys: pa.RecordBatch) -> Batch:
        """The present rows with these primary keys, as :meth:`Source.read` gives them; those that are gone are left
        out. Called rarely, for rows that a running snapshot missed."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class ReadsChanges(Protocol):
    """Ability of a source: it has a log. Its :meth:`Source.snapshot` for an incremental mode then gives a plan whose
    ``end`` is a :class:`LogPosition` with a snapshot, and the engine never calls ``read_since`` for such streams."""

    def change_log(self, selection: Sequence[SelectedStream]) -> ChangeLog | None:
        """The log for these streams; None when the configuration says to read without one. Opens nothing yet."""
        ...


class SharedLog(Protocol):
    """One reception of a source's log for several destinations. Used by any thread."""

    def of(self, destination: str, selection: Sequence[SelectedStream]) -> ChangeLog:
        """The log for one destination: opened, used and closed by its own run, as often as that is tried. The first to
        open begins the reception. What one confirms or keeps counts together with what the others still need, also
        those that are away: the least of all."""
        ...

    def held_from(self, destination: str) -> int | None:
        """The LSN from which the log is kept for this destination; None before its first :meth:`ChangeLog.open` and
        after it lost its place."""
        ...

    def close(self) -> None:
        """End the reception; every log given by :meth:`of` is closed before."""
        ...


@runtime_checkable
class SharesLog(Protocol):
    """Ability of a source: it receives its log once for several destinations, into a spool that all of them read."""

    def shared_log(self, destinations: Sequence[str], *, leave_behind: bool) -> SharedLog | None:
        """``destinations`` names all of the connection's. ``leave_behind``: one that alone holds a full spool loses its
        place (its log raises ``conflict``), so that neither the others nor the source wait. None when the configuration
        says to read without a log. Opens nothing yet."""
        ...


@runtime_checkable
class ForgetsConnection(Protocol):
    """Ability of a source: it can take away what it has made for this connection."""

    def forget(self) -> list[str]:
        """Remove slot, publication and spool of the connection if they are ours; the connection is being deleted, its
        streams cannot go on afterwards. Returns what was removed, in words; nothing the second time. ``conflict`` while
        a run is going on."""
        ...


@runtime_checkable
class ReportsLag(Protocol):
    """Ability of a source: it tells where its log stands, also while no run (or another process) reads it."""

    def lag(self) -> LogStatus | None:
        """One question to the source; None when the configuration says to read without a log. ``received`` is then what
        the source was last told to be safe; ``state`` is ``absent`` when the log was never opened."""
        ...


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What one :meth:`ChangeSession.apply` did. ``rows`` changes taken in, ``quarantined`` of them set aside.
    ``missing`` are primary keys (columns of the key, in its order) of updates that left values out for rows which the
    destination does not have; None when there are none. They were not applied: the engine fetches these rows at the
    source and applies them as inserts, within the same flush."""

    rows: int
    quarantined: int = 0
    missing: pa.RecordBatch | None = None


@dataclass(frozen=True, kw_only=True)
class StreamCommit:
    """One stream's part in a commit: its next checkpoint (sequence one higher) under its token."""

    target: StreamTarget
    checkpoint: StreamCheckpoint
    token: int


class ChangeSession(Protocol):
    """Applies flushes: ``apply* commit``, again and again. Holds at most one transaction; used by one thread.

    ``target.write`` says how: MERGE applies changes to the rows of ``target.primary_key`` (``target.deletes`` hard or
    soft), APPEND writes each change as a row with the change columns filled. ``target.schema`` are the columns of the
    destination, metadata included; when it has more than the last time, the container is altered first, in the same
    transaction.
    """

    def apply(self, target: StreamTarget, batch: ChangeBatch) -> Applied:
        """Take a batch into the open flush (begin one if none is open). Nothing is visible yet. Batches of a stream
        come in log order. May be called many times within one flush (a large transaction): memory stays bounded."""
        ...

    def commit(self, commits: Sequence[StreamCommit]) -> None:
        """Make the flush visible and move the ledger of all given streams, in one act where the destination's
        ``atomic_scope`` is ``connection``, else stream by stream in the given order (each replay is harmless). Without
        an open flush it only moves the ledger. ``conflict`` when a token or sequence is not the current one. Passes
        the fail points ``apply.inside`` and ``commit.inside``."""
        ...

    def rollback(self) -> None:
        """Forget the open flush; no error when there is none. The session can be used again."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class AppliesChanges(Protocol):
    """Ability of a destination: it applies changes itself (in deduped modes nobody else can)."""

    def change_session(self, connection: str) -> ChangeSession: ...


@runtime_checkable
class ReadsFlush(Protocol):
    """Ability of a destination: answer questions about a table as its open flush would leave it."""

    def flushed_view(self, session: ChangeSession, target: StreamTarget) -> AbstractContextManager[StagedView]:
        """``session`` is one of ours with an open flush; afterwards it can be committed or rolled back as before. The
        view's ``relation`` is the stream's whole table with the flush applied (rows marked as deleted included), and
        tables that it names show the same flush. Changes nothing and shows nobody else anything. After an error of the
        view the session can only be rolled back."""
        ...
