"""Conditions as SQL, and rights and words of errors that need no server."""

from __future__ import annotations

import psycopg
import pytest

from syncline.connectors.postgres.errors import connect_error, postgres_error
from syncline.connectors.postgres.reading.bounds import (
    any_of,
    in_set,
    is_null,
    key_range,
    pages,
    settled,
    unsettled,
    where,
)
from syncline.connectors.postgres.reading.ties import Delivered
from syncline.core.errors import ErrorKind


def sql(*conditions) -> str:
    return where(conditions).as_string(None)


def test_no_condition_is_no_clause():
    assert sql() == ""


def test_single_columns_stay_bare_and_several_are_compared_as_a_row():
    assert sql(key_range(["a"], ["integer"], low=["1"], high=["9"])) == (
        " WHERE (\"a\" >= '1'::integer AND \"a\" < '9'::integer)"
    )
    assert sql(key_range(["a", "b"], ["text", "date"], low=["x", "2020-01-01"], low_open=True)) == (
        " WHERE ((\"a\", \"b\") > ('x'::text, '2020-01-01'::date))"
    )
    assert sql(key_range(["a"], ["text"], high=["z"], high_closed=True)) == " WHERE (\"a\" <= 'z'::text)"
    assert sql(key_range(["a"], ["text"])) == " WHERE true"


def test_names_and_values_cannot_break_out():
    text = sql(key_range(['a" OR true --'], ["text"], low=["'; DROP TABLE t; --"]))
    assert text == " WHERE (\"a\"\" OR true --\" >= '''; DROP TABLE t; --'::text)"


def test_pages_are_numbers_only():
    assert sql(pages(8, 16)) == " WHERE ctid >= '(8,0)'::pg_catalog.tid AND ctid < '(16,0)'::pg_catalog.tid"
    assert sql(pages(16, None)) == " WHERE ctid >= '(16,0)'::pg_catalog.tid"
    with pytest.raises(ValueError, match="invalid literal"):
        sql({"op": "pages", "low": "0); DROP", "high": None})


def test_arms_and_sets():
    assert sql(any_of([])) == " WHERE false"
    assert sql(any_of([[is_null("a")], [is_null("b"), is_null("c")]])) == (
        ' WHERE (("a" IS NULL) OR ("b" IS NULL AND "c" IS NULL))'
    )
    assert sql(in_set(["a"], ["integer"], [["1"], ["2"]])) == " WHERE \"a\" IN ('1'::integer, '2'::integer)"
    assert sql(in_set(["a"], ["integer"], [])) == " WHERE false"
    assert sql(in_set(["a"], ["integer"], [], outside=True)) == " WHERE true"
    assert sql(in_set(["a", "b"], ["integer", "text"], [["1", "x"]], outside=True)) == (
        " WHERE (\"a\", \"b\") NOT IN (('1'::integer, 'x'::text))"
    )
    assert " < 12 OR " in sql(settled(12))
    assert " >= 12 AND NOT " in sql(unsettled(12))
    with pytest.raises(ValueError, match="unknown condition"):
        sql({"op": "drop"})


@pytest.mark.parametrize(
    "delivered",
    [
        Delivered(keys=(("1", "a"), ("2", "b"))),
        Delivered(keys=()),
        Delivered(hashes={"h": 2}),
        Delivered(horizon=7),
        Delivered(greatest=("9",)),
        Delivered(),
    ],
)
def test_what_was_delivered_survives_the_ledger(delivered):
    assert Delivered.from_json(delivered.to_json(), known=True) == delivered


def test_transaction_ids_of_another_server_are_forgotten():
    assert Delivered.from_json({"horizon": 7}, known=False) == Delivered()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            'connection to server at "h", port 5432 failed: Connection refused\n\tIs the server running?',
            ErrorKind.UNREACHABLE,
        ),
        ('FATAL:  password authentication failed for user "u"', ErrorKind.AUTH),
        ("fe_sendauth: no password supplied", ErrorKind.AUTH),
        ('FATAL:  database "x" does not exist', ErrorKind.CONFIG),
        (
            'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", no encryption',
            ErrorKind.PERMISSION,
        ),
        ("FATAL:  sorry, too many clients already", ErrorKind.TRANSIENT),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", ErrorKind.TRANSIENT),
        ("FATAL:  the database system is starting up", ErrorKind.TRANSIENT),
        ("server does not support SSL, but SSL was required", ErrorKind.CONFIG),
        ("SSL error: certificate verify failed", ErrorKind.CONFIG),
        ("connection timeout expired", ErrorKind.UNREACHABLE),
        ('could not translate host name "h" to address', ErrorKind.UNREACHABLE),
        ("something new", ErrorKind.UNREACHABLE),
    ],
)
def test_connection_failures_have_a_kind_and_a_next_step_on_one_line(text, kind):
    found = connect_error(psycopg.OperationalError(text))
    assert found.kind is kind
    assert found.hint
    assert "\n" not in found.message
    assert "FATAL" not in found.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.errors.InsufficientPrivilege("permission denied for table t"), ErrorKind.PERMISSION),
        (psycopg.errors.UndefinedTable("x"), ErrorKind.SCHEMA),
        (psycopg.errors.UndefinedColumn("x"), ErrorKind.SCHEMA),
        (psycopg.errors.LockNotAvailable("x"), ErrorKind.TRANSIENT),
        (psycopg.errors.QueryCanceled("canceling statement due to statement timeout"), ErrorKind.TRANSIENT),
        (psycopg.errors.SerializationFailure("canceling statement due to conflict with recovery"), ErrorKind.TRANSIENT),
        (psycopg.errors.DiskFull("x"), ErrorKind.RESOURCE),
        (psycopg.errors.OutOfMemory("x"), ErrorKind.RESOURCE),
        (psycopg.errors.TooManyConnections("x"), ErrorKind.TRANSIENT),
        (psycopg.errors.AdminShutdown("x"), ErrorKind.TRANSIENT),
        (psycopg.errors.NumericValueOutOfRange("x"), ErrorKind.DATA),
        (psycopg.errors.ReadOnlySqlTransaction("x"), ErrorKind.CONFIG),
        (psycopg.errors.DataCorrupted("x"), ErrorKind.DATA),
        (psycopg.OperationalError("server closed the connection unexpectedly"), ErrorKind.TRANSIENT),
        (psycopg.errors.SyntaxError("x"), ErrorKind.INTERNAL),
    ],
)
def test_failed_statements_have_a_kind(error, kind):
    found = postgres_error(error, role="reader", stream="public.t")
    assert found.kind is kind
    assert found.where["stream"] == "public.t"


def test_a_missing_right_comes_with_its_grant():
    error = psycopg.errors.InsufficientPrivilege("permission denied for table orders")
    assert postgres_error(error, role="reader").hint == "GRANT SELECT ON TABLE orders TO reader"
    error = psycopg.errors.InsufficientPrivilege("permission denied for schema sales")
    assert postgres_error(error, role="reader").hint == "GRANT USAGE ON SCHEMA sales TO reader"
