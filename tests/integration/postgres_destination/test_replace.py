"""Whole copies: hidden until they are whole, then visible in one act."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pytest
from tests.integration.postgres_destination.harness import ORDERS, Run, batch, destination, orders, target

from syncline.core.errors import ErrorKind, SynclineError


def rows(db, query="SELECT id, name, amount FROM orders ORDER BY id"):
    return db.execute(query).fetchall()


def ours(db):
    return [
        r[0] for r in db.execute(r"SELECT relname FROM pg_class WHERE relname ~ '^_syncline_[a-z][0-9]'").fetchall()
    ]


def test_first_copy_appears_whole_with_its_metadata(dsn, db):
    with destination(dsn) as made:
        run = Run(made, target(), {"a": [orders((1, "x", "1.50"), (2, None, None))], "b": [orders((3, "", "-7"))]})
        run.start()
        run.commit(run.lay("a"))
        assert db.execute("SELECT to_regclass('orders')").fetchone() == (None,)
        run.commit(run.lay("b"))
        run.finish()
    assert rows(db) == [(1, "x", Decimal("1.50")), (2, None, None), (3, "", Decimal("-7.00"))]
    assert db.execute(
        "SELECT DISTINCT _syncline_extracted_at::text, _syncline_sync_id, _syncline_generation FROM orders"
    ).fetchall() == [("2026-11-21 08:00:00+00", "s1", 1)]
    assert ours(db) == []
    assert db.execute("SELECT count(*) FROM _syncline_staged").fetchone() == (0,)


def test_next_generation_takes_the_place_of_the_former(dsn, db):
    with destination(dsn) as made:
        Run(made, target(), {"a": [orders((1, "old"))]}).all()
        second = Run(made, target(generation=2, sync_id="s2"), {"a": [orders((2, "new"))]}, "plan2")
        second.start()
        second.commit(second.lay("a"))
        assert rows(db, "SELECT id, name FROM orders") == [(1, "old")]
        second.finish()
    assert rows(db, "SELECT id, name, _syncline_generation FROM orders") == [(2, "new", 2)]
    assert ours(db) == []


def test_empty_plan_gives_an_empty_table(dsn, db):
    with destination(dsn) as made:
        Run(made, target(), {}).all()
    assert rows(db) == []


def test_table_of_somebody_else_is_never_replaced(dsn, db):
    db.execute("CREATE TABLE orders (precious int)")
    with destination(dsn) as made, pytest.raises(SynclineError) as caught:
        Run(made, target(), {"a": [orders((1, "x"))]}).all()
    assert caught.value.kind is ErrorKind.CONFIG
    assert "public.orders" in caught.value.message
    assert rows(db, "SELECT * FROM orders") == []


def test_resumed_plan_keeps_what_was_committed_and_what_was_sealed(dsn, db):
    parts = {"a": [orders((1, "a"))], "b": [orders((2, "b"))], "c": [orders((3, "c"))]}
    with destination(dsn) as made:
        dead = Run(made, target(), parts).start()
        dead.commit(dead.lay("a"))
        dead.lay("b")  # sealed, and the coordinator died before it knew
    with destination(dsn) as made:
        again = Run(made, target(), parts)
        laid = again.all()
    assert [s.partition for s in again.recovered] == ["b"]
    assert [s.partition for s in laid] == ["c"]
    assert rows(db, "SELECT id FROM orders ORDER BY id") == [(1,), (2,), (3,)]


def test_new_plan_forgets_the_sealed_stages_of_the_former(dsn, db):
    with destination(dsn) as made:
        dead = Run(made, target(), {"a": [orders((1, "dead"))]}, "plan").start()
        dead.lay("a")
        fresh = Run(made, target(generation=2), {"a": [orders((1, "fresh"))]}, "other plan")
        fresh.all()
    assert fresh.recovered == []
    assert rows(db, "SELECT id, name FROM orders") == [(1, "fresh")]
    assert ours(db) == []


def test_deduped_copy_keeps_the_greatest_cursor_per_key(dsn, db):
    aim = target(dedupe=True, primary_key=("id",), cursor_field="changed")
    parts = {
        "a": [orders((1, "old", None, 1), (2, "only", None, None), (1, "none", None, None))],
        "b": [orders((1, "new", None, 3), (1, "mid", None, 2), (None, "no key", None, 9))],
    }
    with destination(dsn) as made:
        laid = Run(made, aim, parts).all()
    assert rows(db, "SELECT id, name FROM orders ORDER BY id") == [(1, "new"), (2, "only")]
    assert [(s.rows, s.quarantined) for s in laid] == [(3, 0), (2, 1)]
    assert rows(db, "SELECT column_name, reason, record ->> 'name' FROM _syncline_quarantine") == [
        ("id", "the primary key is NULL", "no key")
    ]
    assert rows(db, "SELECT conname FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'p'") == [
        ("orders_pkey",)
    ]


def test_quarantine_follows_the_generation(dsn, db):
    with destination(dsn) as made:
        Run(made, target(), {"a": [orders((1, "bad\0"), (2, "good"))]}).all()
        assert rows(db, "SELECT generation, record ->> 'id' FROM _syncline_quarantine") == [(1, "1")]
        Run(made, target(generation=2), {"a": [orders((1, "mended"), (2, "good"))]}, "plan2").all()
    assert rows(db, "SELECT count(*) FROM _syncline_quarantine") == [(0,)]


def test_column_dropped_at_the_source_stays_and_is_null(dsn, db):
    with destination(dsn) as made:
        Run(made, target(), {"a": [orders((1, "x", "5"))]}).all()
        db.execute("CREATE VIEW totals AS SELECT id, amount FROM orders")
        fewer = [f for f in ORDERS if f.name != "amount"]
        less = batch(fewer, {"id": [1], "name": ["y"], "changed": [None]})
        Run(made, target(generation=2, fields=fewer), {"a": [less]}, "plan2").all()
    assert rows(db, "SELECT id, name, amount FROM orders") == [(1, "y", None)]
    assert rows(db, "SELECT * FROM totals") == [(1, None)]


def test_unsafe_retype_stops_the_stream_and_names_the_statement(dsn, db):
    with destination(dsn) as made:
        Run(made, target(), {"a": [orders((1, "x"))]}).all()
        fields = [replace(f, type=pa.bool_()) if f.name == "amount" else f for f in ORDERS]
        with pytest.raises(SynclineError) as caught:
            Run(made, target(generation=2, fields=fields), {}, "plan2").all()
    assert caught.value.kind is ErrorKind.SCHEMA
    assert 'ALTER COLUMN "amount" TYPE boolean' in caught.value.hint
    assert rows(db, "SELECT id FROM orders") == [(1,)]


def test_generation_number_that_comes_again_starts_empty(dsn, db):
    """After the ledger was set back, what a dead plan left under the same number does not count."""
    with destination(dsn) as made:
        dead = Run(made, target(), {"a": [orders((1, "dead"), (2, "nul\0"))], "b": []}, "plan").start()
        dead.commit(dead.lay("a"))
        fresh = Run(made, target(), {"a": [orders((3, "fresh"))]}, "other plan")
        fresh.all()
    assert rows(db, "SELECT id, name FROM orders") == [(3, "fresh")]
    assert rows(db, "SELECT count(*) FROM _syncline_quarantine") == [(0,)]
