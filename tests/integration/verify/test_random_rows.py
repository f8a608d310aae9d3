"""Random values: Postgres, DuckDB and the reference implementation must write the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from syncline.testing.postgres_server import PostgresServer
from syncline.verify.canonical import arrow_cells, kind_of
from syncline.verify.columns import Chunking, ColumnSpec
from syncline.verify.duckdb_cells import FUNCTIONS, cell_sql
from syncline.verify.postgres_side import PostgresSide
from syncline.verify.postgres_statements import PostgresTable

pytestmark = pytest.mark.slow

_MICROS_9999 = 253_402_300_799_999_999
_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
#: Postgres type, Arrow carrier, logical, values (dates and times as their counts).
COLUMNS: list[tuple[str, pa.DataType, str | None, st.SearchStrategy[Any]]] = [
    ("bool", pa.bool_(), None, st.booleans()),
    ("int8", pa.int64(), None, st.integers(-(2**63), 2**63 - 1)),
    (
        "numeric(20,6)",
        pa.decimal128(20, 6),
        None,
        st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: Decimal(n).scaleb(-6)),
    ),
    ("float8", pa.float64(), None, st.floats()),
    ("float4", pa.float32(), None, st.floats(width=32)),
    ("text", pa.string(), None, _TEXT),
    ("bytea", pa.binary(), None, st.binary(max_size=20)),
    ("date", pa.date32(), None, st.integers(-719162, 2932896)),
    ("timestamp", pa.timestamp("us"), None, st.integers(-62_135_596_800_000_000, _MICROS_9999)),
    ("time", pa.time64("us"), None, st.integers(0, 86_399_999_999)),
    ("uuid", pa.string(), "uuid", st.uuids().map(str)),
    ("text[]", pa.list_(pa.string()), None, st.lists(st.none() | _TEXT, max_size=4)),
    ("float8[]", pa.list_(pa.float64()), None, st.lists(st.none() | st.floats(), max_size=4)),
]
_INSERTED = {
    "date": "'1970-01-01'::date + %s::int",
    # In two steps: Postgres multiplies intervals in floating point, which holds no more than 2^53 microseconds exactly.
    "timestamp": """(
        SELECT '1970-01-01'::timestamp + (n / 1000000) * interval '1 s' + (n %% 1000000) * interval '1 us'
        FROM (SELECT %s::bigint AS n) AS counted
    )""",
    "time": "'00:00'::time + %s::bigint * interval '1 us'",
}


@pytest.fixture(scope="module")
def table(postgres_server: PostgresServer) -> Any:
    name = postgres_server.create_database()
    with psycopg.connect(postgres_server.dsn(name), autocommit=True) as session:
        columns = ", ".join(f"c{n} {kind}" for n, (kind, *_) in enumerate(COLUMNS))
        session.execute(f"CREATE TABLE t ({columns})".encode())
        yield name, session
    postgres_server.drop_database(name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.tuples(*(st.none() | values for _, _, _, values in COLUMNS)))
@example(row=(None,) * 8 + (2**53 + 1,) + (None,) * 4)
def test_all_engines_write_the_same(table: Any, postgres_server: PostgresServer, row: tuple[Any, ...]) -> None:
    name, session = table
    columns, expected, arrays = [], [], {}
    for n, ((_, arrow, logical, _), value) in enumerate(zip(COLUMNS, row, strict=True)):
        kind = kind_of(arrow, logical)
        assert kind is not None
        columns.append(ColumnSpec(name=f"c{n}", kind=kind))
        arrays[f"c{n}"] = pa.array([value], pa.int32() if arrow == pa.date32() else arrow).cast(arrow)
        expected.append(arrow_cells(arrays[f"c{n}"], kind)[0] or "")

    values = ", ".join(_INSERTED.get(kind, f"%s::{kind}") for kind, *_ in COLUMNS)
    session.execute("TRUNCATE t")
    session.execute(f"INSERT INTO t VALUES ({values})".encode(), row)
    side = PostgresSide(
        lambda: psycopg.connect(postgres_server.dsn(name)), PostgresTable(schema="public", name="t"), label="source"
    )
    try:
        (batch,) = side.key_hashes(columns, Chunking(), [0])
        (found,) = side.cells(columns, Chunking(), [0], batch.column("key").to_pylist())
    finally:
        side.close()
    assert list(found.cells) == expected

    engine = duckdb.connect(config={"threads": 1})
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(FUNCTIONS)
    engine.register("t", pa.table(arrays))
    types = engine.sql("SELECT * FROM t").types
    cells = ", ".join(cell_sql(c.name, c, c.kind, kind) for c, kind in zip(columns, types, strict=True))
    assert [c or "" for c in engine.execute(f"SELECT {cells} FROM t").fetchone() or ()] == expected
