"""BigQuery's own change data capture: rows by the Storage Write API into the default stream of tables with a declared
key. The counterpart applies them as Google's documentation says; what the service does besides is said in the
connector's page. Values that an update left out are asked for at the source, which is a model here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.test_bigquery import Live

from syncline.connectors.bigquery.config import BigqueryDestinationConfig
from syncline.connectors.bigquery.default_stream import DefaultStreams, RowForm
from syncline.connectors.bigquery.names import TableName
from syncline.core.change import Evolution, Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.sdk.change_log import Applied
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination
from syncline.sdk.findings import Severity
from syncline.sdk.reference import ConnectorReference, open_destination
from syncline.testing.bigquery_server import BigQueryServer, prepare_bigquery, start_bigquery
from syncline.testing.conformance.changes import FIELDS, KEY, STREAM, Change, ChangeFlow, Model, Row, made_row

pytestmark = [pytest.mark.clients, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[BigQueryServer | Live]:
    if place := os.environ.get("SYNCLINE_LIVE_BIGQUERY"):
        with closing(Live(place)) as live:
            yield live
        return
    prepare_bigquery()
    with start_bigquery() as running:
        yield running


class Driver:
    gaps: dict[str, str] = {}

    def __init__(self, server: BigQueryServer | Live) -> None:
        self.server, self.dataset = server, server.create_dataset()

    def reference(self) -> ConnectorReference:
        config = self.server.config(self.dataset, merge_interval=0, changes="stream")
        return ConnectorReference(type="bigquery", config=config)

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        chosen = ", ".join(f"`{c}`" for c in columns)
        return self.server.rows(f"SELECT {chosen} FROM `{self.server.project}.{self.dataset}.items`")

    def quarantined(self) -> int:
        return int(self.server.rows(f"SELECT COUNT(*) FROM `{self.dataset}`._syncline_quarantine")[0][0])


@pytest.fixture
def driver(server: BigQueryServer | Live) -> Driver:
    return Driver(server)


@pytest.fixture
def flow(driver: Driver, tmp_path: Path) -> Iterator[ChangeFlow]:
    with closing(ChangeFlow(driver, tmp_path / "work")) as opened:
        yield opened


def seen(driver: Driver, *more: str) -> list[Row]:
    names = [f.name for f in FIELDS] + list(more)
    return sorted((dict(zip(names, row, strict=True)) for row in driver.rows(names)), key=key_of)


def key_of(row: Row) -> tuple[Any, ...]:
    return tuple(row[k] for k in KEY)


def change_of(model: Model) -> Change:
    """The next one that is no TRUNCATE, which has a test of its own."""
    if len(model.rows) > 20:  # it has 24 keys, and a row that moves needs a free one
        return Change(Op.DELETE, model.rows.pop(next(iter(model.rows))))
    while True:
        before = dict(model.rows)
        change = model.change()
        if change.op is not Op.TRUNCATE:
            return change
        model.rows = before


def applied(flow: ChangeFlow, rows: dict[tuple[Any, ...], Row], changes: Sequence[Change]) -> Applied:
    """Apply as the engine does: what is missing is asked for, here of ``rows``, and comes as inserts."""
    done = flow.apply(*changes)
    if done.missing is not None:
        fetched = [rows[k] for row in done.missing.to_pylist() if (k := key_of(row)) in rows]
        if fetched:
            batch = flow.batch([Change(Op.INSERT, row) for row in fetched])
            last = pa.repeat(pa.scalar(flow.lsn - len(fetched), pa.uint64()), len(fetched))
            flow.session.apply(flow.target, replace(batch, lsn=last))
    return done


@pytest.mark.parametrize("size", [3, 60])
def test_any_sequence(driver: Driver, flow: ChangeFlow, size: int) -> None:
    """However the log is cut into flushes, the table is the source's, also where updates leave values out."""
    rows = [made_row(i, k) for i in range(8) for k in "ab"]
    model = Model(size, rows)
    flow.copy(rows)
    for _ in range(3):
        changes = [change_of(model) for _ in range(size)]
        applied(flow, model.rows, changes)
        flow.commit()
        assert seen(driver) == sorted(model.rows.values(), key=key_of)


def test_what_comes_late_or_twice_changes_nothing(driver: Driver, flow: ChangeFlow) -> None:
    """A flush that died after its rows were sent, and one of an attempt that was overtaken."""
    rows = [made_row(i) for i in range(4)]
    flow.copy(rows)
    start = flow.lsn
    old = flow.batch([Change(Op.UPDATE, {**rows[0], "name": "old"}), Change(Op.INSERT, made_row(9))])
    new = flow.batch([Change(Op.UPDATE, {**rows[0], "name": "new"}), Change(Op.DELETE, made_row(9))])
    for batch in (old, new):
        flow.session.apply(flow.target, batch)
    flow.commit()
    expected = [{**rows[0], "name": "new"}, *rows[1:]]
    assert seen(driver) == expected
    assert start + 4 == flow.lsn
    for batch in (old, new, old):  # again, and out of order
        flow.session.apply(flow.target, batch)
        flow.commit()
        assert seen(driver) == expected
    flow.destination.fence("conformance", STREAM)
    flow.apply(Change(Op.DELETE, rows[1]))
    with pytest.raises(SynclineError) as caught:
        flow.commit()
    assert caught.value.kind is ErrorKind.CONFLICT
    assert seen(driver) == expected  # it was refused before anything was sent


def test_a_new_column_and_what_cannot_be_carried_out(driver: Driver, flow: ChangeFlow) -> None:
    flow.copy([made_row(1), made_row(2)])
    flow.flush(Change(Op.UPDATE, {**made_row(1), "price": 5}))
    flow.fields = (*FIELDS, Field(name="later", type=pa.int64()))
    flow.flush(Change(Op.UPDATE, {**made_row(1), "price": 5, "later": 7}), evolution=Evolution())
    found = seen(driver, "later")
    assert [(r["id"], r["price"], r["later"]) for r in found] == [(1, 5, 7), (2, 2, None)]
    with pytest.raises(SynclineError, match="a TRUNCATE of stream shop"):
        flow.flush(Change(Op.TRUNCATE))
    flow.session.rollback()
    flow.fields = (*flow.fields, Field(name="filled", type=pa.int64()))
    with pytest.raises(SynclineError, match="'filled' gives to old rows"):
        flow.flush(Change(Op.INSERT, made_row(3)), evolution=Evolution(backfill={"filled": pa.scalar(1)}))
    assert len(seen(driver)) == 2


def test_changes_that_are_appended_go_through_the_stage(driver: Driver, tmp_path: Path) -> None:
    """The default stream takes rows at least once: rows without a key are not sent to it."""
    with closing(ChangeFlow(driver, tmp_path / "work", "append")) as flow:
        flow.copy([made_row(1)])
        flow.flush(Change(Op.UPDATE, {**made_row(1), "price": 5}), Change(Op.DELETE, made_row(1)))
    assert sorted(driver.rows(["id", "_syncline_op"]), key=str) == [(1, "delete"), (1, "update"), (1, None)]


VALUES: dict[str, tuple[str, Any, Any]] = {
    "b": ("BOOL", True, True),
    "i": ("INT64", -(2**63), -(2**63)),
    "f": ("FLOAT64", float("inf"), float("inf")),
    "n": ("NUMERIC", "-0.000000001", Decimal("-0.000000001")),
    "g": ("BIGNUMERIC", "12345678901234567890.5", Decimal("12345678901234567890.5")),
    "s": ("STRING", 'quo"ted\nüni', 'quo"ted\nüni'),
    "e": ("STRING", "", ""),
    "x": ("BYTES", b"\x00\xff", b"\x00\xff"),
    "d": ("DATE", -719162, date(1, 1, 1)),
    "t": ("TIME", "23:59:59.999999", time(23, 59, 59, 999999)),
    "w": ("DATETIME", "2026-11-21 12:00:00.000001", datetime(2026, 11, 21, 12, 0, 0, 1)),  # noqa: DTZ001
    "m": ("TIMESTAMP", -1, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    "j": ("JSON", '{"a": [1, null]}', {"a": [1, None]}),
}


def test_each_type_on_the_wire(driver: Driver) -> None:
    """The protobuf form of every column type, read back by Google's own client."""
    place = f"`{driver.server.project}`.`{driver.dataset}`.wire"
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in VALUES.items())
    driver.server.rows(f"CREATE TABLE {place} (id INT64, {columns}, PRIMARY KEY (id) NOT ENFORCED)")
    form = RowForm({"id": "INT64", **{name: kind for name, (kind, _, _) in VALUES.items()}})
    sent = {"id": 1, **{name: value for name, (_, value, _) in VALUES.items()}}
    config = BigqueryDestinationConfig.model_validate(driver.reference().config)
    table = TableName(project=driver.server.project, dataset=driver.dataset, name="wire")
    with closing(DefaultStreams(config)) as streams:
        rows = [
            form.row(sent, "UPSERT", "1/1"),
            form.row({"id": 2}, "UPSERT", "1/2"),
            form.row({"id": 1}, "DELETE", "0/1"),
        ]
        streams.send(table, form, rows, "wire")
    [full, empty] = driver.server.rows(f"SELECT id, {', '.join(VALUES)} FROM {place} ORDER BY id")
    for name, found in zip(VALUES, full[1:], strict=True):
        assert found == VALUES[name][2], name
    assert empty == (2, *[None] * len(VALUES))


def opened(config: dict[str, Any], folder: Path) -> Destination:
    reference = ConnectorReference(type="bigquery", config=config)
    return open_destination(reference, ConnectorContext(connection="c", work_dir=folder))


def test_what_is_wrong_is_said_before_data_is_touched(driver: Driver, flow: ChangeFlow, tmp_path: Path) -> None:
    config = dict(driver.reference().config)
    with contextlib.closing(opened(config, tmp_path)) as destination:
        assert {f.severity for f in destination.check([flow.target])} == {Severity.OK}
        findings = destination.check([replace(flow.target, deletes="soft")])
        [said] = [f for f in findings if f.severity is Severity.ERROR]
        assert said.kind is ErrorKind.CONFIG
        assert "deletes: soft cannot be kept with changes: stream" in said.message
    with contextlib.closing(opened({**config, "storage_endpoint": "127.0.0.1:9"}, tmp_path)) as destination:
        [said] = destination.check()
        assert said.severity is Severity.ERROR
