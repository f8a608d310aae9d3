"""From a stored connection to one that the engine can run. Here, and nowhere else, secrets are in clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.evolution.policy import Contract, SchemaUpdates
from syncline.jobs.transform.step import parse_steps
from syncline.sdk.interpolation import literal
from syncline.sdk.mapping import checked_blocks
from syncline.sdk.metadata import MetadataColumns
from syncline.sdk.reference import ConnectorReference
from syncline.service import actors, airbyte_config, definitions, fanned, references
from syncline.service.callers import SYSTEM
from syncline.service.changes import UNSET, Unset
from syncline.service.control import Control
from syncline.service.definitions import connector_of
from syncline.service.errors import NotFoundError
from syncline.service.gates import gates_json
from syncline.service.project import Connection, SchemaChangesBlock, StreamBlock, SyncBlock, mapper_blocks
from syncline.service.stream_configs import checked_streams, placed, stream_block
from syncline.store import actors as actor_rows
from syncline.store import connections
from syncline.store.values import Actor, StoredConnection, StreamConfig

__all__ = ["runnable"]


def runnable(
    control: Control,
    connection_id: UUID,
    streams: Sequence[StreamConfig] | Unset | None = UNSET,
    mappings: Sequence[Mapping[str, Any]] | Unset = UNSET,
) -> Connection:
    """The connection under its key, with the secrets that the store keeps in clear; references to others outside are
    still references, which the attempt's process follows. Give it to that process through a pipe and nowhere else.

    ``streams``: as if it took these (None: all of the source's), to look at what a change would do. ``mappings``: as if
    it had these.

    Raises "not found" when it, its source or its destination is deleted, ``config`` for what cannot be run."""
    with control.database.read() as transaction:
        stored = connections.find(transaction, connection_id)
        if stored is None or stored.deleted_at is not None:
            raise NotFoundError("connection", connection_id)
        source = actor_rows.find(transaction, stored.source_id)
        destination = actor_rows.find(transaction, stored.destination_id)
        together = [each.options.fan_out["destination"] for each in fanned.siblings(transaction, stored)]
    for role, actor in (("source", source), ("destination", destination)):
        if actor is None or actor.deleted_at is not None:
            raise SynclineError(
                ErrorKind.CONFIG, f"the {role} of connection {stored.name!r} was deleted", hint="make a new connection"
            )
    assert source is not None
    assert destination is not None
    if not isinstance(streams, Unset):
        stored = replace(stored, streams=checked_streams(streams))
    if not isinstance(mappings, Unset):
        stored = replace(stored, options=replace(stored.options, mappings=tuple(mappings)))
    references.check_connection(control.settings, stored)  # it may have been stored when more was allowed
    connection = _connection(control, stored, source, destination)
    if not together:
        return connection
    # In ledgers and at the source it goes by the name of all of them.
    said = stored.options.fan_out
    names = {"name": said["connection"], "destination_name": said["destination"], "siblings": tuple(together)}
    return connection.model_copy(update={**names, "when_behind": said.get("when_behind", "leave")})


def _connection(control: Control, stored: StoredConnection, source: Actor, destination: Actor) -> Connection:
    reads = definitions.get(control, SYSTEM, "source", source.definition_id)
    writes = definitions.get(control, SYSTEM, "destination", destination.definition_id)
    taken = actors.clear_configuration(control, source)
    given = actors.clear_configuration(control, destination)
    options = stored.options
    soft = "soft" in (options.deletes, airbyte_config.deletions(writes, given))
    judged = options.quality.get("streams", {})
    blocks = None
    if stored.streams is not None:
        written = (stream_block(each) for each in stored.streams)
        blocks = tuple(
            StreamBlock(**block, **_judged(judged.get(block["name"], {}), block["name"])) for block in written
        )
    return Connection(
        name=stored.key,
        source=ConnectorReference(
            type=connector_of(reads).name,
            config=literal(airbyte_config.connector_config(reads, taken)),
            mappings=(*checked_blocks(options.mappings), *mapper_blocks(blocks or ())),
        ),
        destination=ConnectorReference(
            type=connector_of(writes).name,
            config=literal(placed(writes, airbyte_config.connector_config(writes, given), stored)),
        ),
        sync=SyncBlock(
            mode=options.mode,
            cursor_field=options.cursor_field,
            streams=blocks,
            concurrency=options.concurrency,
            deletes="soft" if soft else "hard",
            metadata_columns=MetadataColumns(options.metadata_columns),
            gates=gates_json(options.quality.get("gates", ()), None, f"connection {stored.name!r}"),
            transforms=tuple(s.to_json() for s in parse_steps(options.transforms)),
            quarantine=options.quality.get("quarantine"),
            schema_changes=SchemaChangesBlock(
                policy=SchemaUpdates(stored.non_breaking_updates),
                contracts={name: Contract(word) for name, word in options.contracts.items()},
                backfill=options.backfill,
            ),
        ),
    )


def _judged(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A stream's gates as the engine takes them, and its limits of the quarantine."""
    gates = gates_json(said["gates"], None, f"stream {name}") if "gates" in said else ()
    return {**said, **({"gates": gates} if gates else {})}
