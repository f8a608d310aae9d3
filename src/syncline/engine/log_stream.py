"""One stream that a log continues, as the engine knows it between two flushes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from syncline.core.change import ChangeBatch, LogPosition
from syncline.core.checkpoint import LedgerEntry, Phase, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import SelectedStream, SyncMode
from syncline.engine.audit import Verdict
from syncline.engine.events import SchemaChanged
from syncline.engine.evolution.log_policy import LogPolicy
from syncline.engine.evolution.policy import SchemaPolicy
from syncline.engine.flush_audit import FlushAudit
from syncline.sdk.change_log import ReadsChanges, StreamCommit
from syncline.sdk.metadata import ChangeColumns
from syncline.sdk.source import Source

__all__ = ["LogStream", "change_columns", "has_log", "log_position"]


def has_log(source: Source) -> bool:
    """Whether incremental streams of this source are continued by a log."""
    return isinstance(source, ReadsChanges) and source.change_log(()) is not None


def change_columns(selected: SelectedStream, *, logged: bool, deletes: str) -> ChangeColumns:
    """What is done with the changes of a stream; NONE when no log continues it."""
    if not logged or not selected.sync_mode.incremental:
        return ChangeColumns.NONE
    if selected.sync_mode is SyncMode.INCREMENTAL_APPEND:
        return ChangeColumns.APPEND
    return ChangeColumns.MERGE_SOFT if deletes == "soft" else ChangeColumns.MERGE


def log_position(checkpoint: StreamCheckpoint, flowing: int | None) -> LogPosition | None:
    """From where the log must be there for a stream; None when it is to be copied first.

    ``flowing`` is the global position: a stream that has joined the others is there, whatever its own entry says. A
    stream whose snapshot is unfinished needs the log from the snapshot's beginning."""
    if checkpoint.phase is Phase.READING and checkpoint.plan is not None:
        end = checkpoint.plan.end
        return LogPosition.from_json(end) if checkpoint.plan.resumable and "lsn" in end else None
    if checkpoint.position is None or "lsn" not in checkpoint.position:
        return None
    position = LogPosition.from_json(checkpoint.position)
    if checkpoint.position.get("joined") and flowing is not None:
        return replace(position, lsn=max(position.lsn, flowing))
    return position


def _widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Whether every value of the one is a value of the other, by Arrow's own safe cast."""
    if pa.types.is_integer(narrow):
        return bool(pa.types.is_decimal(wide) or (pa.types.is_integer(wide) and wide.bit_width > narrow.bit_width))
    if pa.types.is_floating(narrow):
        return bool(pa.types.is_floating(wide) and wide.bit_width > narrow.bit_width)
    if pa.types.is_decimal(narrow) and pa.types.is_decimal(wide):
        whole = wide.precision - wide.scale
        return bool(wide.scale >= narrow.scale and whole >= narrow.precision - narrow.scale)
    return False


def _widened(batch: ChangeBatch, wider: Mapping[str, Field]) -> ChangeBatch:
    schema = StreamSchema(fields=tuple(wider.get(f.name, f) for f in batch.schema.fields))
    data = pa.RecordBatch.from_arrays(
        [column.cast(f.type) for column, f in zip(batch.data.columns, schema.fields, strict=True)],
        schema=schema.arrow(),
    )
    return replace(batch, schema=schema, data=data)


@dataclass(kw_only=True)
class LogStream:
    """Mutable, owned by the log's thread. ``columns`` are the destination's columns without our metadata ones,
    ``position`` what is committed or flows; ``snapshot_until``: past this LSN the snapshot's filter means nothing any
    more. ``joined``: it flows with the others. ``rows`` and ``quarantined`` count changes of this attempt."""

    selected: SelectedStream
    token: int
    checkpoint: StreamCheckpoint
    target: StreamTarget
    columns: StreamSchema
    metadata: tuple[Field, ...]
    position: LogPosition
    joined: bool
    snapshot_until: int | None = None
    rows: int = 0
    quarantined: int = 0
    bytes: int = 0
    error: SynclineError | None = None
    policy: LogPolicy | None = None
    audit: FlushAudit | None = None
    changed: list[SchemaChanged] = field(default_factory=list)  #: since the last commit
    told: list[SchemaChanged] = field(default_factory=list)  #: that became true with a commit; taken by who tells them
    shown: frozenset[str] = frozenset()  #: columns of the last batch
    verdict: Verdict | None = None  #: of the gates on the open flush
    _quality: Mapping[str, Any] | None = None  # what the next commit remembers of it

    @property
    def read_as(self) -> SelectedStream:
        """The stream with the columns that the destination knows: what the log's relation is compared with."""
        return replace(self.selected, stream=replace(self.selected.stream, schema=self.columns))

    @property
    def committed_lsn(self) -> int:
        """What the stream's own entry in the ledger says; :attr:`position` may be ahead of it without changes."""
        assert self.checkpoint.position is not None
        return LogPosition.from_json(self.checkpoint.position).lsn

    def fit(self, batch: ChangeBatch) -> tuple[StreamTarget, ChangeBatch]:
        """The target for this batch, and the batch with its types.

        A column that is new is added, a renamed one renamed, a widened one widened; one that the source dropped stays.
        A log that is read from before the snapshot may still show a narrower type than the snapshot had: its values
        are widened."""
        self._note(batch)
        if self.policy is not None:
            batch = self.policy.hold(batch, self.columns)
        if batch.schema == self.columns:
            return self.target, batch
        evolved = batch.evolution is not None and batch.evolution.columns
        former = {old: new for new, old in (batch.evolution.renamed if batch.evolution else {}).items()}
        now = {f.name: f for f in batch.schema.fields}
        kept: list[Field] = []
        wider: dict[str, Field] = {}
        for f in self.columns.fields:
            name = former.get(f.name, f.name)
            other = now.pop(name, None)
            if other is not None and other.type != f.type and _widens(other.type, f.type):
                wider[name] = f
                other = None
            elif other is not None and not evolved and other.type == f.type:
                other = None  # written another way, for example varchar(20) as it was before
            kept.append(other or replace(f, name=name))
            if kept[-1].type != f.type or (kept[-1].native != f.native and evolved):
                self._change("widened", _typed(f), _typed(kept[-1]))
        for f in now.values():
            self._change("added", None, _typed(f))
        columns = StreamSchema(fields=(*kept, *now.values()))
        if columns != self.columns:
            self.columns = columns
            self.target = replace(self.target, schema=columns.extended(*self.metadata))
        return self.target, _widened(batch, wider) if wider else batch

    def _note(self, batch: ChangeBatch) -> None:
        """What of a change of the table its columns alone do not say."""
        evolution, names = batch.evolution, frozenset(batch.schema.names)
        if evolution is not None:
            if evolution.called is not None:
                self._change("called", None, str(evolution.called))
            for new, old in evolution.renamed.items():
                self._change("renamed", old, new)
        renamed = frozenset(evolution.renamed.values() if evolution is not None else ())
        for name in sorted(self.shown - names - renamed):
            self._change("dropped", name, None)
        self.shown = names

    def follow_policy(self, policy: SchemaPolicy) -> LogStream:
        """Let the connection's policy judge what changes from now on."""
        if not policy.follows_all:

            def tell(field: Field) -> None:
                self._change("added", None, _typed(field))

            self.policy = LogPolicy(policy=policy, stream=self.selected.source_name, tell=tell)
        return self

    def _change(self, change: str, before: str | None, after: str | None) -> None:
        self.changed.append(SchemaChanged(stream=str(self.selected.name), change=change, before=before, after=after))

    def judged(self, verdict: Verdict) -> None:
        """The gates let the open flush pass: the next commit remembers it where they say something new."""
        assert self.audit is not None
        self.verdict = verdict
        self._quality = self.audit.record(self.checkpoint.quality, verdict, sync_id=self.target.sync_id)

    def commit(self, lsn: int, *, joined: bool = False) -> StreamCommit:
        """The stream's part in the commit of a flush that ends at ``lsn``; ``joined``: and from then on it flows with
        the others. Becomes true by :meth:`committed`."""
        snapshot = self.position.snapshot
        if self.snapshot_until is not None and lsn >= self.snapshot_until:
            snapshot = None
        position: dict[str, Any] = LogPosition(lsn=lsn, snapshot=snapshot).to_json()
        if self.joined or joined:
            position["joined"] = True
        checkpoint = self.checkpoint.next(
            position=position,
            schema=self.target.schema,
            sync_id=self.target.sync_id,
            quality=self.checkpoint.quality if self._quality is None else self._quality,
        )
        return StreamCommit(target=self.target, checkpoint=checkpoint, token=self.token)

    def refused(self, quality: Mapping[str, Any]) -> StreamCommit:
        """For a stream that its gates have stopped: the entry says why, and everything else in it stays."""
        return StreamCommit(target=self.target, checkpoint=self.checkpoint.next(quality=quality), token=self.token)

    def committed(self, commit: StreamCommit) -> None:
        """The commit stands."""
        self.checkpoint = commit.checkpoint
        self.told += self.changed
        self.changed = []
        if self._quality is not None and self.audit is not None and self.verdict is not None:
            self.audit.tell(self.verdict, sync_id=self.target.sync_id, rows=self.rows)
        self.verdict, self._quality = None, None
        assert self.checkpoint.position is not None
        self.position = LogPosition.from_json(self.checkpoint.position)
        self.joined = bool(self.checkpoint.position.get("joined"))
        if self.position.snapshot is None:
            self.snapshot_until = None

    def restore(self, entry: LedgerEntry | None) -> None:
        """Be what the ledger says. ``conflict`` when somebody else has taken the stream."""
        if entry is None or entry.token != self.token:
            raise SynclineError(
                ErrorKind.CONFLICT,
                "another attempt has taken over",
                hint="nothing is lost: its commits stand, and this attempt must end",
                where={"stream": str(self.selected.name)},
                final=True,
            )
        self.checkpoint = entry.checkpoint
        assert self.checkpoint.position is not None
        self.position = LogPosition.from_json(self.checkpoint.position)
        self.joined = bool(self.checkpoint.position.get("joined"))
        self.undo()

    def undo(self) -> None:
        """A flush was rolled back: the columns are those of the last commit again."""
        assert self.checkpoint.schema is not None
        names = {f.name for f in self.metadata}
        self.columns = StreamSchema(fields=tuple(f for f in self.checkpoint.schema.fields if f.name not in names))
        self.target = replace(self.target, schema=self.checkpoint.schema)
        self.changed, self.shown = [], frozenset()
        self.verdict, self._quality = None, None


def _typed(f: Field) -> str:
    return f"{f.name} {f.native or f.type}"
