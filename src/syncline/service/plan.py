"""Use case: what would a sync do now, stream by stream? Looks at both ends and changes neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.stream import SelectedStream
from syncline.engine.phase import next_step
from syncline.service.opened import Opened, opened
from syncline.service.project import Connection
from syncline.settings import Settings

__all__ = ["StreamPlan", "plan_connection"]


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """``step`` is how the next plan comes about (``resume``, ``snapshot``, ``increment``), ``write`` what its rows do
    at the destination (``replace``, ``append``, ``merge``), ``position`` where an increment begins. ``reads_all`` says
    that the whole stream is read. ``partitions_done`` of ``partitions`` of an unfinished plan are committed. Estimates
    are the source's, of the whole stream; None when it has none."""

    namespace: str | None
    name: str
    mode: str
    step: str
    write: str
    reads_all: bool
    position: Mapping[str, Any] | None
    partitions: int
    partitions_done: int
    estimated_rows: int | None
    estimated_bytes: int | None
    note: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def plan_connection(connection: Connection, settings: Settings) -> list[StreamPlan]:
    """One entry per stream that the connection takes, in the order in which they would be read. Raises what connecting,
    discovering and choosing streams raise."""
    with opened(connection, settings) as ends:
        return [_plan(connection, ends, selected) for selected in ends.select()]


def _plan(connection: Connection, ends: Opened, selected: SelectedStream) -> StreamPlan:
    entry = ends.destination.committed(connection.name, selected.name)
    checkpoint = entry.checkpoint if entry is not None else StreamCheckpoint()
    step = next_step(selected.sync_mode, checkpoint, ends.target(selected, generation=0).schema)
    unfinished = checkpoint.plan
    return StreamPlan(
        namespace=selected.name.namespace,
        name=selected.name.name,
        mode=selected.sync_mode.value,
        step=step.kind.value,
        write=step.write.value,
        reads_all=step.kind.value == "snapshot",
        position=checkpoint.position if step.kind.value == "increment" else None,
        partitions=len(unfinished.partitions) if unfinished else 0,
        partitions_done=len(checkpoint.done),
        estimated_rows=_known(selected.stream.estimated_rows),
        estimated_bytes=_known(selected.stream.estimated_bytes),
        note=step.note,
    )


def _known(estimate: int) -> int | None:
    return estimate if estimate >= 0 else None
