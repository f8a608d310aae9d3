"""What hangs on a table survives a new generation: views, rights, owner, comments, indexes, constraints."""

from __future__ import annotations

import threading
import time

import pytest
from tests.integration.postgres_destination.harness import Run, destination, orders, target

from syncline.core.errors import ErrorKind, SynclineError


def rows(db, query):
    return db.execute(query).fetchall()


def first(made, **more):
    Run(made, target(**more), {"a": [orders((1, "one", "1"), (2, "two", "2"))]}).all()


def second(made, **more):
    Run(
        made, target(generation=2, sync_id="s2", **more), {"a": [orders((1, "uno", "10"), (3, "tre", "3"))]}, "plan2"
    ).all()


def test_views_show_the_new_rows_and_stay_themselves(dsn, db):
    with destination(dsn) as made:
        first(made)
        db.execute("CREATE SCHEMA reports")
        db.execute("CREATE VIEW reports.names WITH (security_barrier) AS SELECT o.name, o.amount FROM orders o")
        db.execute("CREATE VIEW reports.loud AS SELECT upper(name) AS name FROM reports.names")
        db.execute("COMMENT ON VIEW reports.names IS 'who'")
        db.execute("CREATE ROLE view_reader")
        db.execute("GRANT SELECT ON reports.names TO view_reader")
        before = rows(db, "SELECT 'reports.names'::regclass::oid")
        former = rows(db, "SELECT 'orders'::regclass::oid")
        second(made)
    assert rows(db, "SELECT 'orders'::regclass::oid") != former  # tables were exchanged, not rows
    assert rows(db, "SELECT name FROM reports.names ORDER BY 1") == [("tre",), ("uno",)]
    assert rows(db, "SELECT name FROM reports.loud ORDER BY 1") == [("TRE",), ("UNO",)]
    assert rows(db, "SELECT 'reports.names'::regclass::oid") == before
    assert rows(
        db,
        "SELECT obj_description('reports.names'::regclass), "
        "has_table_privilege('view_reader', 'reports.names', 'SELECT')",
    ) == [("who", True)]
    assert rows(db, "SELECT reloptions FROM pg_class WHERE oid = 'reports.names'::regclass") == [
        (["security_barrier=true"],)
    ]
    db.execute("DROP OWNED BY view_reader")
    db.execute("DROP ROLE view_reader")


def test_rights_owner_comments_and_indexes_are_carried_over(dsn, db):
    with destination(dsn) as made:
        first(made)
        db.execute('CREATE ROLE "an owner"')
        db.execute("CREATE ROLE reader")
        db.execute("GRANT SELECT ON orders TO reader WITH GRANT OPTION")
        db.execute("GRANT UPDATE (name) ON orders TO reader")
        db.execute("GRANT SELECT ON orders TO PUBLIC")
        db.execute("COMMENT ON TABLE orders IS 'it''s ours'")
        db.execute("COMMENT ON COLUMN orders.name IS '100% name'")
        db.execute('CREATE INDEX "by Name" ON orders USING btree (lower(name) DESC) INCLUDE (amount) WHERE amount > 0')
        db.execute("CREATE UNIQUE INDEX one_id ON orders (id)")
        db.execute("ALTER TABLE orders ADD CONSTRAINT sane CHECK (amount < 100)")
        db.execute("ALTER TABLE orders ADD CONSTRAINT named UNIQUE (name)")
        db.execute("ALTER TABLE orders ALTER COLUMN name SET NOT NULL")
        db.execute("ALTER TABLE orders SET (fillfactor = 70)")
        db.execute('GRANT CREATE ON SCHEMA public TO "an owner"')
        db.execute('ALTER TABLE orders OWNER TO "an owner"')
        listing = """
            SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'orders'
            UNION ALL
            SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass
            ORDER BY 1, 2
        """
        before = rows(db, listing)
        assert len(before) >= 5
        former = rows(db, "SELECT 'orders'::regclass::oid")
        second(made)
    assert rows(db, "SELECT 'orders'::regclass::oid") != former  # tables were exchanged, not rows
    assert rows(db, "SELECT name FROM orders ORDER BY id") == [("uno",), ("tre",)]
    assert rows(db, listing) == before
    assert rows(
        db,
        """
        SELECT pg_get_userbyid(relowner), reloptions, obj_description(oid), col_description(oid, 2),
               has_table_privilege('reader', oid, 'SELECT WITH GRANT OPTION'),
               has_column_privilege('reader', oid, 'name', 'UPDATE'), has_table_privilege('reader', oid, 'UPDATE')
        FROM pg_class WHERE oid = 'orders'::regclass
        """,
    ) == [("an owner", ["fillfactor=70"], "it's ours", "100% name", True, True, False)]
    for role in ('"an owner"', "reader"):
        db.execute(f"DROP OWNED BY {role}")
        db.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("thing", "look"),
    [
        ("CREATE MATERIALIZED VIEW m AS SELECT name FROM orders", "SELECT count(*) FROM m"),
        ("CREATE PUBLICATION p FOR TABLE orders", "SELECT tablename FROM pg_publication_tables"),
        ("CREATE STATISTICS s ON id, name FROM orders", "SELECT stxname FROM pg_statistic_ext"),
        (
            "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
            "SELECT relrowsecurity FROM pg_class WHERE relname = 'orders'",
        ),
        ("CREATE TABLE log (o orders)", "SELECT count(*) FROM log"),
        ("ALTER TABLE orders ADD mine int DEFAULT 7", "SELECT DISTINCT mine FROM orders"),
    ],
)
def test_rows_are_exchanged_where_the_table_cannot_be(dsn, db, thing, look):
    with destination(dsn) as made:
        first(made, dedupe=True, primary_key=("id",))
        db.execute(thing)
        before = rows(db, "SELECT 'orders'::regclass::oid")
        looked = rows(db, look)
        second(made, dedupe=True, primary_key=("id",))
    assert rows(db, "SELECT id, name FROM orders ORDER BY id") == [(1, "uno"), (3, "tre")]
    assert rows(db, "SELECT 'orders'::regclass::oid") == before
    assert rows(db, look) == looked
    assert rows(db, r"SELECT relname FROM pg_class WHERE relname ~ '^_syncline_g[0-9]'") == []


def test_foreign_key_of_another_table_is_kept_and_named_when_it_would_break(dsn, db):
    with destination(dsn) as made:
        first(made, dedupe=True, primary_key=("id",))
        db.execute("CREATE TABLE lines (order_id bigint REFERENCES orders (id))")
        db.execute("INSERT INTO lines VALUES (2)")
        with pytest.raises(SynclineError) as caught:
            second(made, dedupe=True, primary_key=("id",))
    assert caught.value.kind is ErrorKind.DATA
    assert "lines" in caught.value.message
    assert rows(db, "SELECT id FROM orders ORDER BY id") == [(1,), (2,)]


def test_unique_index_that_the_new_rows_break_keeps_the_old_rows(dsn, db):
    with destination(dsn) as made:
        first(made)
        db.execute("CREATE UNIQUE INDEX one_name ON orders (name)")
        twice = Run(made, target(generation=2), {"a": [orders((1, "same"), (2, "same"))]}, "plan2")
        with pytest.raises(SynclineError) as caught:
            twice.all()
    assert caught.value.kind is ErrorKind.DATA
    assert "one_name" in caught.value.message
    assert rows(db, "SELECT name FROM orders ORDER BY id") == [("one",), ("two",)]


def test_long_reader_is_waited_for_without_stopping_others(dsn, db, postgres_server, postgres_db):
    with destination(dsn) as made:
        first(made)
        with postgres_server.connect(postgres_db) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM orders")
            publishing = threading.Thread(target=second, args=(made,))
            publishing.start()
            slowest = 0.0
            for _ in range(10):
                began = time.monotonic()
                db.execute("SELECT count(*) FROM orders")
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.2)
            assert publishing.is_alive()
            assert slowest < 2.5
            reader.execute("COMMIT")
        publishing.join(30)
    assert rows(db, "SELECT name FROM orders ORDER BY id") == [("uno",), ("tre",)]


def test_reader_that_never_ends_is_named(dsn, db, postgres_server, postgres_db):
    with destination(dsn, lock_timeout=1) as made:
        first(made)
        with postgres_server.connect(postgres_db) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM orders")
            pid = reader.info.backend_pid
            with pytest.raises(SynclineError) as caught:
                second(made)
    assert caught.value.kind is ErrorKind.CONFLICT
    assert f"pid {pid}" in caught.value.message


def test_table_put_in_the_place_of_ours_is_not_ours(dsn, db):
    with destination(dsn) as made:
        first(made)
        db.execute("ALTER TABLE orders RENAME TO kept")
        db.execute("CREATE TABLE orders (LIKE kept)")
        with pytest.raises(SynclineError) as caught:
            second(made)
        assert caught.value.kind is ErrorKind.CONFIG
        # After a restore from a dump no oid is what it was: then the name counts.
        db.execute("DROP TABLE orders")
        db.execute("ALTER TABLE kept RENAME TO orders")
        db.execute("UPDATE _syncline_ledger SET ledger_oid = 1, table_oid = 2")
        second(made)
    assert rows(db, "SELECT name FROM orders ORDER BY id") == [("uno",), ("tre",)]


def test_table_of_another_stream_is_a_conflict_that_names_it(dsn, db):
    with destination(dsn) as made:
        first(made)
        with pytest.raises(SynclineError) as caught:
            first(made, namespace="other")
    assert caught.value.kind is ErrorKind.CONFLICT
    assert "stream shop.orders of connection 'c'" in caught.value.message
