"""Connections of a server that read one source together: each destination of ``destinations: [a, b, c]`` is a stored
connection of its own, with status, jobs and state of its own, and says in its options with whom it reads.

    {"connection": "shop", "destination": "lake", "when_behind": "leave"}

``connection`` names them all, in the ledgers and at the source; ``destination`` the one among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.errors import invalid
from syncline.service.inputs import checked_name
from syncline.store import connections as rows
from syncline.store.database import Transaction
from syncline.store.values import StoredConnection

__all__ = ["check_fan_out", "ensure_free", "label_of", "siblings", "with_shared"]


def check_fan_out(said: Mapping[str, str]) -> None:
    """Raises ``config`` for what cannot be."""
    if not said:
        return
    unknown = set(said) - {"connection", "destination", "when_behind"}
    if unknown or not {"connection", "destination"} <= set(said):
        raise invalid("options.fanOut", "must have connection and destination, and may have when_behind")
    for key in ("connection", "destination"):
        checked_name(f"options.fanOut.{key}", said[key])
        if "/" in said[key] or said[key].startswith(".") or said[key] != said[key].strip():
            raise invalid(f"options.fanOut.{key}", "must not begin with a dot, hold a slash, or have spaces around it")
    if said.get("when_behind", "leave") not in ("leave", "wait"):
        raise invalid("options.fanOut.when_behind", f"{said['when_behind']!r} is not known", hint="known: leave, wait")


def label_of(said: Mapping[str, str]) -> str:
    """What people call it: ``shop/lake``."""
    return f"{said['connection']}/{said['destination']}"


def siblings(transaction: Transaction, connection: StoredConnection) -> list[StoredConnection]:
    """All that read together with a connection, itself included, in the order of their making. One that is inactive is
    only away: its place in the log is kept."""
    ours = connection.options.fan_out
    return rows.of_fan_out(transaction, ours["connection"]) if ours else []


def ensure_free(transaction: Transaction, connection: StoredConnection) -> None:
    """Raises ``conflict`` when another connection goes by the same name: two would share their entries in a ledger, and
    a slot."""
    ours = connection.options.fan_out
    name = ours.get("connection", connection.key)
    together = rows.of_fan_out(transaction, name)
    alone = rows.keyed(transaction, name) if ours else None
    others = [each for each in together if not ours or each.source_id != connection.source_id]
    if others or (alone is not None and alone.deleted_at is None):
        raise SynclineError(
            ErrorKind.CONFLICT,
            f"there is another connection of the name {name!r}",
            hint="give one of them another name",
        )
    for each in together:
        same = each.options.fan_out["destination"] == ours["destination"]
        if same or each.destination_id == connection.destination_id:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"{label_of(ours)} is there already, as {each.name!r}",
                hint="name each destination once",
            )


def with_shared(sibling: StoredConnection, changed: StoredConnection) -> StoredConnection:
    """A sibling with everything that holds for all of them, as ``changed`` now has it."""
    fan_out = {**changed.options.fan_out, "destination": sibling.options.fan_out["destination"]}
    return replace(
        sibling,
        schedule=changed.schedule,
        streams=changed.streams,
        namespace_definition=changed.namespace_definition,
        namespace_format=changed.namespace_format,
        prefix=changed.prefix,
        non_breaking_updates=changed.non_breaking_updates,
        tags=changed.tags,
        options=replace(changed.options, fan_out=fan_out),
    )
