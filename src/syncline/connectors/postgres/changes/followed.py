"""The tables that the log follows: found in the catalogue, given an identity and a place in the publication.

What is wrong with one table stops its stream only; it is told by that stream's reader, and the others flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from syncline.connectors.postgres.catalog import Relation, describe
from syncline.connectors.postgres.changes.describe import FollowedTable, stopped
from syncline.connectors.postgres.changes.identity import identity_needs, set_identity
from syncline.connectors.postgres.changes.names import LogNames
from syncline.connectors.postgres.changes.publication import (
    Publication,
    creation_statement,
    ensure_publication,
    look_at_publication,
    table_names,
)
from syncline.connectors.postgres.changes.watch import attached_since, catalog_horizon
from syncline.connectors.postgres.reading.transaction import CATALOG_PATH
from syncline.core.change import LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, StreamName

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Followed", "follow_tables", "unpublished"]


@dataclass(kw_only=True)
class Followed:
    """``tables`` by stream; ``broken``: streams that cannot go on, and why (more may join while the log runs).
    ``numbers``: those (attnum) of the columns that the destination has of a stream, in its order. ``horizon``: up to
    this transaction the catalogue was searched for partitions with rows of their own."""

    tables: dict[StreamName, FollowedTable] = field(default_factory=dict)
    broken: dict[StreamName, SynclineError] = field(default_factory=dict)
    numbers: dict[StreamName, tuple[int, ...]] = field(default_factory=dict)
    horizon: int = 0
    partitioned: bool = False

    def only(self, names: Iterable[StreamName]) -> None:
        """Of the tables that are published, follow those of these streams."""
        wanted = set(names)
        self.tables = {name: table for name, table in self.tables.items() if name in wanted}
        self.numbers = {name: numbers for name, numbers in self.numbers.items() if name in wanted}

    def to_json(self, given: Mapping[StreamName, tuple[int, ...]] | None = None) -> dict[str, Any]:
        """For the log's identity, which is written often: stream -> [oid, numbers], where 5 means 1, 2, 3, 4, 5.
        ``given`` are numbers that are newer than :attr:`numbers`."""
        numbers = {**self.numbers, **(given or {})}
        return {str(name): [table.oid, _dense(numbers.get(name, ()))] for name, table in sorted(self.tables.items())}

    def learn(self, numbers: Mapping[StreamName, tuple[int, ...]]) -> bool:
        """These columns have come to the destination. Whether that is news."""
        news = {name: n for name, n in numbers.items() if n != self.numbers.get(name)}
        self.numbers.update(news)
        return bool(news)


def _dense(numbers: tuple[int, ...]) -> int | list[int]:
    return len(numbers) if numbers == tuple(range(1, len(numbers) + 1)) else list(numbers)


def _numbers(dense: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(range(1, dense + 1)) if isinstance(dense, int) else tuple(dense)


def follow_tables(
    session: Session,
    names: LogNames,
    streams: Sequence[SelectedStream],
    *,
    positions: Mapping[StreamName, LogPosition],
    offered: Mapping[StreamName, Sequence[str]],
    known: Mapping[str, Sequence[Any]],
    horizon: int | None,
    besides: Iterable[StreamName] = (),
    manage: bool,
) -> Followed:
    """Make the tables of all selected streams ready to be followed. ``positions`` are those of streams that the
    destination has, ``known`` what :meth:`Followed.to_json` gave in the last run, ``horizon`` its own; tables
    ``besides`` stay published for others. The session is in autocommit. Raises ``config`` for a publication of the
    user's that is missing, ``permission`` for what we may not do."""
    seen = catalog_horizon(session)
    found = Followed(horizon=seen)
    relations = _relations(session, streams)
    for selected in streams:
        relation = relations.get(selected.name)
        if relation is None:
            found.broken[selected.name] = stopped(selected.name, "the table does not exist any more")
        elif not relation.logged:
            found.broken[selected.name] = _not_logged(relation)
        else:
            before = known.get(str(selected.name)) if selected.name in positions else None
            if before is not None and before[0] != relation.oid:
                found.broken[selected.name] = stopped(selected.name, "another table has taken its name")
                continue
            _take(found, selected, relation, offered, before, fresh=selected.name not in positions)
    if horizon is not None:
        old = {name: table for name, table in found.tables.items() if name in positions}
        found.broken.update(attached_since(session, old, horizon))
    _give_identities(session, streams, found, manage=manage)
    _publish(session, names, found, positions, frozenset(besides))
    return found


def _take(
    found: Followed,
    selected: SelectedStream,
    relation: Relation,
    offered: Mapping[StreamName, Sequence[str]],
    before: Sequence[Any] | None,
    *,
    fresh: bool,
) -> None:
    mine = selected.stream.schema.names
    all_of_them = offered.get(selected.name, [c.name for c in relation.readable])
    found.partitioned = found.partitioned or relation.relkind == "p"
    found.tables[selected.name] = FollowedTable(
        oid=relation.oid,
        name=selected.name,
        columns=None if set(mine).issuperset(all_of_them) else frozenset(mine),
    )
    if before is not None:
        found.numbers[selected.name] = _numbers(before[1])
    elif fresh:
        # It is copied now, with these columns.
        numbers = {c.name: c.number for c in relation.columns}
        found.numbers[selected.name] = tuple(numbers[name] for name in mine if name in numbers)


def _relations(session: Session, streams: Sequence[SelectedStream]) -> dict[StreamName, Relation]:
    session.execute("BEGIN READ ONLY")
    try:
        session.execute(CATALOG_PATH)
        found = {s.name: describe(session, s.name) for s in streams}
    finally:
        if not session.closed and not session.broken:
            session.execute("ROLLBACK")
    return {name: relation for name, relation in found.items() if relation is not None}


def _give_identities(session: Session, streams: Sequence[SelectedStream], found: Followed, *, manage: bool) -> None:
    chosen = [(found.tables[s.name].oid, s) for s in streams if s.name in found.tables]
    for need in identity_needs(session, chosen):
        if manage:
            set_identity(session, need)
        else:
            # Published as it is, the table would refuse its own users' updates.
            found.broken[need.stream] = need.error()
            del found.tables[need.stream]


def _publish(
    session: Session,
    names: LogNames,
    found: Followed,
    positions: Mapping[StreamName, LogPosition],
    besides: frozenset[StreamName],
) -> None:
    before = look_at_publication(session, names.publication)
    if names.own_publication:
        ensure_publication(session, names.publication, sorted(found.tables.keys() | besides))
        added = found.tables.keys() - (before.members if before is not None else set())
        for name in sorted(added & positions.keys()):
            found.broken[name] = stopped(
                name, f"it was not in publication {names.publication} for a while, so its log has a gap"
            )
        return
    if before is None:
        statement = creation_statement(names.publication, found.tables, session.info.server_version)
        raise SynclineError(
            ErrorKind.CONFIG,
            f"there is no publication {names.publication}, which the configuration names",
            hint=f"make it: {statement}; or leave publication out and one is made and kept for you",
            where={"connector": "postgres"},
        )
    for name in found.tables:
        if (error := unpublished(before, name)) is not None:
            found.broken[name] = error


def unpublished(publication: Publication, name: StreamName) -> SynclineError | None:
    """Why a publication of the user's does not do for a table."""
    alter = f'ALTER PUBLICATION "{publication.name}"'
    if name not in publication.published:
        return stopped(
            name, f"it is not in publication {publication.name}", advice=f"{alter} ADD TABLE {table_names([name])}"
        )
    if publication.lacking:
        what = ", ".join(publication.lacking)
        return stopped(
            name,
            f"publication {publication.name} does not publish {what}",
            advice=f"{alter} SET (publish = 'insert, update, delete, truncate')",
        )
    if name in publication.filtered:
        return stopped(
            name,
            f"publication {publication.name} leaves out rows of it (WHERE)",
            advice=f"{alter} DROP TABLE {table_names([name])}; {alter} ADD TABLE {table_names([name])}",
        )
    return None


def _not_logged(relation: Relation) -> SynclineError:
    if relation.persistence == "u":
        return stopped(
            relation.name,
            "it is unlogged: the log does not tell of its changes",
            advice=f"ALTER TABLE {table_names([relation.name]).removeprefix('ONLY ')} SET LOGGED",
        )
    what = "other tables inherit from it" if relation.has_children else f"it is a {relation.kind}"
    return SynclineError(
        ErrorKind.CONFIG,
        f"{relation.name}: {what}, and the log does not tell of its changes under its name",
        hint="read it with mode: full_refresh",
        where={"connector": "postgres", "stream": str(relation.name)},
    )
