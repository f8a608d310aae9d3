"""Reads the present rows of some keys: for updates that left values out, of rows that a copy did not see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Column, describe
from syncline.connectors.postgres.changes.describe import stopped
from syncline.connectors.postgres.copy.decode import CopyReader
from syncline.connectors.postgres.copy.layouts import CopyColumn
from syncline.connectors.postgres.errors import postgres_error
from syncline.connectors.postgres.reading.transaction import CATALOG_PATH, SessionMaker, begin
from syncline.core.batch import Batch, Misfit
from syncline.core.stream import SelectedStream

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["fetch_rows"]

#: Keys in one query: its text stays within some hundred kilobytes.
_KEYS_AT_ONCE = 2000


def fetch_rows(maker: SessionMaker, selected: SelectedStream, keys: pa.RecordBatch) -> Batch:
    """The rows with these primary keys that there are now, with exactly the columns of ``selected.stream.schema``:
    those that the table no longer has are NULL. In one transaction. Raises ``schema`` where a column has another type
    by now than the log is at."""
    schema = selected.stream.schema
    batches: list[pa.RecordBatch] = []
    misfits: list[Misfit] = []
    rows = 0
    session = maker.connect()
    try:
        begin(session, maker.config, repeatable=True)
        present = _present(session, selected)
        readers = [CopyColumn(name=c.name, decoder=c.carrier.decoder, arrow=c.carrier.arrow) for c in present]
        for start in range(0, keys.num_rows, _KEYS_AT_ONCE):
            query = _query(selected, present, keys.slice(start, _KEYS_AT_ONCE))
            with CopyReader(session, query, readers) as reader:
                for decoded in reader:
                    batches.append(decoded.batch)
                    misfits += [
                        Misfit(row=rows + e.row, column=readers[e.column].name, text=e.text, reason=e.reason)
                        for e in decoded.exceptions
                    ]
                    rows += decoded.batch.num_rows
        session.execute("COMMIT")
    except psycopg.Error as error:
        raise postgres_error(error, role=session.info.user, stream=str(selected.name)) from error
    finally:
        session.close()
    columns = {c.name: i for i, c in enumerate(present)}
    table = pa.Table.from_batches(batches, schema=pa.schema([pa.field(c.name, c.carrier.arrow) for c in present]))
    arrays = [
        table.column(columns[f.name]).combine_chunks() if f.name in columns else pa.nulls(rows, f.type)
        for f in schema.fields
    ]
    flat = [a.combine_chunks() if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return Batch(data=pa.RecordBatch.from_arrays(flat, schema=schema.arrow()), misfits=tuple(misfits))


def _present(session: Session, selected: SelectedStream) -> list[Column]:
    """The stream's columns that the table has now, under the lock of this transaction."""
    table = compose.Identifier(selected.name.namespace or "public", selected.name.name)
    session.execute(compose.SQL("SELECT FROM {} LIMIT 0").format(table))
    session.execute(compose.SQL("SAVEPOINT names; ") + CATALOG_PATH)
    relation = describe(session, selected.name, indexes=False)
    session.execute("ROLLBACK TO names")
    found: list[Column] = []
    for field in selected.stream.schema.fields:
        column = relation.column(field.name) if relation is not None else None
        if column is None:
            continue
        if column.carrier.arrow != field.type:
            raise stopped(selected.name, f"column {field.name} has another type by now, so rows cannot be looked up")
        found.append(column)
    if lost := [name for name in selected.primary_key if name not in {c.name for c in found}]:
        raise stopped(selected.name, f"its key column {', '.join(lost)} is gone, so rows cannot be looked up")
    return found


def _query(selected: SelectedStream, present: Sequence[Column], keys: pa.RecordBatch) -> compose.Composable:
    casts = {c.name: compose.SQL(c.cast) for c in present}
    names = keys.schema.names
    rows = zip(*(column.to_pylist() for column in keys.columns), strict=True)
    values = compose.SQL(", ").join(
        compose.SQL("({})").format(
            compose.SQL(", ").join(
                compose.SQL("{}::{}").format(compose.Literal(value), casts[name])
                for name, value in zip(names, row, strict=True)
            )
        )
        for row in rows
    )
    return compose.SQL("SELECT {} FROM {} WHERE ({}) IN ({})").format(
        compose.SQL(", ").join(compose.Identifier(c.name) + compose.SQL(c.carrier.cast) for c in present),
        compose.Identifier(selected.name.namespace or "public", selected.name.name),
        compose.SQL(", ").join(compose.Identifier(n) for n in names),
        values,
    )
