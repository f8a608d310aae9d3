"""Use case: look at, set and reset the state of a connection's streams. The ledger at the destination is the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncline.core.checkpoint import LedgerEntry, Phase, StreamCheckpoint
from syncline.core.stream import SelectedStream, StreamName
from syncline.jobs.lease import connection_lease
from syncline.service.opened import Opened, opened
from syncline.service.project import Connection
from syncline.service.selection import named_streams
from syncline.service.sync import lease_key
from syncline.settings import Settings

__all__ = ["StreamState", "read_states", "replace_states", "reset_state", "set_state"]


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """One stream's ledger entry; ``entry`` is None when it was never synced."""

    name: StreamName
    entry: LedgerEntry | None

    @property
    def stream(self) -> str:
        return str(self.name)

    def to_json(self) -> dict[str, Any]:
        if self.entry is None:
            return {"stream": self.stream, "synced": False}
        c = self.entry.checkpoint
        return {
            "stream": self.stream,
            "synced": True,
            "token": self.entry.token,
            "generation": c.generation,
            "sequence": c.sequence,
            "phase": c.phase.value,
            "position": None if c.position is None else dict(c.position),
            "partitions": len(c.plan.partitions) if c.plan else 0,
            "partitions_done": len(c.done),
            "rows": c.rows,
        }


def read_states(connection: Connection, settings: Settings) -> list[StreamState]:
    """The state of every selected stream; changes nothing."""
    with opened(connection, settings) as ends:
        return [
            StreamState(name=s.name, entry=ends.destination.committed(connection.name, s.name)) for s in ends.select()
        ]


def reset_state(connection: Connection, settings: Settings, streams: list[str] | None) -> list[StreamState]:
    """Forget the position of the named streams (all when None): the next sync copies them anew and swaps the copy in.

    Nothing is deleted at the destination until that copy is whole."""
    return _commit_state(connection, settings, streams, None)


def set_state(
    connection: Connection, settings: Settings, stream: str, position: Mapping[str, Any]
) -> list[StreamState]:
    """Set the position from which the next incremental sync of a stream reads."""
    return _commit_state(connection, settings, [stream], position)


def replace_states(
    connection: Connection, settings: Settings, positions: Mapping[str, Mapping[str, Any]]
) -> list[StreamState]:
    """The whole state anew, by stream (``schema.table`` or ``table``): a stream without a position is copied anew."""
    with connection_lease(settings.leases, lease_key(connection)), opened(connection, settings) as ends:
        selection = ends.select()
        wanted = {named_streams(selection, [name])[0].name: position for name, position in positions.items()}
        return [_commit_one(ends, connection, s, wanted.get(s.name)) for s in selection]


def _commit_state(
    connection: Connection, settings: Settings, streams: list[str] | None, position: Mapping[str, Any] | None
) -> list[StreamState]:
    with connection_lease(settings.leases, lease_key(connection)), opened(connection, settings) as ends:
        selection = named_streams(ends.select(), streams)
        return [_commit_one(ends, connection, s, position) for s in selection]


def _commit_one(
    ends: Opened, connection: Connection, selected: SelectedStream, position: Mapping[str, Any] | None
) -> StreamState:
    entry = ends.destination.fence(connection.name, selected.name)
    before = entry.checkpoint
    following: StreamCheckpoint = before.next(
        position=position, phase=Phase.IDLE, plan=None, write=None, done=frozenset(), rows=0
    )
    target = ends.target(selected, generation=before.generation)
    ends.destination.commit(target, [], following, entry.token)
    return StreamState(name=selected.name, entry=LedgerEntry(token=entry.token, checkpoint=following))
