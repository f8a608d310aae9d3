"""What check says, in the server's own terms, without leaving anything behind."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from tests.integration.postgres_destination.harness import Run, destination, orders, target

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.sdk.findings import Severity


def problems(findings):
    return [(f.kind, f.message, f.hint) for f in findings if f.severity is not Severity.OK]


@pytest.fixture
def pauper(postgres_server, postgres_db, db):
    """A role without any right, and its connection parameters."""
    db.execute("CREATE ROLE pauper LOGIN PASSWORD 'poor'")
    yield postgres_server.params(postgres_db, user="pauper", password="poor")
    db.execute("DROP OWNED BY pauper")
    db.execute("DROP ROLE pauper")


def test_all_well_leaves_nothing(dsn, db):
    with destination(dsn, schema="not there yet") as made:
        assert problems(made.check()) == []
        assert problems(made.check([target(), target(stream="other")])) == []
    assert db.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'not there yet'").fetchall() == []


def test_missing_rights_come_with_the_grant(pauper, db):
    with destination(pauper, schema="public") as made:
        (kind, _, hint), *_ = problems(made.check([target()]))
        assert kind is ErrorKind.PERMISSION
        assert hint == 'GRANT USAGE, CREATE ON SCHEMA "public" TO "pauper"'
        with pytest.raises(SynclineError) as caught:
            made.fence("c", target().stream)
        assert caught.value.kind is ErrorKind.PERMISSION
        assert caught.value.hint == hint
        db.execute(hint)
        assert problems(made.check([target()])) == []
        Run(made, target(), {"a": [orders((1,))]}).all()
    with destination(pauper, schema="new") as made:
        (kind, _, hint), *_ = problems(made.check())
        assert kind is ErrorKind.PERMISSION
        assert hint.startswith('CREATE SCHEMA "new" AUTHORIZATION "pauper"')


def test_unreachable_and_wrong_password(dsn):
    with destination({**dsn, "password": "wrong"}) as made:
        assert problems(made.check())[0][0] is ErrorKind.AUTH
    with destination({**dsn, "port": 1}) as made:
        assert problems(made.check())[0][0] is ErrorKind.UNREACHABLE


def test_two_streams_of_one_table(dsn):
    with destination(dsn) as made:
        (kind, message, hint), *_ = problems(made.check([target(namespace="a"), target(namespace="b")]))
        assert kind is ErrorKind.CONFIG and "public.orders" in message and "namespace: source" in hint
    for config in ({"namespace": "source"}, {"schema": "lake_${SOURCE_NAMESPACE}"}):
        with destination(dsn, **config) as made:
            assert problems(made.check([target(namespace="a"), target(namespace="b")])) == []
    with destination(dsn, table="time_entries") as made:
        assert problems(made.check([target()])) == []
        (kind, _, hint), *_ = problems(made.check([target(), target(stream="other")]))
        assert kind is ErrorKind.CONFIG and "single stream" in hint


def test_fixed_table_and_prefix_are_where_the_rows_go(dsn, db):
    with destination(dsn, table="time_entries", schema="staging") as made:
        Run(made, target(), {"a": [orders((1,))]}).all()
    with destination(dsn, connection="d", table_prefix="raw_") as made:
        Run(made, target(connection="d"), {"a": [orders((2,))]}).all()
    assert db.execute("SELECT id FROM staging.time_entries UNION SELECT id FROM raw_orders ORDER BY 1").fetchall() == [
        (1,),
        (2,),
    ]


def test_missing_type_comes_with_its_extension(dsn):
    fields = (Field(name="h", type=pa.string(), native="hstore"), Field(name="m", type=pa.string(), native="mood"))
    with destination(dsn) as made:
        found = problems(made.check([target(fields=fields, dialect="postgres")]))
    assert [(message.split(":")[0], hint.split(" (")[0]) for _, message, hint in found] == [
        ("type hstore of column 'h' is not known here", "CREATE EXTENSION hstore"),
        ("type mood of column 'm' is not known here", "make the type here as it is at the source"),
    ]


def test_tables_in_the_way(dsn, db):
    db.execute("CREATE TABLE orders (id int)")
    db.execute("CREATE VIEW looked AS SELECT 1 AS id")
    db.execute("CREATE TABLE fitting (id bigint, name text, amount numeric(15,2), changed timestamptz)")
    with destination(dsn) as made:
        (kind, message, hint), *_ = problems(made.check([target()]))
        assert kind is ErrorKind.CONFIG and "public.orders" in message and "table_prefix" in hint
        (kind, message, _), *_ = problems(made.check([target(stream="looked")]))
        assert kind is ErrorKind.CONFIG and "view public.looked" in message
        found = made.check([target(stream="fitting")])
        assert [f.severity for f in found if f.severity is not Severity.OK] == [Severity.WARNING]


def test_retype_is_told_before(dsn):
    with destination(dsn) as made:
        Run(made, target(), {"a": [orders((1,))]}).all()
        fields = tuple(replace(f, type=pa.bool_()) if f.name == "name" else f for f in target().schema.fields[:4])
        (kind, message, hint), *_ = problems(made.check([target(fields=fields, generation=2)]))
    assert kind is ErrorKind.SCHEMA and "'name'" in message and "ALTER TABLE" in hint
