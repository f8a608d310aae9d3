"""Batches of changes put together before they are applied."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from syncline.core.batch import Misfit
from syncline.core.change import ChangeBatch, Evolution, Op, concat_changes
from syncline.core.schema import Field, StreamSchema

SCHEMA = StreamSchema(fields=(Field(name="id", type=pa.int64()), Field(name="v", type=pa.string())))
KEYS = pa.schema([("id", pa.int64())])


def batch(first: int, rows: int, schema: StreamSchema = SCHEMA) -> ChangeBatch:
    data = [{"id": first + i, "v": None if i % 2 else f"v{first + i}"} for i in range(rows)]
    return ChangeBatch(
        schema=schema,
        data=pa.RecordBatch.from_pylist(data, schema.arrow()),
        op=pa.array([int(Op.UPDATE)] * rows, pa.uint8()),
        lsn=pa.array([first + i for i in range(rows)], pa.uint64()),
        ordinal=pa.array([1] * rows, pa.uint32()),
        committed_at=pa.array([first] * rows, pa.timestamp("us", "UTC")),
    )


def test_one_is_itself() -> None:
    only = batch(1, 3)
    assert concat_changes([only]) is only


def test_each_row_keeps_what_belongs_to_it() -> None:
    evolution = Evolution(renamed={"v": "w"})
    begins = replace(batch(0, 0), evolution=evolution)
    plain = batch(10, 2)
    told = replace(
        batch(20, 3),
        unchanged={"v": pa.array([False, True, False])},
        old_key=pa.RecordBatch.from_arrays([pa.array([None, None, 5], pa.int64())], schema=KEYS),
        moved=pa.array([False, False, True]),
        misfits=(Misfit(row=1, column="v", text="?", reason="odd"),),
    )
    last = replace(batch(30, 1), unchanged={"id": pa.array([True])})
    whole = concat_changes([begins, plain, told, last])
    assert whole.evolution == evolution
    assert whole.data.column("id").to_pylist() == [10, 11, 20, 21, 22, 30]
    assert whole.data.column("v").to_pylist() == ["v10", None, "v20", None, "v22", "v30"]
    assert whole.lsn.to_pylist() == [10, 11, 20, 21, 22, 30]
    assert [whole.op.type, whole.ordinal.type, whole.committed_at.type] == [
        pa.uint8(),
        pa.uint32(),
        pa.timestamp("us", "UTC"),
    ]
    assert {name: mask.to_pylist() for name, mask in whole.unchanged.items()} == {
        "v": [False, False, False, True, False, False],
        "id": [False] * 5 + [True],
    }
    assert whole.moved is not None
    assert whole.old_key is not None
    assert whole.moved.to_pylist() == [False] * 4 + [True, False]
    assert whole.old_key.column("id").to_pylist() == [None] * 4 + [5, None]
    assert [(m.row, m.text) for m in whole.misfits] == [(3, "?")]


@pytest.mark.parametrize("change", ["evolution", "schema"])
def test_a_change_of_columns_in_between_is_refused(change: str) -> None:
    wider = StreamSchema(fields=(*SCHEMA.fields, Field(name="w", type=pa.int64())))
    second = replace(batch(2, 1), evolution=Evolution()) if change == "evolution" else batch(2, 1, wider)
    with pytest.raises(ValueError, match="cannot be one"):
        concat_changes([batch(1, 1), second])
