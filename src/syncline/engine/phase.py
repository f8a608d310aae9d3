"""What one stream does next: a pure function of its mode and of what the ledger holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from syncline.core.checkpoint import Phase, StreamCheckpoint
from syncline.core.schema import StreamSchema
from syncline.core.stream import SyncMode, WriteMode

__all__ = ["Step", "StepKind", "next_step"]


class StepKind(StrEnum):
    """How the next plan comes about."""

    RESUME = "resume"  #: the ledger's unfinished plan goes on
    SNAPSHOT = "snapshot"  #: a whole copy is planned
    INCREMENT = "increment"  #: everything after the committed position is planned


@dataclass(frozen=True, kw_only=True)
class Step:
    """``generation`` is that of the rows to be written. ``note`` says why, when it is not the usual course."""

    kind: StepKind
    write: WriteMode
    generation: int
    note: str = ""


def next_step(
    mode: SyncMode, checkpoint: StreamCheckpoint, schema: StreamSchema, *, retain: bool = False, gates: str = ""
) -> Step:
    """Decide for one stream at the start of an attempt. ``schema`` is the one that would be written now. ``retain``: a
    whole copy of an incremental stream does not replace what is there, but is merged into it, or added. ``gates`` is
    the fingerprint of the quality gates.

    An unfinished plan is resumed when it can be: its partitions are still meaningful and, for a generation not yet
    visible, the columns are the same. Otherwise a hidden generation is thrown away and planned anew, which loses
    nothing.
    """
    if checkpoint.phase is Phase.READING and checkpoint.plan is not None and checkpoint.write is not None:
        started_over = Step(
            kind=StepKind.SNAPSHOT if checkpoint.write is WriteMode.REPLACE else _fresh_kind(mode, checkpoint),
            write=checkpoint.write,
            generation=checkpoint.generation + (checkpoint.write is WriteMode.REPLACE),
        )
        if not checkpoint.plan.resumable:
            return _because(started_over, "a table without a key starts over: its exported snapshot ended with the run")
        if checkpoint.quality.get("blocked"):
            return _because(started_over, "the quality gates held back what was read last, so it is read anew")
        replaces = checkpoint.write is WriteMode.REPLACE
        if checkpoint.quality.get("gates", "") != gates and (replaces or not checkpoint.done):
            return _because(started_over, "the quality gates changed while a plan was unfinished, so it starts over")
        if replaces and checkpoint.schema != schema:
            return _because(started_over, "the columns changed while the snapshot was unfinished, so it starts over")
        if _write_for(mode, checkpoint, retain) is checkpoint.write:
            return Step(kind=StepKind.RESUME, write=checkpoint.write, generation=checkpoint.generation)
        return _because(_fresh(mode, checkpoint, retain), "the sync mode changed while a plan was unfinished")
    return _fresh(mode, checkpoint, retain)


def _because(step: Step, note: str) -> Step:
    return Step(kind=step.kind, write=step.write, generation=step.generation, note=note)


def _fresh_kind(mode: SyncMode, checkpoint: StreamCheckpoint) -> StepKind:
    return StepKind.INCREMENT if mode.incremental and checkpoint.position is not None else StepKind.SNAPSHOT


def _write_for(mode: SyncMode, checkpoint: StreamCheckpoint, retain: bool) -> WriteMode:
    if mode is SyncMode.FULL_REFRESH_APPEND:
        return WriteMode.APPEND
    if not mode.incremental:
        return WriteMode.REPLACE
    if checkpoint.position is not None:
        return WriteMode.MERGE if mode.deduped else WriteMode.APPEND
    if checkpoint.phase is Phase.READING and checkpoint.write is not None:
        return checkpoint.write
    # The first load in append mode adds to what is there; after a reset the stream is copied anew and swapped in, so
    # that no row is there twice.
    if mode is SyncMode.INCREMENTAL_APPEND and (checkpoint.generation == 0 or retain):
        return WriteMode.APPEND
    if mode is SyncMode.INCREMENTAL_DEDUPED_HISTORY and retain and checkpoint.generation > 0:
        return WriteMode.MERGE
    return WriteMode.REPLACE


def _fresh(mode: SyncMode, checkpoint: StreamCheckpoint, retain: bool) -> Step:
    write = _write_for(mode, checkpoint, retain)
    kind = _fresh_kind(mode, checkpoint)
    generation = checkpoint.generation if kind is StepKind.INCREMENT else checkpoint.generation + 1
    return Step(kind=kind, write=write, generation=generation)
