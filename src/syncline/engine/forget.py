"""Forgetting how far a stream was read: a commit of the ledger without data."""

from __future__ import annotations

from syncline.core.checkpoint import Phase, StreamCheckpoint
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import target_for
from syncline.sdk.destination import Destination

__all__ = ["forget", "forgotten"]


def forget(spec: AttemptSpec, selected: SelectedStream, destination: Destination, *, logged: bool) -> None:
    """Forget how far one stream was read. Its rows stay until the new copy is whole."""
    entry = destination.fence(spec.connection, selected.name)
    generation = entry.checkpoint.generation
    target = target_for(
        spec, selected, write=WriteMode.REPLACE, generation=generation, sync_id=spec.sync_id, logged=logged
    )
    destination.commit(target, [], forgotten(entry.checkpoint), entry.token)


def forgotten(checkpoint: StreamCheckpoint) -> StreamCheckpoint:
    """The next checkpoint, of a stream that begins anew."""
    return checkpoint.next(position=None, phase=Phase.IDLE, plan=None, write=None, done=frozenset(), rows=0)
