"""Increments: added, or merged by key; each commit visible and counted once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pytest
from tests.integration.postgres_destination.harness import ORDERS, Run, batch, destination, orders, target

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import WriteMode


def rows(db, query):
    return db.execute(query).fetchall()


def merge(**more):
    return target(write=WriteMode.MERGE, primary_key=("id",), cursor_field="changed", **more)


def append(**more):
    return target(write=WriteMode.APPEND, **more)


def test_each_append_is_visible_with_its_commit(dsn, db):
    with destination(dsn) as made:
        run = Run(made, append(), {"a": [orders((1, "x"))], "b": [orders((1, "x"))]}).start()
        run.commit(run.lay("a"))
        assert rows(db, "SELECT id, name FROM orders") == [(1, "x")]
        run.commit(run.lay("b"))
        run.finish()
        Run(made, append(sync_id="s2"), {"a": [orders((2, "y"))]}, "plan2").all()
    assert rows(db, "SELECT id, name, _syncline_sync_id FROM orders ORDER BY 1, 3") == [
        (1, "x", "s1"),
        (1, "x", "s1"),
        (2, "y", "s2"),
    ]
    assert rows(db, r"SELECT relname FROM pg_class WHERE relname ~ '^_syncline_s[0-9]'") == []


def test_merge_replaces_by_key_and_takes_the_greatest_cursor(dsn, db):
    with destination(dsn) as made:
        Run(made, target(dedupe=True, primary_key=("id",)), {"a": [orders((1, "one"), (2, "two"))]}).all()
        change = orders((2, "second", "1", 5), (2, "first", "0", 4), (3, "three"), (2, "void", "9", None))
        Run(made, merge(sync_id="s2"), {"a": [change]}, "plan2").all()
    assert rows(db, "SELECT id, name, amount, _syncline_sync_id FROM orders ORDER BY id") == [
        (1, "one", None, "s1"),
        (2, "second", Decimal("1.00"), "s2"),
        (3, "three", None, "s2"),
    ]


def test_partitions_of_one_plan_may_commit_in_any_order(dsn, db):
    parts = {"early": [orders((1, "stale", None, 1))], "late": [orders((1, "current", None, 2))]}
    with destination(dsn) as made:
        run = Run(made, merge(), parts).start()
        early, late = run.lay("early"), run.lay("late")
        run.commit(late)
        run.commit(early)
        run.finish()
        assert rows(db, "SELECT name FROM orders") == [("current",)]
        # A later plan has read later: its word counts even where the cursor went back.
        Run(made, merge(sync_id="s2"), {"a": [orders((1, "corrected", None, None))]}, "plan2").all()
    assert rows(db, "SELECT name FROM orders") == [("corrected",)]


def test_several_stages_in_one_commit(dsn, db):
    with destination(dsn) as made:
        run = Run(made, append(), {"a": [orders((1,))], "b": [orders((2,), (3,))]}).start()
        run.commit(run.lay("a"), run.lay("b"))
        run.finish()
    assert rows(db, "SELECT count(*) FROM orders") == [(3,)]


def test_null_key_goes_to_quarantine_with_the_commit(dsn, db):
    with destination(dsn) as made:
        run = Run(made, merge(), {"a": [orders((None, "nobody"), (1, "x"))]}).start()
        staged = run.lay("a")
        assert (staged.rows, staged.quarantined) == (1, 1)
        assert rows(db, "SELECT count(*) FROM _syncline_quarantine") == [(0,)]
        run.commit(staged)
        run.finish()
    assert rows(db, "SELECT stream_name, partition_id, column_name, record ->> 'name' FROM _syncline_quarantine") == [
        ("orders", "a", "id", "nobody")
    ]


def test_sealed_stage_of_a_dead_run_is_committed_without_reading_again(dsn, db):
    parts = {"a": [orders((1,))], "b": [orders((2,))]}
    with destination(dsn) as made:
        Run(made, append(), parts).start().lay("a")
    with destination(dsn) as made:
        again = Run(made, append(), parts)
        again.all()
    assert [s.partition for s in again.recovered] == ["a"]
    assert rows(db, "SELECT id FROM orders ORDER BY id") == [(1,), (2,)]


def test_stage_emptied_by_a_server_crash_is_noticed(dsn, db):
    for aim in (append(), merge(stream="merged")):
        with destination(dsn) as made:
            run = Run(made, aim, {"a": [orders((1,))]}).start()
            staged = run.lay("a")
            db.execute(f"TRUNCATE {staged.payload['relation']}")  # what the server does to unlogged tables
            with pytest.raises(SynclineError) as caught:
                run.commit(staged)
            assert caught.value.kind is ErrorKind.TRANSIENT
            again = Run(made, aim, {"a": [orders((1,))]})
            again.all()
            assert again.recovered == []
        assert rows(db, f"SELECT id FROM {aim.stream.name}") == [(1,)]


def test_added_column_and_widened_type_follow_the_source(dsn, db):
    narrow = (Field(name="id", type=pa.int32()), Field(name="weight", type=pa.float32()))
    wide = (
        Field(name="id", type=pa.int64()),
        Field(name="weight", type=pa.float64()),
        Field(name="note", type=pa.string()),
    )
    with destination(dsn) as made:
        Run(made, append(fields=narrow), {"a": [batch(narrow, {"id": [1], "weight": [0.5]})]}).all()
        more = batch(wide, {"id": [2**40], "weight": [0.1], "note": ["n"]})
        Run(made, append(fields=wide, sync_id="s2"), {"a": [more]}, "plan2").all()
        # Narrower values fit into what is there.
        Run(
            made, append(fields=narrow, sync_id="s3"), {"a": [batch(narrow, {"id": [3], "weight": [1]})]}, "plan3"
        ).all()
    assert rows(db, "SELECT id, weight, note FROM orders ORDER BY 1") == [
        (1, 0.5, None),
        (3, 1.0, None),
        (2**40, 0.1, "n"),
    ]


def test_unsafe_retype_stops_before_any_row(dsn, db):
    with destination(dsn) as made:
        Run(made, append(), {"a": [orders((1, "x"))]}).all()
        fields = [replace(f, type=pa.int64()) if f.name == "name" else f for f in ORDERS]
        with pytest.raises(SynclineError) as caught:
            Run(made, append(fields=fields), {"a": []}, "plan2").start()
    assert caught.value.kind is ErrorKind.SCHEMA
    assert 'ALTER TABLE "public"."orders" ALTER COLUMN "name" TYPE bigint USING "name"::bigint' in caught.value.hint


def test_table_of_somebody_else_is_used_as_it_is(dsn, db):
    db.execute(
        """
        CREATE TABLE orders (
            id bigint UNIQUE, name varchar(5) NOT NULL, amount numeric(15,2) CHECK (amount >= 0), changed timestamptz,
            serial int GENERATED ALWAYS AS IDENTITY, extra text DEFAULT 'theirs'
        )
        """
    )
    refused = orders((1, "ok", "1"), (2, None, "1"), (3, "toolong", "1"), (4, "neg", "-1"), (5, "fine", None))
    with destination(dsn) as made:
        laid = Run(made, append(), {"a": [refused]}).all()
    assert (laid[0].rows, laid[0].quarantined) == (2, 3)
    assert rows(db, "SELECT id, name, extra FROM orders ORDER BY id") == [(1, "ok", "theirs"), (5, "fine", "theirs")]
    aside = rows(db, "SELECT record ->> 'id', column_name, reason FROM _syncline_quarantine ORDER BY 1")
    assert [(number, column) for number, column, _ in aside[:2]] == [("2", "name"), ("3", "name")]
    assert aside[2][0] == "4" and "check constraint" in aside[2][2]
    with destination(dsn) as made, pytest.raises(SynclineError) as caught:
        Run(made, target(generation=2), {}, "plan2").all()
    assert caught.value.kind is ErrorKind.CONFIG


def test_merging_into_a_table_without_a_unique_key(dsn, db):
    db.execute("CREATE TABLE orders (id bigint, name text, amount numeric(15,2), changed timestamptz)")
    with destination(dsn) as made:
        with pytest.raises(SynclineError) as caught:
            Run(made, merge(), {"a": [orders((1,))]}).all()
        assert caught.value.hint == 'CREATE UNIQUE INDEX ON "public"."orders" ("id")'
        db.execute(caught.value.hint)
        Run(made, merge(), {"a": [orders((1, "x"))]}).all()
    assert rows(db, "SELECT id, name FROM orders") == [(1, "x")]


def test_appended_table_becomes_mergeable(dsn, db):
    with destination(dsn) as made:
        Run(made, append(), {"a": [orders((1, "old", None, 1), (1, "new", None, 2), (2, "b"))]}).all()
        Run(made, merge(sync_id="s2"), {"a": [orders((2, "c"))]}, "plan2").all()
    assert rows(db, "SELECT id, name FROM orders ORDER BY id") == [(1, "new"), (2, "c")]


def test_key_of_several_columns_and_nothing_else(dsn, db):
    fields = (Field(name="b", type=pa.string()), Field(name="a", type=pa.int64()))
    aim = target(write=WriteMode.MERGE, fields=fields, primary_key=("a", "b"), metadata=False)
    data = pa.RecordBatch.from_arrays([pa.array(["x", "x"]), pa.array([1, 1])], names=["b", "a"])
    from syncline.core.batch import Batch

    with destination(dsn) as made:
        Run(made, aim, {"a": [Batch(data=data)]}).all()
        Run(made, aim, {"a": [Batch(data=data)]}, "plan2").all()
    assert rows(db, "SELECT * FROM orders") == [("x", 1)]
