"""What a stream of a fed source does next: a pure function of its mode and of what the ledger holds.

The position of such a stream is ``{"feed": STATE}``, with ``"loading": true`` while STATE only covers a generation that
is not visible yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncline.core.checkpoint import Phase, StreamCheckpoint
from syncline.core.schema import StreamSchema
from syncline.core.stream import SyncMode, WriteMode

__all__ = ["FeedStep", "feed_position", "feed_step"]


@dataclass(frozen=True, kw_only=True)
class FeedStep:
    """``position`` is what the ledger says and the source gets back, None to begin at the beginning. ``resumed``: the
    hidden generation of an earlier attempt goes on. ``note`` says why, when it is not the usual course."""

    write: WriteMode
    generation: int
    position: Mapping[str, Any] | None = None
    resumed: bool = False
    note: str = ""


def feed_position(state: Any, *, loading: bool = False) -> dict[str, Any]:
    """The position as the ledger keeps it."""
    return {"feed": state, "loading": True} if loading else {"feed": state}


def feed_step(
    mode: SyncMode,
    checkpoint: StreamCheckpoint,
    schema: StreamSchema,
    *,
    sync_id: str,
    resumable: bool,
    gates: str = "",
) -> FeedStep:
    """Decide at the start of an attempt. ``resumable``: the source takes up a full copy where it was broken off, within
    one job; an incremental stream's first copy can always be taken up. ``gates`` is the fingerprint of the quality
    gates."""
    known = checkpoint.position if checkpoint.position is not None and "feed" in checkpoint.position else None
    loading = known is not None and bool(known.get("loading"))
    reading = checkpoint.phase is Phase.READING
    if reading and checkpoint.write is WriteMode.REPLACE and _write(mode, checkpoint) is WriteMode.REPLACE:
        note = "the copy was broken off and starts over"
        if loading and (mode.incremental or (resumable and checkpoint.sync_id == sync_id)):
            if checkpoint.quality.get("blocked"):
                note = "the quality gates held back what was read last, so it is read anew"
                return FeedStep(write=WriteMode.REPLACE, generation=checkpoint.generation + 1, note=note)
            if checkpoint.quality.get("gates", "") != gates:
                note = "the quality gates changed while the copy was unfinished, so it starts over"
                return FeedStep(write=WriteMode.REPLACE, generation=checkpoint.generation + 1, note=note)
            if checkpoint.schema == schema:
                return FeedStep(write=WriteMode.REPLACE, generation=checkpoint.generation, position=known, resumed=True)
            note = "the columns changed while the copy was unfinished, so it starts over"
        return FeedStep(write=WriteMode.REPLACE, generation=checkpoint.generation + 1, note=note)
    if mode.incremental and known is not None and not loading:
        write = WriteMode.MERGE if mode.deduped else WriteMode.APPEND
        return FeedStep(write=write, generation=checkpoint.generation, position=known)
    note = "changes were found in another way before, so the stream is copied anew"
    other = mode.incremental and checkpoint.position is not None and known is None
    return FeedStep(write=_write(mode, checkpoint), generation=checkpoint.generation + 1, note=note if other else "")


def _write(mode: SyncMode, checkpoint: StreamCheckpoint) -> WriteMode:
    """Of a copy from the beginning. The first load in append mode adds to what is there; a later one takes its place,
    so that no row is there twice."""
    if mode is SyncMode.FULL_REFRESH_APPEND:
        return WriteMode.APPEND
    if mode is SyncMode.INCREMENTAL_APPEND:
        begun = checkpoint.phase is Phase.READING and checkpoint.write is WriteMode.APPEND
        if checkpoint.generation == 0 or (begun and checkpoint.position is None):
            return WriteMode.APPEND
    return WriteMode.REPLACE
