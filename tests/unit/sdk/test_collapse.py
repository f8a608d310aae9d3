"""Collapsing changes against the plainest model: one change after the other on a dict."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.core.batch import Misfit
from syncline.core.change import ChangeBatch, Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.sdk.collapse import Collapsed, collapse, stretches
from syncline.testing.memory_log import Change, change_batch

FIELDS = (
    Field(name="a", type=pa.int64()),
    Field(name="v", type=pa.string()),
    Field(name="b", type=pa.string()),
    Field(name="big", type=pa.string()),
    Field(name="huge", type=pa.string()),
)
KEY = ("a", "b")
SCHEMA = StreamSchema(fields=FIELDS)
Row = dict[str, Any]
Table = dict[tuple[Any, ...], Row]


def made(changes: list[Change]) -> ChangeBatch:
    return change_batch(SCHEMA, KEY, [(100 + i, 1, c) for i, c in enumerate(changes)])


KEYS = st.tuples(st.integers(0, 2), st.sampled_from(["x", "y"]))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Table, list[Change]]:
    """Rows at the destination, and changes as a log has them: inserts of what is not there, the rest of what is."""
    numbers = iter(range(10**6))

    def row(key: tuple[Any, ...]) -> Row:
        return {"a": key[0], "b": key[1], **{n: f"{n}{next(numbers)}" for n in ("v", "big", "huge")}}

    table = {key: row(key) for key in draw(st.lists(KEYS, unique=True))}
    now, changes = dict(table), []
    for _ in range(draw(st.integers(0, 14))):
        kind = draw(st.sampled_from(["insert", "update", "update", "delete", "move", "move", "truncate"]))
        key = draw(KEYS)
        if kind == "truncate" and draw(st.booleans()):
            now = {}
            changes.append(Change(stream="s", op=Op.TRUNCATE))
        elif kind == "insert" and key not in now:
            now[key] = row(key)
            changes.append(Change(stream="s", op=Op.INSERT, row=now[key]))
        elif kind == "delete" and key in now:
            changes.append(Change(stream="s", op=Op.DELETE, row=now.pop(key)))
        elif kind in ("update", "move") and key in now:
            to = draw(KEYS) if kind == "move" else key
            if to != key and to in now:
                continue
            unsaid = draw(st.sets(st.sampled_from(["big", "huge"])))
            old = now.pop(key)
            now[to] = {**row(to), **{n: old[n] for n in unsaid}}
            former = key if to != key else None
            changes.append(Change(stream="s", op=Op.UPDATE, row=now[to], old_key=former, unchanged=frozenset(unsaid)))
    return table, changes


def carried_out(found: Collapsed, table: Table) -> Table:
    """What the docstring of Collapsed tells a destination to do, for deletes that remove."""
    table = {} if found.truncate is not None else dict(table)
    assert found.lost is None
    rows = finished(found.upserts, table)
    for gone in found.deletes.changes.data.to_pylist():
        table.pop(tuple(gone[k] for k in KEY), None)
    table.update(rows)
    return table


def finished(final: Any, table: Table) -> Table:
    rows = final.changes.data.to_pylist()
    origins = rows if final.origin is None else final.origin.to_pylist()
    made: Table = {}
    for at, (row, origin) in enumerate(zip(rows, origins, strict=True)):
        unsaid = [n for n, mask in final.changes.unchanged.items() if mask[at].as_py()]
        assert all(row[n] is None for n in unsaid)
        base = table[tuple(origin[k] for k in KEY)] if unsaid else {}
        key = tuple(row[k] for k in KEY)
        assert key not in made
        made[key] = {**row, **{n: base[n] for n in unsaid}}
    return made


@given(histories())
@settings(max_examples=250)
def test_a_batch_leaves_what_its_changes_leave_one_by_one(history: tuple[Table, list[Change]]) -> None:
    table, changes = history
    expected = dict(table)
    for c in changes:
        if c.op is Op.TRUNCATE:
            expected = {}
            continue
        assert c.row is not None
        key = tuple(c.row[k] for k in KEY)
        if c.op is not Op.INSERT:
            expected.pop(c.old_key or key)
        if c.op is not Op.DELETE:
            expected[key] = dict(c.row)
    assert carried_out(collapse(made(changes), KEY), table) == expected


@given(histories())
@settings(max_examples=150)
def test_deleted_rows_can_be_kept_with_their_last_values(history: tuple[Table, list[Change]]) -> None:
    table, changes = history
    expected: dict[tuple[Any, ...], tuple[Row, bool]] = {k: (r, False) for k, r in table.items()}
    for c in changes:
        if c.op is Op.TRUNCATE:
            expected = {k: (r, True) for k, (r, _) in expected.items()}
            continue
        assert c.row is not None
        key = tuple(c.row[k] for k in KEY)
        if c.op is Op.DELETE or c.old_key:
            old = c.old_key or key
            expected[old] = (expected[old][0], True)
        if c.op is not Op.DELETE:
            expected[key] = (dict(c.row), False)

    seen = {k: (r, False) for k, r in table.items()}
    for part in stretches(made(changes)):
        found = collapse(part, KEY, keep_deleted=True)
        if found.truncate is not None:
            seen = {k: (r, True) for k, (r, _) in seen.items()}
        base = {k: r for k, (r, _) in seen.items()}
        kept, rows = finished(found.deletes, base), finished(found.upserts, base)
        assert not set(kept) & set(rows)
        seen.update({k: (r, True) for k, r in kept.items()})
        seen.update({k: (r, False) for k, r in rows.items()})
    assert seen == expected


def test_a_long_chain_of_updates_that_leave_a_value_out() -> None:
    """And one that moves at each step: pointers double, so that this takes no time."""
    steps = 20_000
    changes = [Change(stream="s", op=Op.UPDATE, row={"a": 0, "b": "x", "v": "0", "big": "B", "huge": "H"})]
    batch = made(changes)
    rows = pa.array(np.zeros(steps, np.int64))
    numbers = pa.array(np.arange(1, steps + 1))
    data = batch.data.take(rows)
    masked = replace(
        batch,
        data=pa.RecordBatch.from_arrays(
            [numbers, *data.columns[1:3], pa.nulls(steps, pa.string()), data.columns[4]], schema=data.schema
        ),
        op=batch.op.take(rows),
        lsn=batch.lsn.take(rows),
        ordinal=batch.ordinal.take(rows),
        committed_at=batch.committed_at.take(rows),
        unchanged={"big": pa.array(np.ones(steps, np.bool_))},
        old_key=pa.RecordBatch.from_arrays([pa.array(np.arange(steps)), data.columns[2]], names=["a", "b"]),
        moved=pa.array(np.ones(steps, np.bool_)),
    )
    found = collapse(masked, KEY)
    assert found.upserts.changes.data.to_pylist() == [{"a": steps, "v": "0", "b": "x", "big": None, "huge": "H"}]
    assert found.upserts.origin is not None
    assert found.upserts.origin.to_pylist() == [{"a": 0, "b": "x"}]
    assert found.upserts.changes.unchanged["big"].to_pylist() == [True]
    assert found.deletes.rows == steps


def test_an_update_that_leaves_values_out_after_a_delete_is_lost() -> None:
    row = {"a": 1, "b": "x", "v": "1", "big": None, "huge": "H"}
    changes = [
        Change(stream="s", op=Op.DELETE, row=row),
        Change(stream="s", op=Op.UPDATE, row=row, unchanged=frozenset({"big"})),
    ]
    found = collapse(made(changes), KEY)
    assert found.lost is not None
    assert found.lost.to_pylist() == [{"a": 1, "b": "x"}]
    assert (found.deletes.rows, found.upserts.rows) == (1, 0)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (pa.float64(), [float("nan"), 0.0, -0.0, float("nan"), 1.5], [2, 3, 4]),
        (pa.decimal128(12, 2), [Decimal("1.00"), Decimal("2.50"), Decimal("1.00")], [1, 2]),
        (pa.decimal256(60, 2), [Decimal("1.00"), Decimal("2.50"), Decimal("1.00")], [1, 2]),
        (pa.binary(), [b"", b"\0", b"", b"\0\0"], [1, 2, 3]),
        (pa.string(), ["a", "A", "a ", "a"], [1, 2, 3]),
        (pa.bool_(), [True, False, True], [1, 2]),
        (pa.uint64(), [2**64 - 1, 0, 2**64 - 1], [1, 2]),
        (pa.int64(), [-(2**63), 2**63 - 1, -(2**63)], [1, 2]),
        (pa.int16(), [-1, 1, -1], [1, 2]),
        (pa.timestamp("us", tz="UTC"), [datetime(2026, 1, 1, tzinfo=UTC)] * 2, [1]),
        (pa.list_(pa.int32()), [[1, 2], [1], [1, 2]], [1, 2]),
        (pa.month_day_nano_interval(), [(1, 2, 3), (1, 2, 4), (1, 2, 3)], [1, 2]),
    ],
    ids=str,
)
def test_keys_of_every_kind(kind: pa.DataType, values: list[Any], expected: list[int]) -> None:
    schema = StreamSchema(fields=(Field(name="k", type=kind), Field(name="n", type=pa.int32())))
    rows = len(values)
    batch = ChangeBatch(
        schema=schema,
        data=pa.RecordBatch.from_arrays(
            [pa.array(values, kind), pa.array(range(rows), pa.int32())], schema=schema.arrow()
        ),
        op=pa.array([int(Op.UPDATE)] * rows, pa.uint8()),
        lsn=pa.array(range(rows), pa.uint64()),
        ordinal=pa.array([1] * rows, pa.uint32()),
        committed_at=pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * rows, pa.timestamp("us", tz="UTC")),
    )
    found = collapse(batch, ["k"])
    assert found.upserts.changes.data.column("n").to_pylist() == expected
    assert found.upserts.changes.lsn.to_pylist() == expected
    assert found.deletes.rows == 0


def test_misfits_follow_their_rows_and_tell_keys_apart() -> None:
    def update(a: int | None, v: str | None) -> Change:
        return Change(stream="s", op=Op.UPDATE, row={"a": a, "b": "x", "v": v, "big": "B", "huge": "H"})

    batch = made([update(None, "1"), update(None, None), update(None, "3"), update(7, None), update(7, "5")])
    texts = [(0, "a", "NaN"), (1, "a", "inf"), (2, "a", "NaN"), (1, "v", "odd"), (3, "v", "gone")]
    batch = replace(batch, misfits=tuple(Misfit(row=r, column=c, text=t, reason="no") for r, c, t in texts))
    found = collapse(batch, KEY)
    assert found.upserts.changes.data.column("v").to_pylist() == [None, "3", "5"]
    assert [(m.row, m.column, m.text) for m in found.upserts.changes.misfits] == [
        (0, "a", "inf"),
        (0, "v", "odd"),
        (1, "a", "NaN"),
    ]


def test_a_change_without_its_key_is_refused() -> None:
    with pytest.raises(SynclineError) as caught:
        collapse(made([Change(stream="s", op=Op.DELETE, row={"a": None, "b": "x"})]), KEY)
    assert caught.value.kind is ErrorKind.DATA
    assert "REPLICA IDENTITY" in caught.value.hint
