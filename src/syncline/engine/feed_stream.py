"""One stream of a fed source during one attempt: its stretches, each committed together with the state after it.

A *stretch* is what comes between two commits. Its rows lie in a writer's stage; those that came after the newest state
wait in a tail in memory, so that at any moment the stage ends exactly at a state and can be committed with it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syncline.core.batch import Batch
from syncline.core.checkpoint import Phase, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.partition import ReadPlan
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.audit import Audit, Verdict
from syncline.engine.events import Log, PartitionCommitted, Progress, StreamPlanned
from syncline.engine.feed_step import FeedStep, feed_position, feed_step
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import target_for
from syncline.engine.task import noted_seal
from syncline.quality.screen import Screen
from syncline.sdk.destination import Destination, Writer
from syncline.sdk.feed import FedInto
from syncline.sdk.metadata import Normalizer

__all__ = ["FeedStream"]

_NO_STATE = object()
_PROGRESS_SECONDS = 0.5


class FeedStream:
    """Used by the coordinator's thread: ``open``, then ``take`` and ``mark`` as messages come, ``commit`` now and then,
    at last ``finish`` or ``give_up``. Counts are of this attempt; rows count as written once they are committed."""

    def __init__(
        self, spec: AttemptSpec, selected: SelectedStream, destination: Destination, emit: EventSink, *, resumable: bool
    ) -> None:
        self.selected = _with_cursor(selected)
        self.name = str(selected.name)
        self.finished = False
        self.error: SynclineError | None = None
        self.rows_read = self.rows_written = self.rows_quarantined = self.bytes_read = 0
        #: bytes in the open stage, and in the tail behind its last state
        self.bytes_open = self.bytes_tail = 0
        self._spec, self._destination, self._emit, self._resumable = spec, destination, emit, resumable
        self._audit = Audit(self.selected, destination, emit)
        self._screen: Screen | None = None
        self._began = time.monotonic()
        self._ended: float | None = None
        self._token = 0
        self._checkpoint = StreamCheckpoint()
        self._step: FeedStep | None = None
        self._target: StreamTarget | None = None
        self._normalize: Normalizer | None = None
        self._begun = False
        self._writer: Writer | None = None
        self._rows_open = 0
        self._tail: list[Batch] = []
        self._state: Any = _NO_STATE  # the newest state; covers the stage and everything before
        self._marked = False  # it is not committed yet
        self._after_state = 0  # rows behind the newest state
        self._said = self._counted = 0  # records as the source counts them, and as they arrived, at its newest state
        self._told, self._rows_told, self._bytes_told = time.monotonic(), 0, 0

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._began

    @property
    def live(self) -> bool:
        """Whether its messages still matter."""
        return not self.finished and self.error is None

    @property
    def marked(self) -> bool:
        """Whether there is a state that is not committed."""
        return self._marked

    @property
    def position(self) -> Mapping[str, Any] | None:
        """From where the source goes on (``{"feed": STATE}``), None for the beginning."""
        return self._step.position if self._step is not None else None

    @property
    def into(self) -> FedInto:
        """What becomes of its rows. Only of a stream that is open."""
        assert self._target is not None
        return FedInto(
            generation=self._target.generation,
            replaces=self._target.write is WriteMode.REPLACE,
            sync_id=self._target.sync_id,
        )

    @property
    def appends(self) -> bool:
        return self._target is not None and self._target.write is WriteMode.APPEND

    # -- the stream's life ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Fence and decide. Nothing is made at the destination before there is something to write."""
        self._audit.ensure_possible(self._aim(WriteMode.APPEND, generation=0, sync_id="").schema)
        failpoint("fence.before")
        entry = self._destination.fence(self._spec.connection, self.selected.name)
        failpoint("fence.after")
        self._token, self._checkpoint = entry.token, entry.checkpoint
        if self._checkpoint.phase is Phase.IDLE and self._checkpoint.sync_id == self._spec.sync_id:
            # An earlier attempt of this very job finished the stream and failed before it could say so.
            self.finished = True
            return
        schema = self._aim(WriteMode.APPEND, generation=0, sync_id="").schema
        step = feed_step(
            self.selected.sync_mode,
            self._checkpoint,
            schema,
            sync_id=self._spec.sync_id,
            resumable=self._resumable,
            gates=self._audit.fingerprint,
        )
        if step.note:
            self._emit(Log(level="INFO", stream=self.name, message=step.note))
        self._step = step
        if step.position is not None:
            self._state = step.position["feed"]
        sync_id = self._checkpoint.sync_id if step.resumed else self._spec.sync_id
        self._target = self._aim(step.write, generation=step.generation, sync_id=sync_id)
        own = set(self.selected.stream.schema.names)
        self._normalize = Normalizer(
            self._target.schema,
            [f for f in self._target.schema.fields if f.name not in own],
            extracted_at=self._spec.started_at,
            sync_id=sync_id,
            generation=step.generation,
        )

    def take(self, batch: Batch) -> None:
        """Rows that came. They are laid down at once, unless a state waits to be committed: then they wait behind."""
        if not batch.data.schema.equals(self.selected.stream.schema.arrow()):
            agreed = self.selected.stream.schema.arrow()
            raise SynclineError(
                ErrorKind.INTERNAL, f"the source gave columns {batch.data.schema} where {agreed} was agreed"
            )
        self.rows_read += batch.rows
        self.bytes_read += batch.bytes
        self._after_state += batch.rows
        self._tell(batch)
        failpoint("read.first")
        if self._marked:
            self._tail.append(batch)
            self.bytes_tail += batch.bytes
        else:
            self._put(batch)

    def mark(self, state: Any, records: int | None) -> None:
        """A state came: it covers every row taken so far. Raises ``data`` when the source has given more records than
        arrived here."""
        if records is not None:
            self._said += records
            self._counted += self._after_state
            if self._said > self._counted:
                raise SynclineError(
                    ErrorKind.DATA,
                    f"the source says that it gave {self._said} records; {self._counted} arrived",
                    hint="nothing of this stretch is committed; run again, and report it to the connector's author",
                )
        self._after_state = 0
        if self._holds:
            return
        self._drain()
        self._state, self._marked = state, True

    def keep(self) -> None:
        """A state of all streams together came that says nothing of this one: what it was, holds."""
        self.mark(None if self._state is _NO_STATE else self._state, None)

    def commit(self) -> None:
        """Commit the stretch with its state, if there is one; the tail begins the next."""
        if self._marked:
            assert self._step is not None
            state = feed_position(self._state, loading=self._step.write is WriteMode.REPLACE)
            if self._writer is not None or state != self._checkpoint.position:
                if self._step.write is WriteMode.REPLACE or self._writer is not None:
                    self._begin()
                self._commit(self._seal(), {"position": state})
            self._marked = False
        self._drain()

    def finish(self) -> None:
        """The source has given everything: the last stretch, and for a copy the moment at which it is seen."""
        assert self._step is not None
        self._drain()
        incremental = self.selected.sync_mode.incremental
        position = feed_position(self._state) if incremental and self._state is not _NO_STATE else None
        if incremental and self._after_state:
            again = "the next run may bring them again" if self._state is not _NO_STATE else "the next run copies anew"
            message = f"{self._after_state} records came with no state after them: {again}"
            if self._step.write is not WriteMode.MERGE:
                self._emit(Log(level="WARN", stream=self.name, message=message))
        if self._nothing_new():
            if position != self._checkpoint.position:
                self._commit([], {"position": position, "sync_id": self._spec.sync_id, "phase": Phase.IDLE})
            self._end()
            return
        self._begin()
        staged = self._seal()
        failpoint("publish.before")
        changes: dict[str, Any] = {
            "phase": Phase.IDLE,
            "plan": None,
            "write": None,
            "done": frozenset(),
            "position": position,
            "sync_id": self._spec.sync_id,
        }
        verdict = self._judged(staged, position)
        rows = self._checkpoint.rows + sum(s.rows for s in staged)
        quality = self._audit.with_stages(self._checkpoint.quality, staged)
        changes["quality"] = self._audit.passed(quality, verdict, rows=rows, sync_id=self._spec.sync_id)
        self._commit(staged, changes, publish=True)
        self._audit.tell(verdict, sync_id=self._spec.sync_id, rows=rows)
        failpoint("publish.after")
        self._end()
        failpoint("finish.after")

    def give_up(self, error: SynclineError, *, keep: bool) -> None:
        """The stream ends here. ``keep``: what lies before its newest state is good and is committed."""
        self.error = error.at(stream=self.name)
        try:
            if keep and self._marked:
                self._tail, self.bytes_tail = [], 0
                self.commit()
        except SynclineError as failed:
            self._emit(Log(level="WARN", stream=self.name, message=f"the last state could not be kept: {failed}"))
        finally:
            self.abort()
            self._ended = time.monotonic()

    def abort(self) -> None:
        """Throw away what is not committed."""
        self._tail, self.bytes_tail = [], 0
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()

    # -- steps ----------------------------------------------------------------------------------------------------

    @property
    def _holds(self) -> bool:
        """Whether states are of no use: a full copy that could not go on from them is committed in one act."""
        assert self._step is not None
        if self.selected.sync_mode.incremental:
            return False
        return not self._resumable or self._step.write is not WriteMode.REPLACE

    def _aim(self, write: WriteMode, *, generation: int, sync_id: str) -> StreamTarget:
        return target_for(
            self._spec,
            self.selected,
            write=write,
            generation=generation,
            sync_id=sync_id,
            options=self._audit.options,
        )

    def _begin(self) -> None:
        """Once, before the first writer: the ledger learns of the plan, then the containers are made."""
        if self._begun:
            return
        assert self._step is not None
        assert self._target is not None
        if not self._step.resumed:
            plan = ReadPlan(id=f"feed-{self._token}", partitions=(), end={}, resumable=False)
            changes: dict[str, Any] = {
                "phase": Phase.READING,
                "plan": plan,
                "write": self._step.write,
                "done": frozenset(),
                "generation": self._step.generation,
                "schema": self._target.schema,
                "rows": 0,
                "quality": self._audit.begun(self._checkpoint.quality),
            }
            if self._step.write is WriteMode.REPLACE:
                # A former position would be given back for a generation that holds none of its rows.
                changes |= {"sync_id": self._target.sync_id, "position": None}
            self._advance([], changes)
        failpoint("plan.committed")
        self._destination.prepare(self._target, self._checkpoint, self._token)
        failpoint("prepare.after")
        self._begun = True
        self._emit(
            StreamPlanned(
                stream=self.name,
                write=self._step.write.value,
                partitions=0,
                done=len(self._checkpoint.done),
                resumed=self._step.resumed,
                estimated_rows=self.selected.stream.estimated_rows,
                estimated_bytes=self.selected.stream.estimated_bytes,
            )
        )

    def _put(self, batch: Batch) -> None:
        assert self._target is not None
        assert self._normalize is not None
        self._begin()
        if self._writer is None:
            self._writer = self._destination.writer(self._target, self._partition, self._token)
            self._screen = Screen.of(self._target.options, self._target.schema)
        whole = self._normalize(batch)
        self._writer.write(whole if self._screen is None else self._screen(whole))
        self._rows_open += batch.rows
        self.bytes_open += batch.bytes
        failpoint("write.after")

    @property
    def _partition(self) -> str:
        return f"feed-{self._token}-{self._checkpoint.sequence + 1}"

    def _drain(self) -> None:
        tail, self._tail, self.bytes_tail = self._tail, [], 0
        for batch in tail:
            self._put(batch)

    def _seal(self) -> list[Staged]:
        writer = self._writer
        if writer is None:
            return []
        failpoint("seal.before")
        staged = noted_seal(writer, self._screen)
        failpoint("seal.after")
        self._writer = None
        rows, self._rows_open, self.bytes_open = self._rows_open, 0, 0
        if staged.rows + staged.quarantined != rows:
            raise SynclineError(
                ErrorKind.INTERNAL,
                f"{rows} rows were read but {staged.rows} laid down and {staged.quarantined} set aside",
                hint="nothing of this stretch was committed; please report this",
            )
        return [staged]

    def _judged(self, staged: list[Staged], position: Mapping[str, Any] | None) -> Verdict:
        """The verdict on a whole copy, whose last stretch is committed (unseen) for it; ``staged`` is empty then. An
        increment is judged stretch by stretch, for its states cannot wait: here only what was counted is summed up."""
        assert self._step is not None
        assert self._target is not None
        if self._step.write is not WriteMode.REPLACE:
            self._audit.say_unjudged()
            return self._audit.verdict_of_rows(self._checkpoint, staged)
        if staged and (self._audit.gates or staged[0].quarantined):
            self._commit(staged, {})
            staged.clear()
        verdict = self._audit.verdict(self._target, self._checkpoint, [], self._token)
        if verdict.error is not None:
            sync_id = self._spec.sync_id
            record = self._audit.held_back(self._checkpoint.quality, verdict, sync_id=sync_id, position=position)
            self._advance([], {"quality": record})
            self._audit.tell(verdict, sync_id=sync_id, rows=self._checkpoint.rows)
            raise verdict.error
        return verdict

    def _nothing_new(self) -> bool:
        assert self._step is not None
        assert self._target is not None
        going_on = self._step.position is not None and not self._step.resumed
        return going_on and not self._begun and self._checkpoint.schema == self._target.schema

    def _commit(self, staged: list[Staged], changes: Mapping[str, Any], *, publish: bool = False) -> None:
        failpoint("commit.before")
        assert self._target is not None
        if self._target.write is not WriteMode.REPLACE and staged:
            error = self._audit.verdict_of_rows(self._checkpoint, staged).error
            if error is not None:
                raise error
        rows = self._checkpoint.rows + sum(s.rows for s in staged)
        done = self._checkpoint.done | {s.partition for s in staged}
        quality = self._audit.with_stages(self._checkpoint.quality, staged)
        self._advance(staged, {"done": done, "rows": rows, "quality": quality, **changes}, publish=publish)
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
        failpoint("commit.after")

    def _advance(self, staged: list[Staged], changes: Mapping[str, Any], *, publish: bool = False) -> None:
        assert self._target is not None
        following = self._checkpoint.next(**changes)
        self._destination.commit(self._target, staged, following, self._token, publish=publish)
        self._checkpoint = following

    def _end(self) -> None:
        self.finished = True
        self._ended = time.monotonic()

    def _tell(self, batch: Batch) -> None:
        self._rows_told += batch.rows
        self._bytes_told += batch.bytes
        now = time.monotonic()
        if now - self._told >= _PROGRESS_SECONDS:
            self._emit(Progress(stream=self.name, partition="feed", rows=self._rows_told, bytes=self._bytes_told))
            self._told, self._rows_told, self._bytes_told = now, 0, 0


def _with_cursor(selected: SelectedStream) -> SelectedStream:
    """A source that knows by itself what is new usually also names the column: it tells the newer of two rows."""
    if selected.cursor_field is not None:
        return selected
    fields = {f.name: f for f in selected.stream.schema.fields}
    named = [fields[c] for c in selected.stream.cursor_fields if c in fields and fields[c].logical is None]
    return replace(selected, cursor_field=named[0].name) if named else selected
