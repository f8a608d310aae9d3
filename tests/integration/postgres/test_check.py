"""Discover and check: what is offered, what is refused, and the statement that mends it."""

from __future__ import annotations

import pytest
from tests.integration.postgres.harness import APPEND, MERGE, SMALL, ids

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, SyncMode
from syncline.sdk.findings import Severity


@pytest.fixture
def shop(db):
    db.execute(
        "CREATE SCHEMA sales",
        "CREATE TABLE orders (id int PRIMARY KEY, customer int, updated_at timestamptz, secret text)",
        "CREATE INDEX ON orders (updated_at)",
        "CREATE TABLE sales.orders (id int PRIMARY KEY)",
        'CREATE TABLE "Order Lines" ("No" int, "select" int, PRIMARY KEY ("No", "select"))',
        "CREATE TABLE log (at timestamp, line text)",
        "CREATE TABLE events (id int, day date) PARTITION BY RANGE (id)",
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10)",
        "INSERT INTO orders VALUES (1, 2, now(), 'x')",
    )
    role = f"reader_{db.name}"
    db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    yield db
    db.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def names(db, **config):
    return [str(s.name) for s in db.source(**config).discover().streams]


def reader(db, **config):
    return {"username": f"reader_{db.name}", "password": "pw", **config}


def test_the_filter_takes_names_schemas_and_patterns(shop):
    everything = ["public.Order Lines", "public.events", "public.log", "public.orders"]
    assert names(shop) == everything
    assert names(shop, schemas=["sales", "public"]) == [*everything, "sales.orders"]
    assert names(shop, tables=["orders"]) == ["public.orders"]
    assert names(shop, tables=["sales.orders", "log"], schemas=["public", "sales"]) == ["public.log", "sales.orders"]
    assert names(shop, tables=["*o*"]) == ["public.log", "public.orders"]
    assert names(shop, tables=["e*"]) == ["public.events"]  # partitions only when named
    assert names(shop, tables=["events_1"]) == ["public.events_1"]
    assert names(shop, tables=["Order Lines"]) == ["public.Order Lines"]


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"tables": ["ordesr"]}, "did you mean 'orders'?"),
        ({"tables": ["sales.orders"]}, "add 'sales' to schemas"),
        ({"tables": ["zzz*"]}, "syncline discover"),
        ({"schemas": ["sale"]}, "did you mean 'sales'?"),
    ],
)
def test_what_is_not_there_is_named_with_what_is_nearest(shop, config, hint):
    with pytest.raises(SynclineError) as caught:
        shop.source(**config).discover()
    assert caught.value.kind is ErrorKind.CONFIG
    assert hint in caught.value.hint
    finding = shop.source(**config).check()[-1]
    assert (finding.severity, finding.kind) == (Severity.ERROR, ErrorKind.CONFIG)


def test_missing_rights_come_with_their_grants_and_these_suffice(shop):
    role = f"reader_{shop.name}"
    config = reader(shop, tables=["orders", "log"])
    with pytest.raises(SynclineError) as caught:
        shop.source(**config).discover()
    assert caught.value.kind is ErrorKind.PERMISSION
    errors = [f for f in shop.source(**config).check() if f.severity is Severity.ERROR]
    assert {f.hint for f in errors} == {
        f'GRANT SELECT ON TABLE "public"."orders" TO "{role}"',
        f'GRANT SELECT ON TABLE "public"."log" TO "{role}"',
    }
    shop.execute(*(f.hint for f in errors))
    assert names(shop, **config) == ["public.log", "public.orders"]
    assert not [f for f in shop.source(**config).check() if f.severity is Severity.ERROR]
    sales = reader(shop, schemas=["sales"], tables=["orders"])
    errors = [f for f in shop.source(**sales).check() if f.severity is Severity.ERROR]
    assert [f.kind for f in errors] == [ErrorKind.PERMISSION]
    shop.execute(errors[0].hint)
    assert names(shop, **sales) == ["sales.orders"]


def test_columns_that_may_not_be_read_are_left_out_and_said(shop):
    shop.execute(f"GRANT SELECT (id, customer, updated_at) ON orders TO reader_{shop.name}")
    config = reader(shop, tables=["orders"])
    source = shop.source(**config)
    stream = source.discover().streams[0]
    assert stream.schema.names == ("id", "customer", "updated_at")
    assert stream.primary_key == ("id",)
    warning = next(f for f in source.check() if "left out" in f.message)
    assert '"secret"' in warning.message
    sync = shop.sync("orders", APPEND, cursor="updated_at", **config)
    assert ids(sync.run()) == [1]
    assert sync.run() == []
    shop.execute(warning.hint)
    assert "secret" in shop.source(**config).discover().streams[0].schema.names


def test_a_large_table_without_a_key_and_with_rights_on_columns_only_is_read_as_one(shop):
    shop.execute(
        "CREATE TABLE wide AS SELECT i AS id, repeat('x', 100) AS v, 1 AS hidden FROM generate_series(1, 5000) AS i",
        f"GRANT SELECT (id, v) ON wide TO reader_{shop.name}",
    )
    sync = shop.sync("wide", "full_refresh_overwrite", **reader(shop, partition_bytes=SMALL))
    assert len(sync.prepare().partitions) == 1
    assert ids(sync.finish()) == list(range(1, 5001))


def test_row_security_that_hides_rows_is_said(shop):
    role = f"reader_{shop.name}"
    shop.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY", f"GRANT SELECT ON orders TO {role}")
    config = reader(shop, tables=["orders"])
    assert any("row security" in f.message for f in shop.source(**config).check())
    assert not any("row security" in f.message for f in shop.source(tables=["orders"]).check())
    shop.execute(f'ALTER ROLE "{role}" BYPASSRLS')
    assert not any("row security" in f.message for f in shop.source(**config).check())


def selected(db, table, mode, cursor=None, **config):
    stream = db.selected(table, source=db.source(**config)).stream
    return SelectedStream(stream=stream, sync_mode=SyncMode(mode), cursor_field=cursor, primary_key=stream.primary_key)


def warnings(findings):
    return {f.message: f.hint for f in findings if f.severity is Severity.WARNING}


def test_a_cursor_without_an_index_comes_with_the_statement_that_makes_it(shop):
    source = shop.source()
    choice = [selected(shop, "log", APPEND, "at"), selected(shop, "orders", MERGE, "updated_at")]
    found = warnings(source.check(choice))
    hint = next(hint for message, hint in found.items() if "no index" in message)
    assert hint == 'CREATE INDEX CONCURRENTLY ON "public"."log" ("at")'
    shop.execute(hint)
    assert not any("no index" in message for message in warnings(source.check(choice)))
    parted = warnings(source.check([selected(shop, "events", APPEND, "day")]))
    hint = next(hint for message, hint in parted.items() if "no index" in message)
    assert hint == 'CREATE INDEX ON "public"."events" ("day")'
    shop.execute(hint)


def test_cursor_findings_say_what_may_be_missed(shop):
    source = shop.source()
    found = warnings(source.check([selected(shop, "orders", APPEND, "id")]))
    assert any("is no time" in message and "lookback_window" in hint for message, hint in found.items())
    errors = [f for f in source.check([selected(shop, "orders", APPEND, "nope")]) if f.severity is Severity.ERROR]
    assert errors[0].kind is ErrorKind.CONFIG
    assert "updated_at" in errors[0].hint
    message = next(f.message for f in source.check([selected(shop, "log", APPEND, "at")]) if "time zone" in f.message)
    assert "UTC" in message


def test_the_right_to_see_open_transactions_is_said_where_it_matters(shop):
    role = f"reader_{shop.name}"
    shop.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    config = reader(shop)
    choice = [selected(shop, "orders", MERGE, "updated_at", **config)]
    found = warnings(shop.source(**config).check(choice))
    hint = next(hint for message, hint in found.items() if "not visible" in message)
    assert hint.startswith(f'GRANT pg_read_all_stats TO "{role}"')
    shop.execute(hint.partition(",")[0])
    assert not any("not visible" in message for message in warnings(shop.source(**config).check(choice)))
    full = [selected(shop, "orders", "full_refresh_overwrite", **config)]
    assert not any("visible" in f.message for f in shop.source(**config).check(full))


def test_tables_without_a_key_views_and_unlogged_tables_are_explained(shop):
    shop.execute("CREATE UNLOGGED TABLE cache (id int PRIMARY KEY)", "CREATE VIEW v AS SELECT 1 AS id")
    shop.execute("INSERT INTO log SELECT now(), repeat('x', 200) FROM generate_series(1, 3000)")
    found = shop.source(partition_bytes=SMALL).check()
    texts = " ".join(f"{f.message} {f.hint}" for f in found)
    assert "public.log has no primary key" in texts
    assert "starts over" in texts
    assert 'ALTER TABLE "public"."cache" SET LOGGED' in texts
    assert "view public.v: readable" in texts
    assert "key (No, select)" in texts
    assert not [f for f in found if f.severity is Severity.ERROR]
    assert found[0].message.startswith("PostgreSQL ")
    errors = [
        f
        for f in shop.source(replication_method="Xmin").check([selected(shop, "v", MERGE)])
        if f.severity is Severity.ERROR
    ]
    assert "have no xmin" in errors[0].message


def test_a_selected_stream_that_is_gone_is_an_error(shop):
    choice = [selected(shop, "log", "full_refresh_overwrite")]
    shop.execute("DROP TABLE log")
    finding = next(f for f in shop.source().check(choice) if f.severity is Severity.ERROR)
    assert (finding.kind, finding.stream) == (ErrorKind.SCHEMA, "public.log")


def test_a_unique_index_on_not_null_columns_serves_as_key(db):
    db.execute(
        "CREATE TABLE t (a int NOT NULL, b int NOT NULL, c int UNIQUE)",
        "CREATE UNIQUE INDEX ON t (b, a)",
        "CREATE UNIQUE INDEX partial ON t (a) WHERE a > 0",
        "CREATE TABLE u (a int NOT NULL, b int NOT NULL UNIQUE)",
        "CREATE UNIQUE INDEX identity ON u (a)",
        "ALTER TABLE u REPLICA IDENTITY USING INDEX identity",
        "CREATE TABLE d (a int NOT NULL UNIQUE DEFERRABLE)",
        "CREATE TABLE i (b int, a int, PRIMARY KEY (a) INCLUDE (b))",
    )
    keys = {s.name.name: s.primary_key for s in db.source().discover().streams}
    assert keys == {"t": ("b", "a"), "u": ("a",), "d": (), "i": ("a",)}


def test_cursor_candidates_are_in_a_useful_order(db):
    db.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, created_at timestamptz, seen date, updated_at timestamp, n int, v text,"
        " rev numeric, changed timestamptz)",
        "CREATE INDEX ON t (n)",
    )
    stream = db.source().discover().streams[0]
    assert stream.cursor_fields == ("updated_at", "id", "n", "changed", "created_at", "seen")
    stream = db.source(cursor=["rev", "seen"]).discover().streams[0]
    assert stream.cursor_fields[:3] == ("rev", "seen", "updated_at")


def test_estimates_come_from_statistics(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 1000)", "ANALYZE t")
    stream = db.source().discover().streams[0]
    assert stream.estimated_rows == 1000
    assert stream.estimated_bytes > 0


def test_our_sessions_name_themselves_and_read_only(db):
    db.execute(
        "CREATE VIEW v AS SELECT 1 AS id, current_setting('application_name') AS name,"
        " current_setting('transaction_read_only') AS ro"
    )
    assert db.sync("v", "full_refresh_overwrite").run() == [{"id": 1, "name": "syncline test", "ro": "on"}]
