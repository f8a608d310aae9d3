"""Whole copies: hidden until they are whole, then visible in one act."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.integration.postgres_destination.harness import Run, destination, orders, target

from syncline.core.errors import ErrorKind, SynclineError


@pytest.fixture
def dsn(postgres_server, postgres_db):
    return postgres_server.params(postgres_db)


@pytest.fixture
def db(postgres_server, postgres_db):
    with postgres_server.connect(postgres_db) as connection:
        yield connection


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
