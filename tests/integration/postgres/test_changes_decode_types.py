"""A value is the same whether a snapshot or the log brings it: every type with its ugly values, on a real server."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from tests.integration.postgres.changes_log import Log, batches, decoded, described, snapshot
from tests.integration.postgres.test_source_types import DOMAINS, NEWER, TYPES, has_xml, types

from syncline.connectors.postgres.changes.decode import native_available
from syncline.core.change import Op

__all__ = ["types"]

#: Both decoders, where there are two.
TWINS = [True, False] if native_available() else [False]

#: What the types' own test has no need of, because the binary form has no such cases.
MORE: dict[str, list[str]] = {
    "smallint": ["0", "-1"],
    "bigint": ["0", "-1", "1000000000000000000"],
    "real": ["0", "-0", "NaN", "-Infinity", "3.4028235e38", "1.1754944e-38", "1e-45", "0.1", "16777217", "1e10", "3e-5",
             "8.1234567e-12", "33554434", "1.00000012", "9.999999e9", "2.3509886e-38"],
    "double precision": ["0", "-0", "NaN", "Infinity", "-Infinity", "1.7976931348623157e308", "2.2250738585072014e-308",
                         "5e-324", "0.1", "0.30000000000000004", "9007199254740993", "123456789012345678", "1e15",
                         "1e22", "1e23", "1e-5", "1.2345678901234567e-200", "8.41470984807896507e-1", "1e-27", "3e27",
                         "4.35", "1844674407370955161500", "0.000123456789012345678"],
    "numeric": ["0", "-0.000", "123456789012345678901234567890.0123456789", "-Infinity"],
    "numeric(10,2)": ["0", "0.01", "-0.01", "12345678.90"],
    "numeric(38,0)": ["-" + "9" * 38, "0", "1", "18446744073709551616"],
    "numeric(60,30)": ["0", "-0." + "0" * 29 + "1", "-" + "9" * 30 + "." + "9" * 30, "NaN"],
    "numeric(76,76)": ["0." + "9" * 76, "-0." + "0" * 75 + "1"],
    "money": ["0", "-0.01", "92233720368547758.07", "-92233720368547758.08", "1000000"],
    "text": ["x" * 31, "x" * 32, "x" * 33, "é" * 5000, "{}", "\\x00", " "],
    "bytea": ["\\xDEADbeef", "\\x" + "00ff" * 3000],
    "date": ["4714-11-24 BC", "0001-12-31 BC", "0001-01-01", "5874897-12-31", "2000-02-29", "1900-03-01", "9999-12-31",
             "10000-01-01", "1582-10-15", "1969-12-31"],
    "time without time zone": ["00:00:00", "23:59:59.999999", "12:34:56.7"],
    "timestamp without time zone": ["4714-11-24 00:00:00 BC", "0001-01-01 00:00:00", "0001-12-31 23:59:59.999999 BC",
                                    "294276-12-31 23:59:59.999999", "294247-01-10 04:00:54.775807",
                                    "294247-01-10 04:00:54.775808", "1969-12-31 23:59:59.999999", "-infinity",
                                    "12345-06-07 08:09:10.1"],
    "timestamp with time zone": ["infinity", "2020-06-01 12:00:00.123456+05:45", "0044-03-15 00:00:00+00 BC"],
    "timestamp(0) without time zone": ["2020-06-01 12:00:00.6"],
    "interval": ["00:00:00", "-1 years -2 mons +3 days -04:05:06.000001"],
    "inet": ["10.0.0.1", "::1", "fe80::1/64", "0.0.0.0/0"],
    "cidr": ["::/0", "192.168.1.5/32"],
    "boolean[]": ["{t,f,NULL}"],
    "smallint[]": ["{-32768,32767}"],
    "bigint[]": ["{-9223372036854775808,NULL}", "{}"],
    "real[]": ["{1.5,NaN,-Infinity}"],
    "double precision[]": ["{0.1,NULL,1e300}"],
    "numeric(5,1)[]": ["{1.5,NULL,-0.1}", "{NaN}", "{1,NaN,2}", "[2:3]={1.5,NaN}"],
    "numeric(60,30)[]": ["{1." + "1" * 30 + ",NaN}", "{" + "2" * 30 + "}"],
    "text[]": ['{"a\\"b","c\\\\d","","null","{x}"," y ",z}', "{NULL}", "[0:0]={a}", "{{a},{b}}", '{"\\\\"}',
               '{"é,é"}', "{" + ",".join(["w" * 40] * 50) + "}"],
    "text[][]": ['{{a,"b,"},{NULL,""}}', "{}", "{a}", "{{{a}}}", '{{"}"}}', "[1:1][0:0]={{a}}"],
    "integer[][][]": ["{{{1,2},{3,4}},{{5,6},{7,NULL}}}", "{}", "{{1}}"],
    "bytea[]": ['{"\\\\x00ff","\\\\x",NULL}'],
    "date[]": ["{2020-01-01,infinity}", '{2020-01-01,"0001-01-01 BC"}'],
    "time without time zone[]": ["{12:00:00,24:00:00}", "{12:00:00.5}"],
    "timestamp without time zone[]": ['{"2020-01-01 00:00:00",NULL}', "{infinity}", '{"2020-01-01 00:00:00.5 BC"}'],
    "timestamp with time zone[]": ['{"2020-01-01 00:00:00+02"}'],
    "json[]": ['{"{\\"a\\": [1,2]}",NULL}'],
    "jsonb[]": ['{"{\\"a\\": [1,2]}","1"}'],
    "box[]": ["{(1,1),(0,0);(3,3),(2,2)}", "{NULL}", "[0:0]={(1,1),(0,0)}", "{{(1,1),(0,0)};{(3,3),(2,2)}}"],
    "box[][]": ["{{(1,1),(0,0);(5,5),(4,4)};{NULL;(3,3),(2,2)}}"],
    "point[]": ['{"(1,2)",NULL}'],
    "inet[]": ["{10.0.0.0/8,::1}", "[0:0]={10.0.0.1}", "{{10.0.0.1,NULL},{::1,10.0.0.0/8}}"],
    "money[]": ["{NULL,-1000000.5}", "[0:1]={1000,NULL}"],
    "character(3)[]": ["{a,NULL}"],
    "name[]": ["{a}"],
    "oid[]": ["{4294967295}"],
    "interval[]": ['{"1 day",NULL}'],
    "int4range[]": ['{"[1,5)",empty}'],
    "regclass": ["public.t0"],
    "regtype": ["public.mood"],
    "public.pair[]": ['{"(1,\\"a,b\\")","(,)"}', "[0:0]={NULL}"],
    "public.hstore[]": ['{"\\"a\\"=>\\"1\\""}'],
}  # fmt: skip


def cases() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, (_, _, given) in TYPES.items():
        found[kind] = [case[0] if isinstance(case, tuple) else case for case in given]
    for kind, (_, _, _, written, _) in DOMAINS.items():
        found[kind] = [written]
    for kind, (_, text) in NEWER.items():
        found[kind] = [text]
    for kind, texts in MORE.items():
        found[kind] = [*found.get(kind, []), *texts]
    return found


def exact(value: Any) -> Any:
    """Comparable: a NaN is one, and a zero has its sign."""
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, float):
        return ("nan",) if math.isnan(value) else (value, math.copysign(1.0, value))
    return value


def column(data: pa.Table | pa.RecordBatch, name: str) -> list[Any]:
    """Moments as numbers: Python has none before the year 1 or after 9999."""
    array = data.column(name)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return [exact(value) for value in numbers(array).to_pylist()]


def numbers(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_list(kind):
        inner = numbers(array.flatten())
        sizes = [None if item is None else item for item in array.value_lengths().to_pylist()]
        offsets, at = [], 0
        for size in sizes:
            offsets.append(None if size is None else at)
            at += size or 0
        return pa.ListArray.from_arrays(pa.array([*offsets, at], pa.int32()), inner)
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return array.view(pa.int64())
    return array.view(pa.int32()) if pa.types.is_date32(kind) else array


@pytest.fixture
def log(types):
    made = Log(types)
    yield made
    made.close()


@pytest.fixture
def filled(types, log):
    """A table for each type, and the log of how its rows came."""
    version = types.session.info.server_version
    tables: dict[str, str] = {}
    for kind, texts in cases().items():
        if (kind == "xml" and not has_xml(types)) or version < NEWER.get(kind, (0, ""))[0]:
            continue
        table = f"t{len(tables)}"
        tables[table] = kind
        types.execute(f"CREATE TABLE {table} (n int PRIMARY KEY, c {kind})", f"INSERT INTO {table} VALUES (0, NULL)")
        for number, text in enumerate(texts, 1):
            if kind.startswith("numeric") and "Infinity" in text and version < 140000:
                continue
            types.session.execute(f"INSERT INTO {table} VALUES (%s, %s::{kind})".encode(), [number, text])
    return types, log, tables


def test_each_type_reads_as_in_a_snapshot(filled):
    db, log, tables = filled
    source, stretch = db.source(), log.stretch()
    twins = [decoded(described(source), [stretch], native=native) for native in TWINS]
    seen = 0
    for stream in source.discover().streams:
        kind = tables[stream.name.name]
        expected, misfits = snapshot(source, stream)
        order = expected.column("n").to_pylist()
        expected = expected.take(pa.array(sorted(range(len(order)), key=order.__getitem__)))
        for slices in twins:
            [batch] = batches(slices, stream.name)
            batch.data.validate(full=True)
            assert batch.data.schema == expected.schema
            assert batch.op.to_pylist() == [Op.INSERT] * batch.rows
            assert column(batch.data, "n") == sorted(order)
            assert column(batch.data, "c") == column(expected, "c"), kind
            assert sorted((m.row, m.column, m.text, m.reason) for m in batch.misfits) == sorted(
                (order[row], name, text, reason) for row, name, text, reason in misfits
            ), kind
        seen += 1
    assert seen == len(tables)


def test_old_rows_read_as_new_ones(filled):
    db, log, tables = filled
    source, inserted = db.source(), log.stretch()
    for table in tables:
        db.execute(f"ALTER TABLE {table} REPLICA IDENTITY FULL", f"DELETE FROM {table}")
    deleted = log.stretch()
    for native in TWINS:
        before = decoded(described(source), [inserted], native=native)
        after = decoded(described(source), [deleted], native=native)
        for stream in source.discover().streams:
            [there] = batches(before, stream.name)
            [gone] = batches(after, stream.name)
            assert gone.op.to_pylist() == [Op.DELETE] * there.rows
            assert column(gone.data, "n") == column(there.data, "n")
            assert column(gone.data, "c") == column(there.data, "c"), tables[stream.name.name]
            assert gone.misfits == there.misfits


def test_any_type_may_be_a_key_that_moves(types, log):
    keys = {
        "numeric(20,4)": ("1.5", "2.25"),
        "timestamptz": ("2020-01-01 00:00:00+02", "0044-03-15 00:00:00+00 BC"),
        "uuid": ("00000000-0000-0000-0000-0000000000ff", "00000000-0000-0000-0000-0000000000fe"),
        "text": ("", "x" * 2500),
        "bytea": ("\\x00", "\\xff"),
        "int[]": ("{1,NULL}", "{}"),
        "public.mood": ("ok", "so la la"),
        "boolean": ("t", "f"),
        "inet": ("10.0.0.1", "10.0.0.0/8"),
    }
    for number, (kind, (before, after)) in enumerate(keys.items()):
        types.execute(f"CREATE TABLE k{number} (c {kind} PRIMARY KEY, v int)")
        run = types.session.execute
        run(f"INSERT INTO k{number} VALUES (%s::{kind}, 1)".encode(), [before])
        run(f"UPDATE k{number} SET v = 2".encode())
        run(f"UPDATE k{number} SET c = %s::{kind}".encode(), [after])
    source, stretch = types.source(), log.stretch()
    for native in TWINS:
        slices = decoded(described(source), [stretch], native=native)
        for stream in source.discover().streams:
            [batch] = batches(slices, stream.name)
            values = column(batch.data, "c")
            assert batch.moved is not None
            assert batch.old_key is not None
            assert batch.moved.to_pylist() == [False, False, True]
            assert batch.old_key.schema.names == ["c"]
            assert column(batch.old_key, "c") == [None, None, values[0]]
            assert values[0] == values[1] != values[2]
            assert not batch.misfits
