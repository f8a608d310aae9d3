"""A few rows as prepared statements, one for each. Python objects for each field: for some hundred rows at most."""

from __future__ import annotations

import pyarrow as pa

from syncline.connectors.postgres.copy.encode import BatchCoder
from syncline.connectors.postgres.writing.changes_sift import Sifted
from syncline.connectors.postgres.writing.changes_staged import Partial
from syncline.connectors.postgres.writing.changes_table import ChangeTable
from syncline.connectors.postgres.writing.volley import Shot

__all__ = ["each", "each_update", "fields_of"]


def each(text: bytes, coder: BatchCoder, rows: Sifted) -> list[Shot]:
    """The statement once for each row."""
    return [Shot(text, values) for values in fields_of(coder, rows.encoded)]


def each_update(table: ChangeTable, partial: Partial) -> list[Shot]:
    """An update of what each row says; it touches no row where there is none."""
    said = [
        tuple(i for i, name in enumerate(table.names) if name not in left and i not in table.key)
        for left in partial.patterns
    ]
    shots = []
    for number, values in zip(partial.pattern.tolist(), fields_of(table.coder, partial.rows.encoded), strict=True):
        chosen = [values[i] for i in (*said[number], *table.key)]
        shots.append(Shot(table.update_one(said[number]), chosen))
    return shots


def fields_of(coder: BatchCoder, encoded: pa.RecordBatch) -> list[list[bytes | None]]:
    """The fields of each row in the server's binary form, taken out of COPY's."""
    data, at = coder.encode(encoded), 0
    rows: list[list[bytes | None]] = []
    while at < len(data):
        row: list[bytes | None] = []
        count = data[at] * 256 + data[at + 1]
        at += 2
        for _ in range(count):
            size = int.from_bytes(data[at : at + 4], "big", signed=True)
            at += 4
            if size < 0:
                row.append(None)
            else:
                row.append(data[at : at + size])
                at += size
        rows.append(row)
    return rows
