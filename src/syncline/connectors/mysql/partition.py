"""Reading one partition: one statement, whose rows become Arrow column by column as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from syncline.connectors.mysql.connection import Session
from syncline.connectors.mysql.keys import at_or_after, below
from syncline.connectors.mysql.planning import key_fields
from syncline.connectors.mysql.sql import quoted, table_name
from syncline.connectors.mysql.types import Carrier, Cell, carrier_of
from syncline.core.batch import Batch, Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition
from syncline.core.schema import StreamSchema
from syncline.core.stream import SelectedStream

__all__ = ["batch_of", "read_rows", "select"]

_FIRST_ROWS, _MOST_ROWS = 2_000, 65_536
#: About the size of a batch's values.
_BATCH_BYTES = 8 << 20


def select(selected: SelectedStream, partition: Partition) -> str:
    """The statement of a partition."""
    conditions = []
    key = key_fields(selected)
    if partition.bounds.get("low") is not None:
        conditions.append(at_or_after(key, partition.bounds["low"]))
    if partition.bounds.get("high") is not None:
        conditions.append(below(key, partition.bounds["high"]))
    if also := partition.bounds.get("where"):
        conditions.append(f"({also})")
    columns = [carrier_of(f.native or "").asked.format(quoted(f.name)) for f in selected.stream.schema.fields]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"""
        SELECT {", ".join(columns) or "NULL"}
        FROM {table_name(selected.name)}
        {where}
        """


def read_rows(session: Session, statement: str, schema: StreamSchema, *, stream: str) -> Iterator[Batch]:
    """The rows of a statement that selects the schema's columns."""
    carriers = [carrier_of(f.native or "") for f in schema.fields]
    size = _FIRST_ROWS
    with session.stream(statement, stream=stream) as cursor:
        while rows := cursor.fetchmany(size):
            batch = batch_of(schema, carriers, list(zip(*rows, strict=True)), len(rows), stream=stream)
            per_row = max(batch.bytes // len(rows), 1)
            size = max(1, min(_BATCH_BYTES // per_row, _MOST_ROWS, size * 4))
            yield batch


def batch_of(
    schema: StreamSchema, carriers: Sequence[Carrier], columns: Sequence[Sequence[Cell]], rows: int, *, stream: str
) -> Batch:
    """Columns of the server's texts as a batch."""
    arrays: list[pa.Array] = []
    misfits: list[Misfit] = []
    for field, carrier, cells in zip(schema.fields, carriers, columns, strict=bool(schema.fields)):
        try:
            array, beside = carrier.array(field.name, cells)
        except (pa.ArrowInvalid, ValueError) as error:
            raise SynclineError(
                ErrorKind.DATA,
                f"column {field.name} of type {field.native} holds what its type does not say: {error}",
                hint="look at the column's values; leave the column out if they cannot be mended",
                where={"connector": "mysql", "stream": stream},
            ) from error
        arrays.append(array)
        misfits += beside
    if not schema.fields:
        return Batch(data=pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([]))))
    return Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema.arrow()), misfits=tuple(misfits))
