"""One table with every type and its ugly values, to every destination: each row arrives exactly, or stands in
quarantine with its own text where the published matrix says so. Nothing is compared through the code under test alone:
Postgres, DuckDB, pyarrow and the json module read what was written."""

from __future__ import annotations

import gzip
import json
import math
import uuid
from dataclasses import dataclass, replace
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from psycopg import sql
from pyiceberg.catalog import load_catalog
from tests.clients.lakes import read_by_duckdb
from tests.integration.command import postgres, project, succeed

from syncline.connectors.postgres.types import BUILTIN
from syncline.connectors.postgres.writing.destination import PostgresDestination
from syncline.testing.postgres_server import PostgresServer

FILES = frozenset({"Parquet", "CSV", "JSONL"})
NOT_POSTGRES = FILES | {"duckdb"}
SAME: Any = object()


@dataclass(frozen=True, kw_only=True)
class Value:
    """One value: Postgres's own text of it, what each reader must give, and the destinations that set its row aside.

    ``held`` is the value in Parquet as Python sees it (dates and timestamps: the integer inside). ``kept`` is the text
    that people read in quarantine where it is not Postgres's."""

    text: str
    held: Any
    duck: Any
    csv: Any
    jsonl: Any
    aside: frozenset[str]
    kept: str

    def expected(self, destination: str) -> Any:
        return {"duckdb": self.duck, "Parquet": self.held, "CSV": self.csv, "JSONL": self.jsonl}[destination]


def v(
    text: str,
    held: Any = SAME,
    *,
    duck: Any = SAME,
    csv: Any = SAME,
    jsonl: Any = SAME,
    aside: frozenset[str] = frozenset(),
    kept: str = "",
) -> Value:
    """What is not given is the same as what was given before it."""
    held = text if held is SAME else held
    if duck is SAME:
        duck = held if isinstance(held, list) else text
    return Value(
        text=text,
        held=held,
        duck=duck,
        csv=(held if isinstance(held, list) else text) if csv is SAME else csv,
        jsonl=held if jsonl is SAME else jsonl,
        aside=aside,
        kept=kept or text,
    )


def out(text: str, duck: Any = SAME) -> Value:
    """A value that files set aside; DuckDB too, unless it is said how it shows it."""
    return v(text, aside=NOT_POSTGRES) if duck is SAME else v(text, duck=duck, aside=FILES)


def i(text: str) -> Value:
    return v(text, int(text))


def f(text: str, duck: str = "") -> Value:
    """A float; JSON lacks its special values, which are text there."""
    number = float(text)
    names = {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}
    special = not math.isfinite(number)
    short = names.get(text, text)
    return v(text, number, duck=duck or short, csv=short, jsonl=text if special else number)


def n(text: str, *, digits: int) -> Value:
    """A decimal, which is a number in JSON where every reader takes it exactly."""
    return v(text, Decimal(text), jsonl=Decimal(text) if digits <= 15 else text)


def moment(text: str, micros: int, duck: str = "", csv: str = "") -> Value:
    """A timestamp with six digits of fraction, as all three text forms want it."""
    csv = csv or text.replace("+00", "Z")
    return v(text, micros, duck=duck or text, csv=csv, jsonl=csv.replace(" ", "T"))


UUID = "00000000-0000-0000-0000-0000000000ff"
FAR_DATE = 2145042905  # 5874897-12-31, Postgres's last
TYPES: dict[str, list[Value]] = {
    "boolean": [v("true", True), v("false", False)],
    "smallint": [i("-32768"), i("32767")],
    "integer": [i("-2147483648"), i("0")],
    "bigint": [i("-9223372036854775808"), i("9223372036854775807")],
    "oid": [i("4294967295")],
    "real": [f("1.5"), f("-0", "-0.0"), f("NaN"), f("Infinity"), f("-Infinity")],
    "double precision": [f("0.1"), f("-0", "-0.0"), f("NaN"), f("Infinity"), f("-Infinity"), f("1e-300")],
    "numeric": [v("-1.50"), v("NaN"), v("Infinity"), v("-Infinity"), v("9" * 1000), v("0." + "0" * 500 + "1")],
    "numeric(10,2)": [n("-99999999.99", digits=10), n("0.00", digits=10), out("NaN")],
    "numeric(15,0)": [n("-999999999999999", digits=15)],
    "numeric(38,10)": [n("9" * 28 + "." + "9" * 10, digits=38), n("-0.0000000001", digits=38)],
    "numeric(60,30)": [v("9" * 30 + "." + "9" * 30), v("-0." + "0" * 29 + "1"), out("NaN")],
    "numeric(100,2)": [v("9" * 98 + ".99"), v("NaN")],
    "money": [v("-$1,234.56", "-1234.56", duck="-1234.56", csv="-1234.56")],
    "text": [v(""), v("NULL"), v("\\N"), v("a\tb\r\nc"), v('q"uo\'te,\\'), v("é🎉 \u2028 ẞ"), v("\x01\x7f")],
    "character varying(5)": [v("ab  "), v("éééé🎉")],
    "character(5)": [v("ab   ")],
    "name": [v("pg_class")],
    '"char"': [v("x"), v("\\303")],
    "bytea": [
        v("\\x00ff5c", b"\x00\xff\\", duck="\\x00\\xFF\\x5C", jsonl="\\x00ff5c"),
        v("\\x", b"", duck="", jsonl="\\x"),
    ],
    "date": [
        v("2020-02-29", 18321, jsonl="2020-02-29"),
        v("0001-01-01 BC", -719528, duck="0001-01-01 (BC)", csv="0000-01-01", jsonl="0000-01-01"),
        v("5874897-12-31", FAR_DATE, jsonl="5874897-12-31"),
        out("infinity", "infinity"),
        out("-infinity", "-infinity"),
    ],
    "time without time zone": [
        v("23:59:59.999999", 86_399_999_999, jsonl="23:59:59.999999"),
        v("00:00:00", 0, csv="00:00:00.000000", jsonl="00:00:00.000000"),
        out("24:00:00", "24:00:00"),
    ],
    "time with time zone": [v("12:00:00.5+05:30"), v("24:00:00-15:59")],
    "timestamp without time zone": [
        moment("2020-02-29 12:34:56.789012", 1_582_979_696_789_012),
        moment(
            "4714-11-24 00:00:00.000001 BC",
            -210_866_803_199_999_999,
            "4714-11-24 (BC) 00:00:00.000001",
            "-4713-11-24 00:00:00.000001",
        ),
        moment("294246-01-01 00:00:00.000001", 9_223_339_708_800_000_001),
        out("294276-12-31 23:59:59.999999"),
        out("infinity", "infinity"),
        out("-infinity", "-infinity"),
    ],
    "timestamp with time zone": [
        moment("2020-02-29 12:34:56.789012+00", 1_582_979_696_789_012),
        moment(
            "4714-11-24 00:00:00.000001+00 BC",
            -210_866_803_199_999_999,
            "4714-11-24 (BC) 00:00:00.000001+00",
            "-4713-11-24 00:00:00.000001Z",
        ),
        out("294276-12-31 23:59:59.999999+00"),
        out("infinity", "infinity"),
        out("-infinity", "-infinity"),
    ],
    "interval": [v("1 year 2 mons -3 days +04:05:06.7"), v("-178000000 years"), v("00:00:00")],
    "uuid": [v(UUID)],
    "json": [v('{"a" :  1, "a": 2}'), v('"\\u00e9\\u0000\\ud83c\\udf89"'), v("null"), v('"é🎉"')],
    "jsonb": [v('{"a": [1, null, "é"], "bb": 1.10}'), v("null"), v('"\\""')],
    "xml": [v("<a>b&amp;é</a>")],
    "inet": [v("10.0.0.1/32"), v("10.1.2.3/8"), v("::1/128")],
    "cidr": [v("10.0.0.0/8")],
    "macaddr": [v("08:00:2b:01:02:03")],
    "macaddr8": [v("08:00:2b:01:02:03:04:05")],
    "bit(3)": [v("101")],
    "bit varying": [v(""), v("10101")],
    "int4range": [v("[1,5)"), v("empty"), v("(,)")],
    "int8range": [v("[1,)")],
    "numrange": [v("(1.5,2.50]")],
    "tsrange": [v('["2020-01-01 00:00:00",infinity]')],
    "tstzrange": [v('["2020-01-01 00:00:00+00",)')],
    "daterange": [v("[2020-01-01,2020-01-03)")],
    "int4multirange": [v("{[1,3),[5,7)}"), v("{}")],
    "int8multirange": [v("{[1,3)}")],
    "nummultirange": [v("{(1.5,2.5]}")],
    "tsmultirange": [v('{["2020-01-01 00:00:00",)}')],
    "tstzmultirange": [v('{["2020-01-01 00:00:00+00",)}')],
    "datemultirange": [v("{[2020-01-01,2020-01-03)}")],
    "point": [v("(1e+300,-0)")],
    "line": [v("{1,2,3}")],
    "lseg": [v("[(0,0),(1,1)]")],
    "box": [v("(1,1),(0,0)")],
    "path": [v("((0,0),(1,1))"), v("[(0,0),(1,1)]")],
    "polygon": [v("((0,0),(1,1),(2,0))")],
    "circle": [v("<(0,0),1>")],
    "tsvector": [v("'a':1 'b''c':2A"), v("")],
    "tsquery": [v("'a' & !'b'")],
    "pg_lsn": [v("16/B374D848")],
    "pg_snapshot": [v("10:20:10,14")],
    "txid_snapshot": [v("10:20:10,14")],
    "jsonpath": [v('$."a"[*]')],
    "xid": [v("7")],
    "xid8": [v("18446744073709551615")],
    "cid": [v("7")],
    "tid": [v("(1,2)")],
    "integer[]": [v("{}", []), v("{1,NULL,-3}", [1, None, -3]), out("[0:1]={1,2}"), out("{{1},{2}}")],
    "integer[][]": [v("{{1,2},{3,NULL}}", [[1, 2], [3, None]]), v("{}", []), out("{1,2}")],
    "text[]": [v('{"a,b",NULL,"NULL","","é\\"\\\\"}', ["a,b", None, "NULL", "", 'é"\\'])],
    "boolean[]": [v("{t,NULL,f}", [True, None, False])],
    "double precision[]": [v("{1.5,NULL}", [1.5, None])],
    "numeric(5,1)[]": [v("{1.5,NULL}", [Decimal("1.5"), None]), out("{1.5,NaN}")],
    "numeric[]": [v("{1.50,NaN,Infinity}", ["1.50", "NaN", "Infinity"])],
    "date[]": [out("{2020-01-01,infinity}")],
    "inet[]": [v("{10.0.0.1,NULL}", ["10.0.0.1/32", None])],
    "uuid[]": [v(f"{{{UUID}}}", [UUID])],
    "jsonb[]": [v('{"{\\"a\\": 1}",NULL}', ['{"a": 1}', None])],
    "int4range[]": [v('{"[1,5)",NULL}', ["[1,5)", None])],
    "public.mood": [v("so la la")],
    "public.mood[]": [v('{ok,"so la la"}', ["ok", "so la la"])],
    "public.price": [n("1.50", digits=8)],
    "public.code": [v("é")],
    "public.pair": [v('(1,"a ""b")'), v("(,)")],
    "public.pair[]": [v('{"(1,a)",NULL}', ["(1,a)", None])],
    "public.floats": [v("[1.5,2.5)")],
    "public.citext": [v("Ab")],
    "public.hstore": [v('"a"=>"1", "b"=>NULL, "é"=>""'), v("")],
}  # fmt: skip

TYPES_OF_THE_DATABASE = (
    "CREATE EXTENSION hstore",
    "CREATE EXTENSION citext",
    "CREATE TYPE mood AS ENUM ('ok', 'so la la')",
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE TYPE floats AS RANGE (subtype = float8)",
    "CREATE DOMAIN price AS numeric(8,2) CHECK (VALUE > 0)",
    "CREATE DOMAIN code AS text",
)


@dataclass(frozen=True)
class Case:
    """The table as it was made: column name -> declared type, and for each row the values that are not NULL."""

    server: PostgresServer
    database: str
    columns: dict[str, str]
    rows: dict[int, dict[str, Value]]

    def texts(self, dsn: str, table: str = "matrix") -> dict[int, dict[str, str]]:
        """Each row's values as that server prints them, NULLs left out."""
        names = list(self.columns)
        query = sql.SQL("SELECT id, {} FROM {} WHERE id > 0").format(
            # A cast to text would take the padding from character(n).
            sql.SQL(", ").join(
                sql.SQL("textin(bpcharout({}))" if kind == "character(5)" else "{}::text").format(sql.Identifier(name))
                for name, kind in self.columns.items()
            ),
            sql.Identifier(table),
        )
        with psycopg.connect(dsn, options="-c TimeZone=UTC -c IntervalStyle=postgres") as connection:
            found = connection.execute(query).fetchall()
        assert len({row[0] for row in found}) == len(found)
        return {row[0]: {k: t for k, t in zip(names, row[1:], strict=True) if t is not None} for row in found}

    def aside(self, destination: str) -> dict[int, dict[str, Value]]:
        """The rows that the destination cannot hold, with their values that are to blame."""
        found = {}
        for number, row in self.rows.items():
            if blamed := {name: value for name, value in row.items() if destination in value.aside}:
                found[number] = blamed
        return found

    def expected(self, destination: str) -> dict[int, dict[str, Any]]:
        aside = self.aside(destination)
        return {
            number: {name: value.expected(destination) for name, value in row.items()}
            for number, row in self.rows.items()
            if number not in aside
        }

    def without(self, *kinds: str) -> Case:
        """The same table without the columns of these types."""
        columns = {name: kind for name, kind in self.columns.items() if kind not in kinds}
        rows = {number: {n: x for n, x in row.items() if n in columns} for number, row in self.rows.items()}
        return replace(self, columns=columns, rows=rows)

    def change(self) -> None:
        """Make every row newer than the last sync."""
        self.server.execute("UPDATE matrix SET changed = changed + 100000", dbname=self.database)


def column_name(number: int, kind: str) -> str:
    return "Spalte ü" if kind == "text" else f"c{number}_{''.join(c for c in kind if c.isalnum())}"


@pytest.fixture(scope="module")
def case(postgres_server: PostgresServer) -> Case:
    database = postgres_server.create_database()
    postgres_server.execute(*TYPES_OF_THE_DATABASE, dbname=database)
    # The server of the wheel is built without libxml; the TLS suite's has it.
    columns = {column_name(number, kind): kind for number, kind in enumerate(TYPES) if kind != "xml"}
    rows: dict[int, dict[str, Value]] = {1: {}, 2: {name: TYPES[kind][0] for name, kind in columns.items()}}
    for name, kind in columns.items():
        for value in TYPES[kind]:
            rows[len(rows) + 1] = {name: value}
    with psycopg.connect(postgres_server.dsn(database), autocommit=True) as connection:
        quoted = [sql.SQL("{} {}").format(sql.Identifier(k), sql.SQL(t)) for k, t in columns.items()]
        connection.execute(
            sql.SQL("CREATE TABLE matrix (id int PRIMARY KEY, {}, changed bigint)").format(sql.SQL(", ").join(quoted))
        )
        connection.execute("CREATE INDEX ON matrix (changed)")
        with connection.transaction():
            for number, row in rows.items():
                names = ["id", "changed", *row]
                connection.execute(
                    sql.SQL("INSERT INTO matrix ({}) VALUES ({})").format(
                        sql.SQL(", ").join(map(sql.Identifier, names)),
                        sql.SQL(", ").join(map(sql.Literal, [number, number, *(x.text for x in row.values())])),
                    )
                )
    made = Case(postgres_server, database, columns, rows)
    # The table of this file speaks of Postgres's own text: hold it to that.
    assert made.texts(postgres_server.dsn(database)) == {
        number: {name: value.text for name, value in row.items()} for number, row in rows.items()
    }
    return made


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))


def run(case: Case, folder: Path, destination: dict[str, Any], mode: str, aside: int, **sync: Any) -> None:
    """Sync (an incremental mode: once more after every row has changed) and let ``verify`` look after each time."""
    stream: dict[str, Any] = {"name": "matrix", "mode": mode, "columns": ["id", *case.columns]}
    if "incremental" in mode:
        stream["cursor_field"] = "changed"
    file = project(folder / f"{mode}.yaml", postgres(case.server, case.database), destination, streams=[stream], **sync)
    for _ in range(2 if "incremental" in mode else 1):
        (result,) = succeed("sync", file, "--json").json["streams"]
        assert (result["rows_read"], result["rows_quarantined"]) == (len(case.rows), aside)
        assert result["rows_written"] == len(case.rows) - aside
        verdict = succeed("verify", file, "--json").json[0]["report"]
        assert verdict["equal"]
        assert verdict["quarantined"] == aside
        assert not verdict["excluded"]
        if "incremental" in mode:
            case.change()


#: Types whose bytes mean nothing elsewhere (an array names the number of its items' type): one of them, no relay.
DECODED = ("money", "public.mood[]", "public.pair", "public.pair[]", "public.floats", "public.citext", "public.hstore")
#: What becomes another type at a Postgres that has them all: a domain its base, money (of a locale) a number.
CHANGED = {"public.price": "numeric(8,2)", "public.code": "text", "money": "numeric", "integer[][]": "integer[]"}


@pytest.mark.parametrize("mode", ["full_refresh_overwrite", "incremental_deduped_history"])
@pytest.mark.parametrize("route", ["relayed", "decoded", "decoded for airbyte"])
def test_postgres_to_postgres(case: Case, tmp_path: Path, mode: str, route: str) -> None:
    """Type and value stay, whether the bytes are relayed or go through Arrow."""
    server = case.server
    database = server.create_database()
    server.execute(*TYPES_OF_THE_DATABASE, dbname=database)
    seen = case.without(*DECODED) if route == "relayed" else case
    metadata = "airbyte" if "airbyte" in route else "syncline"
    with mock.patch.object(
        PostgresDestination, "raw_writer", autospec=True, side_effect=PostgresDestination.raw_writer
    ) as relayed:
        run(seen, tmp_path, postgres(server, database), mode, 0, metadata_columns=metadata)
    assert bool(relayed.call_count) == (route == "relayed")
    assert seen.texts(server.dsn(database)) == as_numbers(seen.texts(server.dsn(case.database)))
    assert column_types(server, database) == {
        name: CHANGED.get(kind, kind.removeprefix("public.")) for name, kind in seen.columns.items()
    }
    server.drop_database(database)


def test_postgres_without_the_types_gets_their_text(case: Case, tmp_path: Path) -> None:
    server = case.server
    database = server.create_database()
    run(case, tmp_path, postgres(server, database), "full_refresh_overwrite", 0)
    assert case.texts(server.dsn(database)) == as_numbers(case.texts(server.dsn(case.database)))
    types = column_types(server, database)
    unknown = {types[name] for name, kind in case.columns.items() if kind.startswith("public.")}
    assert unknown == {"text", "text[]", "numeric(8,2)"}
    server.drop_database(database)


def as_numbers(rows: dict[int, dict[str, str]]) -> dict[int, dict[str, str]]:
    """Money as the number that it becomes."""
    return {
        number: {name: t.replace("$", "").replace(",", "") if name.endswith("_money") else t for name, t in row.items()}
        for number, row in rows.items()
    }


def column_types(server: PostgresServer, database: str) -> dict[str, str]:
    with server.connect(database) as connection:
        found = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'matrix'::regclass"
            " AND attnum > 0 AND attname <> ALL ('{id,changed}') AND attname !~ '^_(syncline|airbyte)'"
        ).fetchall()
    return {str(name): str(kind) for name, kind in found}


def test_every_published_type_is_here(case: Case) -> None:
    with case.server.connect(case.database) as connection:
        found = connection.execute(
            "SELECT typname FROM pg_type WHERE oid = ANY (%s::regtype[])", [list(case.columns.values())]
        ).fetchall()
    assert {str(name) for (name,) in found} | {"xml"} >= set(BUILTIN)


@pytest.mark.parametrize("mode", ["full_refresh_overwrite", "incremental_deduped_history"])
def test_duckdb(case: Case, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "w.duckdb"
    run(case, tmp_path, {"type": "duckdb", "config": {"path": str(path)}}, mode, len(case.aside("duckdb")))
    lists = [name for name, kind in case.columns.items() if kind.endswith("[]")]
    shown = ", ".join(f'"{n}"' if n in lists else f'"{n}"::VARCHAR' for n in case.columns)
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.execute(f"SELECT id, {shown} FROM matrix").fetchall()
        records = [
            (column, reason, json.loads(record))
            for column, reason, record in connection.execute(
                "SELECT column_name, reason, record FROM _syncline_quarantine"
            ).fetchall()
        ]
    assert_rows(case, "duckdb", {r[0]: dict(zip(case.columns, r[1:], strict=True)) for r in rows}, len(rows))
    assert_quarantine(case, "duckdb", records)


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("Parquet", "full_refresh_overwrite"),
        ("Parquet", "incremental_append"),
        ("CSV", "full_refresh_overwrite"),
        ("JSONL", "full_refresh_overwrite"),
    ],
)
def test_files(case: Case, tmp_path: Path, form: str, mode: str) -> None:
    lake = tmp_path / "lake"
    destination = {"type": "local", "config": {"path": str(lake), "format": {"format_type": form}}}
    run(case, tmp_path, destination, mode, len(case.aside(form)))
    paths = sorted((lake / "matrix").rglob("*.*"))
    rows = [row for path in paths for row in {"Parquet": _parquet, "CSV": _csv, "JSONL": _jsonl}[form](path)]
    times = 2 if mode == "incremental_append" else 1
    assert len(rows) == times * len({row["id"] for row in rows})
    for part in range(times):
        mine = rows[part * len(rows) // times : (part + 1) * len(rows) // times]
        assert_rows(case, form, {int(row["id"]): row for row in mine}, len(mine))
    assert_quarantine(case, form, _set_aside(lake))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full_refresh_overwrite", "incremental_deduped_history"])
def test_delta(case: Case, tmp_path: Path, mode: str) -> None:
    """delta-rs reads it. What Parquet cannot hold Delta cannot either; times of day are text there. The column of type
    text has a space in its name, which Delta refuses."""
    case = case.without("text")
    lake = tmp_path / "lake"
    run(case, tmp_path, {"type": "delta", "config": {"path": str(lake)}}, mode, len(case.aside("Parquet")))
    table = pa.table(DeltaTable(lake / "matrix").to_pyarrow_table())
    for name in [n for n, kind in case.columns.items() if kind == "time without time zone"]:
        assert pa.types.is_string(table.schema.field(name).type)
    rows = _plain(_with_times(table, case))
    assert_rows(case, "Parquet", {int(row["id"]): row for row in rows}, len(rows))
    assert_quarantine(case, "Parquet", _set_aside(lake))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full_refresh_overwrite", "incremental_deduped_history"])
def test_iceberg(case: Case, tmp_path: Path, mode: str) -> None:
    """pyiceberg reads it."""
    lake = tmp_path / "lake"
    run(case, tmp_path, {"type": "iceberg", "config": {"path": str(lake)}}, mode, len(case.aside("Parquet")))
    catalog = load_catalog("syncline", type="sql", uri=f"sqlite:///{lake}/iceberg-catalog.db")
    rows = _plain(catalog.load_table("default.matrix").scan().to_arrow())
    catalog.close()
    assert_rows(case, "Parquet", {int(row["id"]): row for row in rows}, len(rows))
    assert_quarantine(case, "Parquet", _set_aside(lake))


@pytest.mark.clients
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_duckdb_reads_the_same_from_delta_and_iceberg(case: Case, tmp_path: Path, kind: str) -> None:
    """A reader that shares no code with the libraries that wrote or read above."""
    case = case.without("text") if kind == "delta" else case
    lake = tmp_path / "lake"
    destination = {"type": kind, "config": {"path": str(lake)}}
    run(case, tmp_path, destination, "full_refresh_overwrite", len(case.aside("Parquet")))
    rows = _plain(_with_times(read_by_duckdb(kind, lake, "matrix", tmp_path), case))
    assert_rows(case, "Parquet", {int(row["id"]): row for row in rows}, len(rows))


def _with_times(table: pa.Table, case: Case) -> pa.Table:
    """Times of day as such, where they are text."""
    for name in [n for n, kind in case.columns.items() if kind == "time without time zone"]:
        if pa.types.is_string(table.schema.field(name).type):
            times = pa.array([t and time.fromisoformat(t) for t in table[name].to_pylist()], pa.time64("us"))
            table = table.set_column(table.schema.get_field_index(name), name, times)
    return table


def _set_aside(lake: Path) -> list[tuple[str, str, dict[str, str | None]]]:
    return [
        (line["column_name"], line["reason"], line["record"])
        for path in (lake / "_syncline").rglob("quarantine/*.jsonl")
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    ]


def _parquet(path: Path) -> list[dict[str, Any]]:
    return _plain(pq.read_table(path))


def _plain(table: pa.Table) -> list[dict[str, Any]]:
    """Dates and times as the integers inside: Python's own end at year 9999."""
    for at, field in enumerate(table.schema):
        if pa.types.is_temporal(field.type):
            whole = pa.int32() if pa.types.is_date32(field.type) else pa.int64()
            table = table.set_column(at, field.name, table[field.name].cast(whole))
    return table.to_pylist()  # type: ignore[no-any-return]


def _csv(path: Path) -> list[dict[str, Any]]:
    """DuckDB reads it as text: it knows an empty text in quotes from nothing at all."""
    with duckdb.connect() as connection:
        read = connection.read_csv(
            str(path), all_varchar=True, allow_quoted_nulls=False, na_values="", strict_mode=True
        )
        names = read.columns
        return [dict(zip(names, row, strict=True)) for row in read.fetchall()]


def _jsonl(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return [json.loads(line, parse_float=Decimal) for line in file]


def assert_rows(case: Case, destination: str, rows: dict[int, dict[str, Any]], count: int) -> None:
    assert count == len(rows)
    expected = case.expected(destination)
    assert set(rows) == set(expected)
    wrong = []
    for number, row in rows.items():
        for name, kind in case.columns.items():
            found, wanted = row[name], expected[number].get(name)
            if destination == "CSV" and kind.endswith("[]") and found is not None:
                found = json.loads(found, parse_float=Decimal)
            if kind == "uuid[]" and destination == "duckdb" and found is not None:
                found = [str(each) if isinstance(each, uuid.UUID) else each for each in found]
            if not same(found, wanted):
                wrong.append((kind, found, wanted))
    assert not wrong


def same(found: Any, wanted: Any) -> bool:
    """Equal in value, in sign of zero and in kind; a NaN is equal to itself."""
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, float) and found is not None:
        return not isinstance(found, str) and repr(float(found)) == repr(wanted)
    if isinstance(wanted, Decimal):
        return not isinstance(found, str) and found is not None and str(Decimal(found)) == str(wanted)
    return type(found) is type(wanted) and bool(found == wanted)


def assert_quarantine(case: Case, destination: str, records: list[tuple[str, str, dict[str, str | None]]]) -> None:
    """Exactly the rows that cannot be held, each with the column to blame, a reason and the original text."""
    expected = case.aside(destination)
    assert {int(record["id"] or 0) for _, _, record in records} == set(expected)
    for column, reason, record in records:
        blamed = expected[int(record["id"] or 0)]
        assert column in blamed
        assert reason
        assert record[column] == blamed[column].kept
        assert {name for name, text in record.items() if text is not None} >= {"id", *blamed}
