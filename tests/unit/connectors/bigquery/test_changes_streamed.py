"""Rows for BigQuery's own change data capture, over many flushes: a table in memory that keeps of each key the row with
the highest sequence number, as BigQuery says it does. What the service does besides only the service can show."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from syncline.connectors.bigquery.changes_rows import joined
from syncline.connectors.bigquery.changes_streamed import Streamed, streamed
from syncline.connectors.bigquery.default_stream import CHANGE_TYPE, SEQUENCE, RowForm
from syncline.connectors.bigquery.names import TableName
from syncline.connectors.bigquery.types import column_type
from syncline.connectors.bigquery.warehouse import Script
from syncline.core.change import Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.conformance.changes import FIELDS, KEY, Change, ChangeFlow, Model, Row, made_row

TABLE = TableName(project="p", dataset="d", name="items")
AT = datetime(2026, 11, 21, tzinfo=UTC)


class Table:
    """In the place of :class:`~syncline.connectors.bigquery.default_stream.DefaultStreams`: takes the messages as they
    would be sent, in any order."""

    def __init__(self, rows: Sequence[Row], chance: random.Random) -> None:
        self.rows = {key_of(row): plain(row) for row in rows}
        self._newest: dict[Any, tuple[int, ...]] = {}
        self._chance = chance

    def send(self, table: TableName, form: RowForm, rows: Sequence[bytes], stream: str) -> None:
        file = descriptor_pb2.FileDescriptorProto(name="x", package="x", syntax="proto2")
        file.message_type.add().CopyFrom(form.descriptor)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        message: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("x.Row"))
        for sent in self._chance.sample(rows, len(rows)):
            row = json_format.MessageToDict(message.FromString(sent), preserving_proto_field_name=True)
            change, at = row.pop(CHANGE_TYPE), tuple(int(part, 16) for part in row.pop(SEQUENCE).split("/"))
            key = (int(row["id"]), row["kind"])
            if self._newest.get(key, ()) > at:
                continue
            self._newest[key] = at
            if change == "DELETE":
                self.rows.pop(key, None)
            else:
                self.rows[key] = plain({**{f.name: row.get(f.name) for f in FIELDS}, "id": int(row["id"])})


class Flow(ChangeFlow):
    """Makes batches and targets, and opens nothing."""

    def __init__(self) -> None:
        self.fields, self.lsn, self.mode = FIELDS, 100, "merge"


def key_of(row: Row) -> tuple[Any, ...]:
    return tuple(row[k] for k in KEY)


def plain(row: Row) -> Row:
    return {n: float(v) if n == "price" and v is not None else v for n, v in row.items()}


def change_of(model: Model) -> Change:
    if len(model.rows) > 20:
        return Change(Op.DELETE, model.rows.pop(next(iter(model.rows))))
    while True:
        before = dict(model.rows)
        change = model.change()
        if change.op is not Op.TRUNCATE:
            return change
        model.rows = before


@pytest.mark.parametrize("size", [1, 7, 60])
def test_the_table_is_the_source(size: int) -> None:
    """Also where updates leave values out, whose rows are asked for; and where everything is sent twice."""
    rows = [made_row(i, k) for i in range(8) for k in "ab"]
    model, flow = Model(size, rows), Flow()
    table = Table(rows, random.Random(size))
    names = {f.name: f.name for f in flow.target.schema.fields}
    types = {f.name.lower(): column_type(f) for f in flow.target.schema.fields}
    asked, before = 0, list[Streamed]()
    for _ in range(15):
        batches = [flow.batch([change_of(model) for _ in range(size)])]
        step, missing = streamed(table, flow.target, names, joined(batches), AT)  # type: ignore[arg-type]
        if missing is not None:
            asked += missing.num_rows
            fetched = [model.rows[key_of(row)] for row in missing.to_pylist()]
            last = flow.lsn
            more = flow.batch([Change(Op.INSERT, row) for row in fetched])
            batches.append(replace(more, lsn=pa.repeat(pa.scalar(last, pa.uint64()), len(fetched))))
            step, missing = streamed(table, flow.target, names, joined(batches), AT)  # type: ignore[arg-type]
        assert missing is None
        script = Script()
        step.add(script, TABLE, types)
        for earlier in before:  # late, and once more
            earlier.add(script, TABLE, types)
        before = [step, *before[:1]]
        assert script.values == {}
        assert table.rows == {k: plain(r) for k, r in model.rows.items()}
    assert asked or size == 1


def test_truncate_is_refused() -> None:
    flow = Flow()
    batch = flow.batch([Change(Op.INSERT, made_row(1)), Change(Op.TRUNCATE)])
    with pytest.raises(SynclineError, match="TRUNCATE") as caught:
        streamed(Table([], random.Random(1)), flow.target, {}, batch, AT)  # type: ignore[arg-type]
    assert caught.value.kind is ErrorKind.SCHEMA
