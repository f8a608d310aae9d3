"""What a destination can do. The docstrings are the protocol.

Order of calls for one stream in one attempt, all in the coordinator except the writer:

    fence -> prepare -> [ writer: write* seal ]* -> commit (one per partition or more) -> commit(publish=True) -> close

A sealed stage is durable but invisible. ``commit`` makes stages visible (for REPLACE: part of the still hidden
generation) and advances the ledger **in one act**; it is refused with ``conflict`` when the token or the sequence is
not the current one. Whatever is not committed when a process dies is garbage that the next ``prepare`` removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.schema import Field
from syncline.core.stream import StreamName, SyncMode
from syncline.sdk.findings import Finding
from syncline.sdk.source import RawFormat
from syncline.sdk.time_limit import ANSWER_SECONDS

__all__ = [
    "Destination",
    "DestinationTraits",
    "RawWriter",
    "ReadsStage",
    "RunsSql",
    "StagedView",
    "TakesNote",
    "Writer",
    "WritesRaw",
]


@dataclass(frozen=True, kw_only=True)
class DestinationTraits:
    """What the engine must know before it plans. ``modes``: sync modes that it takes; ``refusals``: why not, and what
    does instead, for each of the others. ``atomic_scope``: ``stream`` or ``connection``. ``remote_stage``: whether
    workers on other machines can write its stage. ``linger_seconds``: shortest sensible time between two commits."""

    modes: frozenset[SyncMode]
    refusals: Mapping[SyncMode, str]
    atomic_scope: str = "stream"
    remote_stage: bool = False
    linger_seconds: float = 0.0


class Writer(Protocol):
    """Lays down one partition. Used by one thread; holds no more than a few batches in memory."""

    def write(self, batch: Batch) -> None:
        """Add rows. Rows with misfits, and rows that this destination finds it cannot hold, go to its quarantine
        together with the stage; schema is the target's (metadata columns included)."""
        ...

    def seal(self) -> Staged:
        """Make everything written durable and return the proof; the writer is finished afterwards.
        ``rows + quarantined`` must equal the rows that were written to it."""
        ...

    def abort(self) -> None:
        """Throw the unsealed stage away. May come at any time before ``seal`` returns, also after an error."""
        ...


class RawWriter(Protocol):
    """As :class:`Writer`, for undecoded bytes. Metadata columns come from ``target.constants``."""

    def write_raw(self, chunk: memoryview | bytes) -> None: ...

    def seal(self) -> Staged: ...

    def abort(self) -> None: ...


class Destination(Protocol):
    """Keeps streams. Every method may raise :class:`~syncline.core.errors.SynclineError` and nothing else."""

    @property
    def traits(self) -> DestinationTraits: ...

    def check(self, targets: Sequence[StreamTarget] = ()) -> list[Finding]:
        """Reachability, rights (by trying, then cleaning up), settings that would hurt, names that collide, columns
        that cannot be held. Called by ``syncline check`` and before a first sync."""
        ...

    def committed(self, connection: str, stream: StreamName) -> LedgerEntry | None:
        """The ledger's entry, None when this connection never wrote the stream. Changes nothing."""
        ...

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        """Take the next fencing token by compare-and-set and finish what a dead attempt left half published (roll
        forward). From now on commits with an older token are refused. An unknown stream gives a fresh entry:
        token 1, ``StreamCheckpoint()``. Called once per stream and attempt, first of all."""
        ...

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        """Make containers (schema, table, hidden generation), add new columns, remove garbage of dead attempts.

        Called after ``fence`` and before the first writer of a plan, again after a restart in the middle of it
        (``checkpoint.plan`` is then the same plan and ``checkpoint.done`` what must be kept). Returns sealed stages of
        dead attempts for partitions of this plan that can be committed without reading again; usually none.
        Raises ``schema`` when the existing container has a column of a type into which the new one does not fit."""
        ...

    def writer(self, target: StreamTarget, partition: str, token: int) -> Writer:
        """A writer for one partition; several at once for different partitions, in threads or other processes."""
        ...

    def commit(
        self,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
        *,
        publish: bool = False,
    ) -> None:
        """Make ``staged`` part of the stream and ``checkpoint`` the ledger's entry, in one act.

        ``checkpoint.sequence`` is the ledger's plus one. ``publish`` is set on the last commit of a plan: for REPLACE
        the generation becomes visible by one swap (deduped first when ``target.dedupe``) and the former one goes after.
        With no stages and ``publish=False`` it only moves the ledger (plan committed, state set or reset).
        Passes the fail points ``commit.inside`` and ``publish.inside``."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class TakesNote(Protocol):
    """Ability of a writer whose destination hands sealed stages back after a crash: it keeps the engine's note."""

    def note(self, note: Mapping[str, Any]) -> None:
        """Called at most once, before ``seal``: the note becomes :attr:`Staged.note`, durable with the stage."""
        ...


class StagedView(Protocol):
    """What lies staged, for questions in SQL before it becomes visible. Nothing can be changed through it."""

    @property
    def relation(self) -> str:
        """What stands behind FROM for the staged rows; columns have their names in the destination."""
        ...

    @property
    def place(self) -> str:
        """Where people find the rows: a table's name, a folder."""
        ...

    @property
    def published(self) -> str:
        """What stands behind FROM for the stream's visible table."""
        ...

    def table(self, name: str) -> str:
        """What stands behind FROM for another visible table (``table`` or ``schema.table``)."""
        ...

    def columns(self) -> list[str]:
        """The names of the staged rows' columns, in their order."""
        ...

    def rows(self, query: str, *, seconds: float = ANSWER_SECONDS) -> list[tuple[Any, ...]]:
        """The answer of one query; not for many rows. Raises ``config`` for a query that the system does not
        understand, ``resource`` for one that has no answer after ``seconds``."""
        ...

    def batches(self, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:
        """The staged rows in the carriers of these columns, to be looked through once more."""
        ...


@runtime_checkable
class ReadsStage(Protocol):
    """Ability: answer questions about a plan's rows before they are published."""

    def unreadable_stage(self, options: Mapping[str, Any]) -> str:
        """Why the stage of this configuration, and of a target with these options, cannot be read all the same; empty
        when it can. With ``readable_stage`` among them the target's writers were to take care that it can."""
        ...

    def staged_view(
        self, target: StreamTarget, held: Sequence[Staged], token: int
    ) -> AbstractContextManager[StagedView]:
        """For REPLACE the hidden generation, every partition of which is committed; else the stages ``held``, none of
        which is."""
        ...


@runtime_checkable
class RunsSql(Protocol):
    """Ability: run a script of the user's at the destination."""

    def run_sql(self, script: str, *, timeout: float) -> None:
        """All statements in one transaction where the system can. Raises ``data`` with the system's own message for
        what it refuses, ``transient`` after ``timeout`` seconds."""
        ...


@runtime_checkable
class WritesRaw(Protocol):
    """Ability: take a like source's bytes undecoded."""

    def accepts_raw(self, target: StreamTarget, raw: RawFormat) -> bool: ...

    def raw_writer(self, target: StreamTarget, partition: str, token: int, raw: RawFormat) -> RawWriter: ...
