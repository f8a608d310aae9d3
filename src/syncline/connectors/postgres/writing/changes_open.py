"""A stream's table made to follow the stream's schema, in the transaction of a flush."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from syncline.connectors.postgres.reading.statement import commas, run, statement, trusted
from syncline.connectors.postgres.writing.changes_table import ChangeTable
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.loading import load_columns
from syncline.connectors.postgres.writing.merge import make_mergeable
from syncline.connectors.postgres.writing.patience import patiently
from syncline.connectors.postgres.writing.relation import Relation, find_relation
from syncline.connectors.postgres.writing.tables import Tables, is_ours
from syncline.connectors.postgres.writing.types import resolve_types
from syncline.core.change import Evolution
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import WriteMode
from syncline.sdk.quarantine import value_text

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["open_change_table"]


def open_change_table(
    session: Session, ledger: Ledger, target: StreamTarget, evolution: Evolution | None, *, patience: float
) -> ChangeTable:
    """Let the table follow ``target.schema`` and look at it, in the session's open transaction. Raises ``conflict``
    when the table is gone, ``schema`` when it cannot follow, ``config`` when it is somebody else's and does not fit."""
    table = ledger.place.table
    where = {"stream": str(target.stream), "connector": "postgres"}
    relation = find_relation(session, table)
    if relation is None:
        raise SynclineError(
            ErrorKind.CONFLICT,
            f"table {table} is gone",
            hint="reset the stream's state, so that it is copied anew",
            where=where,
        )
    ours = is_ours(relation, ledger, session)
    if ours and evolution is not None:
        for new, old in evolution.renamed.items():
            _rename(session, relation, old, new, patience)
        _add_filled(session, target, relation, evolution, patience)
    tables = Tables(session, ledger, target, 0, patience=patience)
    plan, _, _ = tables.examine()
    if ours and (plan.add or plan.widen):
        tables.evolve(plan, alone=False)
    if target.write is WriteMode.MERGE:
        make_mergeable(session, table, target.primary_key, None, ours=ours, patience=patience)
    # What waiting for a lock has set must not hold for the rows that follow.
    run(session, "SET LOCAL lock_timeout TO DEFAULT")
    relation = find_relation(session, table)
    assert relation is not None
    names = set(target.schema.names)
    gone = [
        c.name for c in relation.columns if c.name not in names and not (c.generated or c.has_default or c.not_null)
    ]
    if ours:
        # NOT NULL stands on our tables' keys, at whose values we look ourselves.
        relation = replace(relation, columns=tuple(replace(c, not_null=False) for c in relation.columns))
    fields = tuple(f for f in target.schema.fields if f.name not in target.constants or relation.column(f.name))
    return ChangeTable(
        asked=target,
        target=replace(target, schema=StreamSchema(fields=fields)),
        ledger=ledger,
        relation=relation,
        ours=ours,
        columns=load_columns(fields, relation.columns, dialect=target.dialect),
        gone=tuple(gone) if ours else (),
        utf8=session.info.parameter_status("server_encoding") == "UTF8",
        session=session,
    )


def _rename(session: Session, relation: Relation, old: str, new: str, patience: float) -> None:
    """The source renamed a column. Where ours has the new name already (the table was copied after it) nothing is to
    do; where both are there, one is a leftover that only a person can judge."""
    present = find_relation(session, relation.table)
    there = {c.name for c in present.columns} if present is not None else set()
    if old not in there:
        return
    rename = statement(
        "ALTER TABLE {table} RENAME COLUMN {old} TO {new}",
        table=relation.table,
        old=sql.Identifier(old),
        new=sql.Identifier(new),
    )
    if new in there:
        raise SynclineError(
            ErrorKind.SCHEMA,
            f"the source renamed column {old!r} to {new!r}, and table {relation.table} has another column {new!r}",
            hint="rename or drop that one, which is left from before, and run again: "
            + statement(
                "ALTER TABLE {table} RENAME COLUMN {new} TO …", table=relation.table, new=sql.Identifier(new)
            ).as_string(session),
            where={"connector": "postgres", "column": new},
        )
    patiently(session, relation.table, lambda: session.execute(rename), seconds=patience)


def _add_filled(
    session: Session, target: StreamTarget, relation: Relation, evolution: Evolution, patience: float
) -> None:
    """Columns that came with a value for the rows that were there: a default for a moment, a change of the catalogue
    only."""
    present = find_relation(session, relation.table)
    assert present is not None
    fields = [f for f in target.schema.fields if f.name in evolution.backfill and present.column(f.name) is None]
    if not fields:
        return
    types, _ = resolve_types(session, fields, dialect=target.dialect, schema=relation.table.schema)

    def add() -> None:
        run(
            session,
            "ALTER TABLE {table} {adds}",
            table=relation.table,
            adds=commas(
                sql.SQL("ADD COLUMN {name} {type} DEFAULT {value}::{type}").format(
                    name=sql.Identifier(f.name),
                    type=trusted(types[f.name]),
                    value=sql.Literal(value_text(evolution.backfill[f.name])),
                )
                for f in fields
            ),
        )
        drops = commas(sql.SQL("ALTER COLUMN {} DROP DEFAULT").format(sql.Identifier(f.name)) for f in fields)
        run(session, "ALTER TABLE {table} {drops}", table=relation.table, drops=drops)

    patiently(session, relation.table, add, seconds=patience)
