"""Canonical text as a Postgres server writes it, against the vectors and the reference implementation."""

from __future__ import annotations

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from syncline.testing.canonical_vectors import VECTORS
from syncline.testing.postgres_server import PostgresServer
from syncline.verify.canonical import Kind, jsonb_text, kind_of
from syncline.verify.columns import Chunking, ColumnSpec
from syncline.verify.postgres_side import PostgresSide
from syncline.verify.postgres_statements import PostgresTable


def _side(server: PostgresServer, database: str, table: str = "t") -> PostgresSide:
    return PostgresSide(
        lambda: psycopg.connect(server.dsn(database)), PostgresTable(schema="public", name=table), label="source"
    )


def _cells(side: PostgresSide, columns: list[ColumnSpec]) -> list[str]:
    """The cells of the table's only row; NULL is nothing."""
    chunking = Chunking()
    (batch,) = side.key_hashes(columns, chunking, [0])
    (row,) = side.cells(columns, chunking, [0], [batch.column("key")[0].as_py()])
    return list(row.cells)


def test_each_vector(postgres_server: PostgresServer, postgres_db: str) -> None:
    vectors = [v for v in VECTORS if v.postgres is not None]
    columns = []
    with psycopg.connect(postgres_server.dsn(postgres_db), autocommit=True) as session:
        values = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(sql.SQL(v.postgres or ""), sql.Identifier(f"c{n}"))
            for n, v in enumerate(vectors)
        )
        session.execute(sql.SQL("CREATE TABLE t AS SELECT {}").format(values))
        for n, v in enumerate(vectors):
            kind = kind_of(v.arrow, v.logical)
            assert kind is not None
            columns.append(ColumnSpec(name=f"c{n}", kind=kind))
    side = _side(postgres_server, postgres_db)
    try:
        assert {c.name: side.refusal(c) for c in columns if side.refusal(c)} == {}
        found = _cells(side, columns)
    finally:
        side.close()
    wrong = [(v.id, v.cell, f) for v, f in zip(vectors, found, strict=True) if (v.cell or "") != f]
    assert wrong == []


@pytest.mark.parametrize(
    ("expression", "arrow", "logical", "cell"),
    [
        ("'infinity'::date", pa.date32(), None, "infinity"),
        ("'-infinity'::timestamptz", pa.timestamp("us", tz="UTC"), None, "-infinity"),
        ("'294276-12-31 23:59:59.999999'::timestamp", pa.timestamp("us"), None, "9224318015999999999"),
        ("'4714-11-24 BC'::timestamp", pa.timestamp("us"), None, "-210866803200000000"),
        ("'24:00'::time", pa.time64("us"), None, "86400000000"),
        ("'[2:3]={5,6}'::int4[]", pa.list_(pa.int32()), None, "@[2:3]@2[5,6]"),
        ("'[0:0][1:2]={{5,NULL}}'::int4[]", pa.list_(pa.int32()), None, "@[0:0][1:2]@1[2[5,]]"),
        ("'{{a},{b}}'::text[]", pa.list_(pa.string()), None, "2[1[1:a],1[1:b]]"),
        ("ARRAY[ROW(1,NULL)::pair]", pa.list_(pa.string()), "text", "1[4:(1,)]"),
        ("ROW(NULL,NULL)::pair", pa.string(), "text", "3:(,)"),
        ("'x'::mood", pa.string(), "enum", "1:x"),
        ("'{x,NULL}'::mood[]", pa.list_(pa.string()), "enum", "2[1:x,]"),
        ("5::positive", pa.int32(), None, "5"),
        ("'2 h'::interval * 13", pa.string(), "interval", "8:26:00:00"),
        ("B'101'", pa.string(), "text", "3:101"),
        ("'a'::name", pa.string(), None, "1:a"),
    ],
)
def test_values_beside_the_vectors(
    postgres_server: PostgresServer, postgres_db: str, expression: str, arrow: pa.DataType, logical: str, cell: str
) -> None:
    postgres_server.execute(
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE TYPE mood AS ENUM ('x')",
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        f"CREATE TABLE t AS SELECT {expression} AS v",
        dbname=postgres_db,
    )
    kind = kind_of(arrow, logical)
    assert kind is not None
    side = _side(postgres_server, postgres_db)
    try:
        assert _cells(side, [ColumnSpec(name="v", kind=kind)]) == [cell]
    finally:
        side.close()


@pytest.mark.parametrize(
    "text",
    [
        '{"bb":1,"a":[1,2.50,1e3,-0.0],"a":{"x":null}}',
        '[1,2.50,1E+3,-0.0,true,"é\\u0001\\n\\/\\u007f\\ud834\\udd1e"]',
        '{"b":1,"é":2,"aa":3,"":4}',
        "-0",
        "1e-7",
    ],
)
def test_jsonb_text_is_the_servers(postgres_server: PostgresServer, postgres_db: str, text: str) -> None:
    with psycopg.connect(postgres_server.dsn(postgres_db)) as session:
        row = session.execute("SELECT (%s::jsonb)::text", [text]).fetchone()
    assert row == (jsonb_text(text),)


def test_many_columns(postgres_server: PostgresServer, postgres_db: str) -> None:
    names = [f"c{n}" for n in range(250)]
    values = ", ".join(f"{n} AS {name}" for n, name in enumerate(names))
    postgres_server.execute(f"CREATE TABLE t AS SELECT {values}", dbname=postgres_db)
    side = _side(postgres_server, postgres_db)
    try:
        columns = [ColumnSpec(name=name, kind=Kind(name="int")) for name in names]
        assert _cells(side, columns) == [str(n) for n in range(250)]
    finally:
        side.close()
