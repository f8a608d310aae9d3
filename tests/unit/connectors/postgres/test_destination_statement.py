"""Identifiers and values enter statements in one place only."""

from __future__ import annotations

from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, identifiers, statement
from syncline.connectors.postgres.writing.landing import _COPY_LINE
from syncline.connectors.postgres.writing.types import _without_modifier


def test_statement_quotes_identifiers_and_values():
    made = statement(
        "SELECT {columns} FROM {table} WHERE a = {value} AND b IS NOT DISTINCT FROM {nothing}",
        columns=identifiers(['a"b', "100%", "{x}"]),
        table=TableName(schema="s.t", name="o'clock"),
        value="it's {not} a %s place",
        nothing=None,
    )
    assert made.as_string(None) == (
        'SELECT "a""b", "100%", "{x}" FROM "s.t"."o\'clock" WHERE a = \'it\'\'s {not} a %s place\' '
        "AND b IS NOT DISTINCT FROM NULL"
    )
    assert isinstance(made, sql.Composed)


def test_modifier_of_a_type_name():
    assert _without_modifier("numeric(15,2)[]") == ("numeric[]", "(15,2)")
    assert _without_modifier("timestamp(3) without time zone") == ("timestamp without time zone", "(3)")
    assert _without_modifier('"odd(1)"') == ('"odd(1)"', "")
    assert _without_modifier("text") == ("text", "")


def test_line_of_a_copy_error_in_any_language():
    for context, line, column in (
        ("COPY orders, line 17, column amount", "17", "amount"),
        ('COPY orders, line 3, column t: "x"', "3", "t"),
        ("COPY orders, Zeile 4", "4", None),
        ("JSON data, line 1: {\nCOPY o, line 8, column j", "8", "j"),
    ):
        found = _COPY_LINE.search(context)
        assert found is not None
        assert (found[1], found[2]) == (line, column)
