"""Differences that are planted must be found and named, and nothing else; equal ends must be equal."""

from __future__ import annotations

import duckdb
import pytest
from tests.integration.verify.harness import Systems

pytestmark = pytest.mark.slow

DESTINATIONS = ("duckdb", "postgres", "local Parquet", "local CSV", "local JSONL", "s3 Parquet", "s3 JSONL")

TABLE = """
CREATE TABLE t (
    id bigint PRIMARY KEY,
    small smallint,
    price numeric(15, 2),
    free numeric,
    wide numeric(50, 5),
    tiny numeric(3, 3),
    r real,
    d double precision,
    flag boolean,
    name text,
    code char(6),
    raw bytea,
    day date,
    clock time,
    at timestamp,
    tz timestamptz,
    u uuid,
    doc jsonb,
    json_text json,
    span interval,
    net inet,
    ints int[],
    words text[],
    grid int[][]
)
"""

ROWS = """
INSERT INTO t
SELECT i, i % 100, i / 7.0, i / 3.0, i * 1e30 + 0.12345, (i % 1000) / 1000.0, i / 3.0, i / 7.0, i % 2 = 0,
       CASE i % 5 WHEN 0 THEN '' WHEN 1 THEN NULL WHEN 2 THEN E'a|b,"\\n' || i ELSE 'naïve ' || i END,
       'c' || i % 9, decode(md5(i::text), 'hex'), date '1900-01-01' + i, time '00:00' + i * interval '7.000001 s',
       timestamp '1960-01-01' + i * interval '1 h 0.000001 s', timestamptz '2020-01-01' + i * interval '1 min',
       md5(i::text)::uuid, jsonb_build_object('id', i, 'a', NULL), ('{"b": ' || i || ', "a":[1, 2.50]}')::json,
       i * interval '1 h', ('10.0.0.' || i % 200)::inet, ARRAY[i, NULL, -i], ARRAY['', NULL, 'x,y'],
       ARRAY[[i, 1], [2, NULL]]
FROM generate_series(1, 3000) i;
INSERT INTO t (id) VALUES (0);
INSERT INTO t (id, d, r, name, price, free) VALUES
    (-1, 'NaN', 'NaN', '', 0, 0), (-2, '-0', '-0', ' ', -0.01, 1e-20), (-3, 'Infinity', '-Infinity', E'\\\\N', 1, 1e20);
"""

#: Rounds of changes at the source after the sync: key -> (statement, what must be found, columns that must be named).
ROUNDS: list[dict[int, tuple[str, str, set[str]]]] = [
    {
        7: ("UPDATE t SET name = 'other' WHERE id = 7", "different", {"name"}),
        20: ("UPDATE t SET small = 21 WHERE id = 20", "different", {"small"}),  # a swapped pair
        21: ("UPDATE t SET small = 20 WHERE id = 21", "different", {"small"}),
        5: ("UPDATE t SET name = NULL WHERE id = 5", "different", {"name"}),  # was an empty text
        6: ("UPDATE t SET name = '' WHERE id = 6", "different", {"name"}),  # was NULL
        8: ("UPDATE t SET at = at + interval '1 us' WHERE id = 8", "different", {"at"}),
        9: ("UPDATE t SET tz = tz - interval '1 us' WHERE id = 9", "different", {"tz"}),
        10: ("UPDATE t SET price = price + 0.01 WHERE id = 10", "different", {"price"}),
        -1: ("UPDATE t SET d = 'Infinity' WHERE id = -1", "different", {"d"}),  # was NaN
        50: ("UPDATE t SET small = 1, flag = NOT flag WHERE id = 50", "different", {"small", "flag"}),
        99999: ("INSERT INTO t (id) VALUES (99999)", "missing", set()),
        1500: ("DELETE FROM t WHERE id = 1500", "extra", set()),
    },
    {
        -2: ("UPDATE t SET d = 0 WHERE id = -2", "different", {"d"}),  # was -0
        3000: ("UPDATE t SET d = 1.0000000000000002 * d WHERE id = 3000", "different", {"d"}),
        2999: ("UPDATE t SET r = r + 0.0001 WHERE id = 2999", "different", {"r"}),
        11: ("UPDATE t SET wide = wide + 0.00001 WHERE id = 11", "different", {"wide"}),
        13: ("UPDATE t SET name = name || ' ' WHERE id = 13", "different", {"name"}),
        14: ("UPDATE t SET raw = raw || '\\x00' WHERE id = 14", "different", {"raw"}),
        15: ("UPDATE t SET ints = ints || NULL::int WHERE id = 15", "different", {"ints"}),
        16: ("UPDATE t SET words = ARRAY[NULL, NULL, 'x,y'] WHERE id = 16", "different", {"words"}),  # was ''
        17: ("UPDATE t SET grid = ARRAY[[17, 1], [NULL, 2]] WHERE id = 17", "different", {"grid"}),
        18: ('UPDATE t SET json_text = \'{"b":18, "a":[1, 2.50]}\' WHERE id = 18', "different", {"json_text"}),
    },
]


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_planted_differences_are_found(s3_systems: Systems, kind: str) -> None:
    systems = s3_systems
    systems.execute(TABLE, *ROWS.split(";\n"), "ANALYZE t")
    connection = systems.connection(kind)
    connection.sync()
    report = connection.verify(chunks=8)
    assert report.equal, report.summary()
    assert (report.source_rows, report.destination_rows, report.chunks) == (3004, 3004, 8)
    assert not report.excluded
    assert len(report.columns) == 24
    systems.execute("CREATE TABLE kept AS SELECT * FROM t")
    for planted in ROUNDS:
        systems.execute(*(statement for statement, _, _ in planted.values()))
        report = connection.verify(chunks=8)
        assert not report.equal
        found = {int(e.key["id"] or 0): (e.what, set(e.columns)) for e in report.examples}
        assert found == {key: (what, columns) for key, (_, what, columns) in planted.items()}, report.summary()
        assert report.missing + report.extra + report.different == len(planted)
        assert report.source_rows - report.destination_rows == report.missing - report.extra
        systems.execute("TRUNCATE t", "INSERT INTO t SELECT * FROM kept")
    assert connection.verify(chunks=8).equal


@pytest.mark.parametrize("kind", ["duckdb", "postgres", "local Parquet", "local CSV", "local JSONL"])
def test_without_a_key_rows_are_compared_as_a_set_with_repetitions(systems: Systems, kind: str) -> None:
    systems.execute(
        "CREATE TABLE t (a int, b text)",
        "INSERT INTO t SELECT i % 50, nullif('x' || i % 7, 'x3') FROM generate_series(1, 5000) i",
        "ANALYZE t",
    )
    connection = systems.connection(kind)
    connection.sync()
    report = connection.verify()
    assert report.equal, report.summary()
    assert report.source_rows == report.destination_rows == 5000
    systems.execute("DELETE FROM t WHERE ctid = (SELECT ctid FROM t WHERE a = 1 AND b = 'x1' LIMIT 1)")
    report = connection.verify()
    assert not report.equal
    assert (report.missing, report.extra, report.different) == (0, 1, 0)
    (example,) = report.examples
    assert dict(example.key) == {"a": "1", "b": "x1"}
    assert example.destination_rows == example.source_rows + 1
    # A row that came twice more would cancel itself out in an exclusive-or.
    systems.execute("INSERT INTO t VALUES (1, 'x1'), (2, NULL), (2, NULL)")
    report = connection.verify()
    assert (report.missing, report.extra) == (2, 0)
    assert dict(report.examples[0].key) == {"a": "2", "b": None}


def test_a_row_doubled_at_the_destination(systems: Systems) -> None:
    systems.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, i FROM generate_series(1, 100) i"
    )
    connection = systems.connection("duckdb")
    connection.sync()
    with duckdb.connect(str(systems.folder / "copy.duckdb")) as copy:
        copy.execute("INSERT INTO t SELECT * FROM t WHERE id = 42")
        copy.execute("UPDATE t SET v = 'w' WHERE id = 43")
        copy.execute("DELETE FROM t WHERE id = 44")
    report = connection.verify()
    assert (report.missing, report.extra, report.different) == (1, 1, 1)
    assert {(e.what, e.key["id"]) for e in report.examples} == {("missing", "44"), ("extra", "42"), ("different", "43")}
    assert "2 at the destination" in report.summary()
    assert report.to_json()["examples"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("text", "md5(i::text) || repeat('é', i % 3)"),
        ("varchar(40)", "'K-' || i"),
        ("char(9)", "'k' || i"),
        ("uuid", "md5(i::text)::uuid"),
        ("numeric(12,3)", "i / 8.0"),
        ("numeric", "i / 8.0"),
        ("date", "date '1500-01-01' + i * 50"),
        ("timestamptz", "timestamptz '1950-01-01' + i * interval '1 day 1 us'"),
        ("timestamp", "timestamp '1950-01-01' + i * interval '1 day 1 us'"),
        ("time", "time '00:00' + i * interval '17.1 s'"),
        ("bytea", "decode(md5(i::text), 'hex')"),
        ("double precision", "i / 3.0 - 500"),
        ("oid", "i::bigint + 4000000000"),
        ("inet", "'10.0.0.0'::inet + i"),
        ("int[]", "ARRAY[i]"),
        ("mood", "'m' || i % 40"),
    ],
)
def test_chunks_of_every_kind_of_key(systems: Systems, key: str, values: str) -> None:
    # Typed columns at the one end for half of them, text for the others.
    kind = "duckdb" if len(values) % 2 else "local CSV"
    moods = ", ".join(f"'m{i}'" for i in range(40))
    # An enum has too few values to be a key alone.
    more = ", second int" if key == "mood" else ""
    systems.execute(
        f"CREATE TYPE mood AS ENUM ({moods})",
        f"CREATE TABLE t (k {key}{more}, v int, PRIMARY KEY (k{', second' if more else ''}))",
        f"INSERT INTO t SELECT ({values})::{key.split(' COLLATE')[0]}{', i' if more else ''}, i "
        "FROM generate_series(1, 4000) i",
        "ANALYZE t",
    )
    connection = systems.connection(kind)
    connection.sync()
    report = connection.verify(chunks=16)
    assert report.equal, report.summary()
    assert report.chunks == 16
    systems.execute("UPDATE t SET v = v + 1 WHERE v % 1000 = 0", "DELETE FROM t WHERE v = 5")
    report = connection.verify(chunks=16)
    assert (report.missing, report.extra, report.different) == (0, 1, 4), report.summary()
    assert 2 <= report.differing_chunks <= 5


def test_a_key_of_several_columns(systems: Systems) -> None:
    systems.execute(
        "CREATE TABLE t (tenant int, name text, v int, PRIMARY KEY (tenant, name))",
        "INSERT INTO t SELECT i % 3, 'n' || i, i FROM generate_series(1, 6000) i",
        "ANALYZE t",
    )
    connection = systems.connection("duckdb")
    connection.sync()
    assert connection.verify(chunks=12).equal
    systems.execute("UPDATE t SET v = 0 WHERE tenant = 1 AND name = 'n1000'")
    report = connection.verify(chunks=12)
    assert report.differing_chunks == 1
    assert report.ranges[0].first == report.ranges[0].last == ["1", "n1000"]
    assert report.examples[0].to_json() == {
        "what": "different",
        "key": {"tenant": "1", "name": "n1000"},
        "columns": {"v": {"source": "0", "destination": "1000"}},
    }


def test_everything_different_is_counted(systems: Systems) -> None:
    systems.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int)",
        "INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i",
        "ANALYZE t",
    )
    connection = systems.connection("local Parquet")
    connection.sync()
    systems.execute("UPDATE t SET v = v + 1", "DELETE FROM t WHERE id <= 10", "INSERT INTO t VALUES (50000, 1)")
    report = connection.verify(chunks=30)
    assert (report.missing, report.extra, report.different) == (1, 10, 19990)
    assert len(report.ranges) == 10
    assert len(report.examples) == 21
    assert report.complete
