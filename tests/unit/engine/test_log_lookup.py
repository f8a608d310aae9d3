"""Values that a change left out, taken from rows looked up at the source; also those that no carrier holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from syncline.core.batch import Batch, Misfit
from syncline.core.change import ChangeBatch, Op
from syncline.core.schema import Field, StreamSchema
from syncline.engine.log_lookup import as_inserts, doubtful, filled, left_out

SCHEMA = StreamSchema(
    fields=(
        Field(name="id", type=pa.int64()),
        Field(name="n", type=pa.decimal128(10, 2)),
        Field(name="big", type=pa.string()),
    )
)


def batch(rows: list[dict[str, Any]], **unchanged: list[bool]) -> ChangeBatch:
    count = len(rows)
    return ChangeBatch(
        schema=SCHEMA,
        data=pa.RecordBatch.from_pylist(rows, SCHEMA.arrow()),
        op=pa.array([int(Op.UPDATE)] * count, pa.uint8()),
        lsn=pa.array([100] * count, pa.uint64()),
        ordinal=pa.array(range(1, count + 1), pa.uint32()),
        committed_at=pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * count, pa.timestamp("us", "UTC")),
        unchanged={name: pa.array(mask) for name, mask in unchanged.items()},
    )


def fetched(*rows: dict[str, Any], misfits: tuple[Misfit, ...] = ()) -> Batch:
    return Batch(data=pa.RecordBatch.from_pylist(list(rows), SCHEMA.arrow()), misfits=misfits)


def test_only_what_was_left_out_and_asked_for_is_filled() -> None:
    changes = batch(
        [{"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 3, "n": 3, "big": "own"}, {"id": 4, "n": 4}],
        big=[True, True, False, True],
    )
    assert left_out(changes).to_pylist() == [True, True, False, True]
    wanted = pa.array([True, False, True, True])
    found = filled(changes, ["id"], wanted, fetched({"id": 3, "n": 9, "big": "x"}, {"id": 1, "n": 9, "big": "one"}))
    assert found.data.column("big").to_pylist() == ["one", None, "own", None]
    assert found.data.column("n").to_pylist() == [Decimal(i) for i in (1, 2, 3, 4)]


def test_values_without_a_place_in_their_carrier_come_with_their_text() -> None:
    told = Misfit(row=0, column="n", text="NaN", reason="not a number")
    rows = fetched({"id": 2, "big": "b"}, misfits=(told,))
    changes = batch([{"id": 1, "n": 1}, {"id": 2}], n=[False, True], big=[True, True])
    found = filled(changes, ["id"], left_out(changes), rows)
    assert [(m.row, m.column, m.text) for m in found.misfits] == [(1, "n", "NaN")]
    assert as_inserts(rows, SCHEMA, changes).misfits == (told,)


def test_a_fetched_row_may_be_another_one() -> None:
    changes = batch([{"id": 1, "n": 1}, {"id": 1, "n": 2}, {"id": 2, "n": 3}], big=[True, True, False])
    wanted = left_out(changes)

    def doubt(*rows: dict[str, Any], of: ChangeBatch = changes) -> bool:
        return doubtful(of, ["id"], wanted, fetched(*rows))

    assert not doubt({"id": 1, "n": 2, "big": "one"}), "as its last change left it"
    assert doubt({"id": 1, "n": 1, "big": "one"}), "not the last one"
    assert doubt(), "gone"
    assert doubt({"id": 2, "n": 3, "big": "two"}), "another's"
    moved = replace(changes, moved=pa.array([False, True, False]))
    assert doubt({"id": 1, "n": 2, "big": "one"}, of=moved), "it has come to this key, another may have come since"
    elsewhere = replace(changes, moved=pa.array([False, False, True]))
    assert not doubt({"id": 1, "n": 2, "big": "one"}, of=elsewhere)
