"""One stream during one attempt: from the fencing token to the last commit. Used by the coordinator's thread only."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from syncline.core.change import LogPosition
from syncline.core.checkpoint import LedgerEntry, Phase, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import StreamSchema
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.audit import Audit, Verdict
from syncline.engine.events import Log, PartitionCommitted, StreamPlanned
from syncline.engine.evolution.renaming import follow_renames
from syncline.engine.flush_audit import FlushAudit, ensure_decidable
from syncline.engine.log_stream import LogStream, change_columns
from syncline.engine.phase import StepKind, next_step
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.task import PartitionTask, TaskOutcome
from syncline.sdk.destination import Destination
from syncline.sdk.metadata import metadata_constants, metadata_fields
from syncline.sdk.source import Source

__all__ = ["StreamRun", "target_for"]


def target_for(
    spec: AttemptSpec,
    selected: SelectedStream,
    *,
    write: WriteMode,
    generation: int,
    sync_id: str,
    logged: bool = False,
    lsn: int | None = None,
    options: Mapping[str, object] | None = None,
) -> StreamTarget:
    """The destination's view of a selected stream for one plan, metadata columns included. ``logged``: a log continues
    the source's incremental streams; ``lsn``: where in it the plan's snapshot was begun. ``options``: more of the
    target's own."""
    changes = change_columns(selected, logged=logged, deletes=spec.deletes)
    schema = selected.stream.schema.extended(*metadata_fields(spec.metadata, changes))
    if len(set(schema.names)) != len(schema.names):
        raise SynclineError(
            ErrorKind.SCHEMA,
            "a column of the source has the name of one of our metadata columns",
            hint="set metadata_columns to another style, or leave the column out",
            where={"stream": str(selected.name)},
        )
    constants = metadata_constants(
        spec.metadata,
        extracted_at=spec.started_at,
        sync_id=sync_id,
        generation=generation,
        changes=changes,
        lsn=lsn,
    )
    own: dict[str, object] = {} if constants is not None else {"raw": False}
    if lsn is not None:
        own["lsn"] = lsn
    return StreamTarget(
        connection=spec.connection,
        stream=selected.name,
        schema=schema,
        write=write,
        generation=generation,
        sync_id=sync_id,
        sync_date=spec.sync_date,
        primary_key=selected.primary_key,
        cursor_field=selected.cursor_field,
        dedupe=write is WriteMode.REPLACE and selected.sync_mode.deduped,
        dialect=selected.stream.dialect,
        deletes=spec.deletes,
        constants=constants or {},
        options={**(options or {}), **own},
    )


class StreamRun:
    """Plans the stream, gives out its tasks, commits their stages. States: made, started, finished.

    Counts are of this attempt. The ledger is always one act ahead of this object: it is changed only by
    :meth:`_commit`, which advances the destination first and our memory after.
    """

    def __init__(
        self,
        spec: AttemptSpec,
        selected: SelectedStream,
        source: Source,
        destination: Destination,
        emit: EventSink,
        *,
        logged: bool = False,
    ) -> None:
        #: a log continues this stream once its copy is whole
        self.logged = logged and selected.sync_mode.incremental
        self.selected = selected
        self.name = str(selected.name)
        self.finished = False
        self.rows_read = self.rows_written = self.rows_quarantined = self.bytes_read = 0
        self._spec, self._source, self._destination, self._emit = spec, source, destination, emit
        self._began = time.monotonic()
        self._token = 0
        self._checkpoint = StreamCheckpoint()
        self._target: StreamTarget | None = None
        self._plan: ReadPlan | None = None
        self._tasks: list[PartitionTask] = []
        #: stages that are all committed in one act at the end: their plan cannot be resumed, or gates judge it first
        self._held: list[Staged] = []
        self._audit = Audit(selected, destination, emit)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def needs_log_from(self) -> int | None:
        """The LSN from which the log goes on with what is being copied; None when nothing is."""
        return None if self._plan is None else self._plan.end.get("lsn")

    def start(self) -> None:
        """Fence, plan, commit the plan, prepare. Afterwards :meth:`next_task` gives the work; it may be none at all."""
        self._audit.ensure_possible(self._aim(WriteMode.APPEND, generation=0, sync_id="").schema)
        if self.logged:
            ensure_decidable(self._audit.gates, self._destination, self._log_write)
        failpoint("fence.before")
        entry: LedgerEntry = self._destination.fence(self._spec.connection, self.selected.name)
        failpoint("fence.after")
        self._token, self._checkpoint = entry.token, entry.checkpoint
        if self._checkpoint.phase is Phase.IDLE and self._checkpoint.sync_id == self._spec.sync_id:
            # An earlier attempt of this very job finished the stream and failed before it could say so.
            self.finished = True
            return
        if not self.logged:
            target = self._aim(WriteMode.APPEND, generation=self._checkpoint.generation, sync_id=self._spec.sync_id)
            self._checkpoint = follow_renames(self._destination, self.selected, target, self._checkpoint, self._token)
        self._make_plan()
        if self.finished:
            return
        failpoint("plan.committed")
        assert self._target is not None
        assert self._plan is not None
        recovered = self._destination.prepare(self._target, self._checkpoint, self._token)
        failpoint("prepare.after")
        waiting = [p for p in self._plan.partitions if p.id not in self._checkpoint.done]
        known = {p.id for p in waiting}
        for staged in recovered:
            if staged.partition in known:
                self._take(staged)
                waiting = [p for p in waiting if p.id != staged.partition]
        self._tasks = [self._task(p) for p in reversed(waiting)]
        if self._all_done():
            self._finish()

    def next_task(self) -> PartitionTask | None:
        """A task that nobody has yet, or None."""
        return self._tasks.pop() if self._tasks else None

    @property
    def has_tasks(self) -> bool:
        return bool(self._tasks)

    def take(self, outcome: TaskOutcome) -> None:
        """Commit what a task laid down, and finish the stream after its last one. Raises the task's error."""
        self.rows_read += outcome.rows_read
        self.bytes_read += outcome.bytes_read
        if outcome.error is not None:
            raise outcome.error
        assert outcome.staged is not None
        self._take(outcome.staged)
        if self._all_done():
            self._finish()

    def _make_plan(self) -> None:
        target = self._aim(WriteMode.APPEND, generation=0, sync_id="")
        self._forget_other_method()
        step = next_step(
            self.selected.sync_mode,
            self._checkpoint,
            target.schema,
            retain=self._spec.retain,
            gates=self._audit.fingerprint,
        )
        if self.logged and step.kind is StepKind.INCREMENT:
            self.finished = True  # the log goes on where it was
            return
        if step.note:
            self._emit(Log(level="INFO", stream=self.name, message=step.note))
        resumed = step.kind is StepKind.RESUME
        sync_id = self._checkpoint.sync_id if resumed else self._spec.sync_id
        changes: Mapping[str, object] = {"schema": target.schema}
        if resumed:
            assert self._checkpoint.plan is not None
            self._plan = self._checkpoint.plan
            if self._checkpoint.quality.get("gates", "") != self._audit.fingerprint:
                message = "the quality gates changed while an increment was unfinished: its first part is not judged"
                self._emit(Log(level="WARN", stream=self.name, message=message))
                changes = {**changes, "quality": {**self._checkpoint.quality, "gates": self._audit.fingerprint}}
        else:
            if step.kind is StepKind.SNAPSHOT:
                self._plan = self._source.snapshot(self.selected)
            else:
                assert self._checkpoint.position is not None
                self._plan = self._source.read_since(self.selected, self._checkpoint.position)
        self._target = self._aim(
            step.write,
            generation=step.generation,
            sync_id=sync_id,
            lsn=self._plan.end.get("lsn") if self.logged else None,
        )
        if not resumed:
            failpoint("plan.made")
            if self._nothing_new(step.kind, target.schema):
                return
            changes = {
                "phase": Phase.READING,
                "plan": self._plan,
                "write": step.write,
                "done": frozenset(),
                "generation": step.generation,
                "schema": target.schema,
                "rows": 0,
                "sync_id": sync_id,
                "quality": self._audit.begun(self._checkpoint.quality),
            }
        self._commit([], changes)
        self._emit(
            StreamPlanned(
                stream=self.name,
                write=step.write.value,
                partitions=len(self._plan.partitions),
                done=len(self._checkpoint.done),
                resumed=resumed,
                estimated_rows=self._plan.estimated_rows,
                estimated_bytes=self._plan.estimated_bytes,
                note=self._plan.note,
            )
        )

    def _aim(self, write: WriteMode, *, generation: int, sync_id: str, lsn: int | None = None) -> StreamTarget:
        return target_for(
            self._spec,
            self.selected,
            write=write,
            generation=generation,
            sync_id=sync_id,
            logged=self.logged,
            lsn=lsn,
            options=self._audit.options,
        )

    def _forget_other_method(self) -> None:
        """A cursor's position means nothing to a log, and the other way round: then the stream is copied anew."""
        known = self._checkpoint
        if known.plan is not None and ("lsn" in known.plan.end) != self.logged and self.selected.sync_mode.incremental:
            known = replace(known, phase=Phase.IDLE, plan=None, write=None, done=frozenset())
        if known.position is not None and ("lsn" in known.position) != self.logged:
            note = "changes were found in another way before, so the stream is copied anew"
            self._emit(Log(level="INFO", stream=self.name, message=note))
            known = replace(known, position=None)
        self._checkpoint = known

    @property
    def _log_write(self) -> WriteMode:
        """How the log's changes are written."""
        return WriteMode.MERGE if self.selected.sync_mode.deduped else WriteMode.APPEND

    def log_stream(self) -> LogStream:
        """What the log needs to go on with this stream, once :attr:`finished`."""
        known = self._checkpoint
        assert known.position is not None
        assert known.schema is not None
        target = self._aim(self._log_write, generation=known.generation, sync_id=self._spec.sync_id)
        own = self.selected.stream.schema.names
        metadata = tuple(f for f in target.schema.fields if f.name not in own)
        names = {f.name for f in metadata}
        return LogStream(
            selected=self.selected,
            token=self._token,
            checkpoint=known,
            # Nothing is constant in changes: each row carries its own metadata.
            target=replace(target, schema=known.schema, constants={}),
            columns=StreamSchema(fields=tuple(f for f in known.schema.fields if f.name not in names)),
            metadata=metadata,
            position=LogPosition.from_json(known.position),
            joined=bool(known.position.get("joined")),
            audit=FlushAudit(self._audit),
        ).follow_policy(self._spec.evolution)

    def _nothing_new(self, kind: StepKind, schema: StreamSchema) -> bool:
        """An increment without partitions needs no plan and no publishing: at most the position moves."""
        assert self._plan is not None
        before = self._checkpoint
        if kind is not StepKind.INCREMENT or self._plan.partitions or before.schema != schema:
            return False
        verdict = self._audit.verdict_of_nothing(before)
        self._audit.tell(verdict, sync_id=self._spec.sync_id, rows=0)
        if verdict.error is not None:
            raise verdict.error
        if before.position != dict(self._plan.end):
            self._commit([], {"position": dict(self._plan.end), "sync_id": self._spec.sync_id})
        self._source.acknowledge(self.selected, self._plan.end)
        self.finished = True
        return True

    def _task(self, partition: Partition) -> PartitionTask:
        assert self._target is not None
        return PartitionTask(
            source=self._spec.source,
            destination=self._spec.destination,
            work_dir=self._spec.work_dir,
            selected=self.selected,
            partition=partition,
            target=self._target,
            token=self._token,
            extracted_at=self._spec.started_at,
            concurrency=self._spec.concurrency,
        )

    def _take(self, staged: Staged) -> None:
        assert self._plan is not None
        assert self._target is not None
        failpoint("commit.before")
        # Append and merge become visible with each commit. A plan that would start over after a crash must therefore be
        # committed in one act, or its first rows would come twice.
        # What gates may hold back waits for their verdict, and so does what follows too many rows that were set aside.
        visible = self._target.write is not WriteMode.REPLACE
        if visible and (not self._plan.resumable or self._audit.holds or self._held or self._too_many(staged)):
            self._held.append(staged)
        else:
            self._commit_data([staged])
        failpoint("commit.after")

    def _commit_data(self, staged: list[Staged], **changes: object) -> None:
        rows = sum(s.rows for s in staged)
        done = self._checkpoint.done | {s.partition for s in staged}
        quality = self._audit.with_stages(self._checkpoint.quality, staged)
        self._commit(staged, {"done": done, "rows": self._checkpoint.rows + rows, "quality": quality, **changes})
        self._count(staged)

    def _too_many(self, staged: Staged) -> bool:
        known = self._checkpoint
        aside = int(known.quality.get("aside", 0)) + staged.quarantined
        return staged.quarantined > 0 and self._audit.too_many(known.rows + staged.rows, aside)

    def _count(self, staged: list[Staged]) -> None:
        for s in staged:
            self.rows_written += s.rows
            self.rows_quarantined += s.quarantined
            self._emit(
                PartitionCommitted(
                    stream=self.name,
                    partition=s.partition,
                    rows=s.rows,
                    quarantined=s.quarantined,
                    sequence=self._checkpoint.sequence,
                    bytes=s.bytes,
                    files=list(s.files),
                )
            )

    def _all_done(self) -> bool:
        assert self._plan is not None
        return len(self._checkpoint.done) + len(self._held) == len(self._plan.partitions)

    def _finish(self) -> None:
        assert self._plan is not None
        failpoint("publish.before")
        assert self._target is not None
        held, self._held = self._held, []
        verdict = self._audit.verdict(self._target, self._checkpoint, held, self._token)
        failpoint("audit.judged")
        if verdict.error is not None:
            self._hold_back(held, verdict)
            raise verdict.error
        position = dict(self._plan.end) if self.selected.sync_mode.incremental else None
        self._publish(held, verdict, position)

    def _hold_back(self, held: list[Staged], verdict: Verdict) -> None:
        """The stage stays as it is: only the ledger learns why."""
        sync_id = self._spec.sync_id
        self._commit([], {"quality": self._audit.held_back(self._checkpoint.quality, verdict, sync_id=sync_id)})
        failpoint("audit.held")
        self._audit.tell(verdict, sync_id=sync_id, rows=self._checkpoint.rows + sum(s.rows for s in held))

    def _publish(self, held: list[Staged], verdict: Verdict, position: Mapping[str, Any] | None) -> None:
        rows = self._checkpoint.rows + sum(s.rows for s in held)
        quality = self._audit.with_stages(self._checkpoint.quality, held)
        self._commit(
            held,
            {
                "phase": Phase.IDLE,
                "plan": None,
                "write": None,
                "done": frozenset(),
                "position": position,
                "sync_id": self._spec.sync_id,
                "rows": rows,
                "quality": self._audit.passed(quality, verdict, rows=rows, sync_id=self._spec.sync_id),
            },
            publish=True,
        )
        self._count(held)
        self._audit.tell(verdict, sync_id=self._spec.sync_id, rows=rows)
        failpoint("publish.after")
        if position is not None:
            # Rule 5: confirm downstream, remember, then confirm upstream. The commit above has made it durable.
            self._source.acknowledge(self.selected, position)
        self.finished = True
        failpoint("finish.after")

    def _commit(self, staged: list[Staged], changes: Mapping[str, object], *, publish: bool = False) -> None:
        assert self._target is not None
        following = replace(self._checkpoint, sequence=self._checkpoint.sequence + 1, **changes)  # type: ignore[arg-type]
        self._destination.commit(self._target, staged, following, self._token, publish=publish)
        self._checkpoint = following


def now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)


def new_sync_id() -> str:
    """A short id, sortable by time: milliseconds in hex and 32 random bits."""
    return f"{int(time.time() * 1000):011x}{uuid.uuid4().hex[:8]}"
