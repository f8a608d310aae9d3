"""CSV: what a column is, and that nothing is lost or bent."""

from __future__ import annotations

import gzip
import tracemalloc
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from tests.integration.files_source.harness import Lake

from syncline.core.errors import ErrorKind, SynclineError


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path, globs="**/*.csv*")


def test_types_come_from_the_values(lake: Lake) -> None:
    lake.put(
        "a.csv",
        "i,big,huge,zip,plus,f,long,mixed,b,d,ts,tz,s,n,nearly\n"
        "1,9007199254740993,99999999999999999999,007,+1,1.5,0.1234567890123456789,1,true,2026-11-21,"
        "2026-11-21 10:00:00.5,2026-11-21T10:00:00+02:00,x,,2026-11-21\n"
        "-2,-9,1,10,2,2,1.5,2.5,False,2026-02-28,2026-11-21T10:00:00,2026-11-21T10:00:00Z,,,2026-02-30\n",
    )
    assert lake.types() == {
        "i": "int64",
        "big": "int64",
        "huge": "string",
        "zip": "string",
        "plus": "string",
        "f": "double",
        "long": "string",
        "mixed": "double",
        "b": "bool",
        "d": "date32[day]",
        "ts": "timestamp[us]",
        "tz": "timestamp[us, tz=UTC]",
        "s": "string",
        "n": "string",
        "nearly": "string",
    }
    row = lake.rows()[0]
    assert (row["i"], row["big"], row["huge"], row["zip"], row["plus"]) == (
        1,
        9007199254740993,
        "99999999999999999999",
        "007",
        "+1",
    )
    assert (row["f"], row["long"], row["b"], row["d"]) == (1.5, "0.1234567890123456789", True, date(2026, 11, 21))
    assert row["ts"] == datetime.fromisoformat("2026-11-21T10:00:00.5")
    assert row["tz"] == datetime(2026, 11, 21, 8, tzinfo=UTC)


def test_files_are_joined_by_name_and_widened(lake: Lake) -> None:
    lake.put("a.csv", "x,y,z\n1,1,5\n", mtime=1)
    lake.put("b.csv", "z,y,w\n9007199254740993,1.5,new\n", mtime=2)
    lake.put("c.csv", "z,x\n1.5,text\n", mtime=3)
    assert lake.types() == {"x": "string", "y": "double", "z": "string", "w": "string"}
    assert lake.rows() == [
        {"x": "1", "y": 1.0, "z": "5", "w": None},
        {"x": None, "y": 1.5, "z": "9007199254740993", "w": "new"},
        {"x": "text", "y": None, "z": "1.5", "w": None},
    ]


def test_quotes_newlines_marks_and_nulls(lake: Lake) -> None:
    lake.put("a.csv", b'\xef\xbb\xbfid,"a ""b""",c\r\n1,"line\r\nbreak, ""q""",\r\n2,"",NA\r\n"3",x,"NA"')
    assert lake.rows(format={"null_values": ["NA"]}) == [
        {"id": 1, 'a "b"': 'line\r\nbreak, "q"', "c": None},
        {"id": 2, 'a "b"': "", "c": None},
        {"id": 3, 'a "b"': "x", "c": "NA"},
    ]


def test_a_quoted_empty_value_of_a_number_is_null(lake: Lake) -> None:
    lake.put("a.csv", '"id","n"\n"1",""\n"2","5"\n')
    assert lake.rows() == [{"id": 1, "n": None}, {"id": 2, "n": 5}]


def test_an_empty_line_of_one_column_is_a_row(lake: Lake) -> None:
    lake.put("a.csv", "v\n1\n\n3\n")
    assert [r["v"] for r in lake.rows()] == [1, None, 3]


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ({"delimiter": "tab", "quote_char": "'"}, b"id\tv\n1\t'a\tb'\n"),
        ({"header": False, "column_names": ["id", "v"], "delimiter": ";"}, b"1;a\tb\n"),
        ({"column_names": ["id", "v"]}, b"A,B\n1,a\tb\n"),
        ({"encoding": "utf-16"}, "id,v\n1,a\tb\n".encode("utf-16")),
        ({"skip_lines": 2}, b"made by x\n\nid,v\n1,a\tb\n"),
        ({"escape_char": "\\", "double_quote": False}, b'id,v\n1,"a\tb"\n'),
        ({"compression": "gzip"}, gzip.compress(b"id,v\n1,a\tb\n")),
    ],
)
def test_formats(lake: Lake, form: dict[str, object], data: bytes) -> None:
    lake.put("a.csv", data)
    assert lake.rows(format=form) == [{"id": 1, "v": "a\tb"}]


def test_without_names(lake: Lake) -> None:
    lake.put("a.csv", "1,a\n2,b\n")
    assert lake.rows(format={"header": False}) == [{"f0": 1, "f1": "a"}, {"f0": 2, "f1": "b"}]


def test_compressed_in_several_members(lake: Lake) -> None:
    lake.put("a.csv.gz", gzip.compress(b"id\n1\n") + gzip.compress(b"2\n"))
    assert lake.rows() == [{"id": 1}, {"id": 2}]


def test_what_does_not_fit_is_set_aside_and_no_row_is_lost(lake: Lake) -> None:
    good = b"".join(b"%d,1.5,true,text\n" % i for i in range(100_000))
    bad = b"x,1.5,true,a\n5,y,true,b\n6,1.5,maybe,c\n7,1.5,true,\xff\n99999999999999999999,1.5,true,d\n"
    lake.put("a.csv", b"i,f,b,s\n" + good * 3 + bad + good)
    rows, misfits = lake.read(sample_bytes=4096)
    assert len(rows) == 400_005
    assert [(m.column, m.text) for m in sorted(misfits, key=lambda m: m.row)] == [
        ("i", "x"),
        ("f", "y"),
        ("b", "maybe"),
        ("s", "\\xff"),
        ("i", "99999999999999999999"),
    ]
    at = misfits[0].row - misfits[0].row  # rows are numbers within the batch
    assert at == 0
    assert [r["s"] for r in rows[300_000:300_005]] == ["a", "b", "c", None, "d"]


def test_given_types_win_over_the_sample(lake: Lake) -> None:
    lake.put("a.csv", "id,code,at\n1,5,2026-11-21\n")
    given = {"code": "string", "at": "timestamp"}
    assert lake.rows(column_types=given) == [{"id": 1, "code": "5", "at": datetime.fromisoformat("2026-11-21")}]
    with pytest.raises(SynclineError, match="no column 'cod'"):
        lake.types(column_types={"cod": "string"})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b\n1,2\n3,4,5\n", r"a\.csv: row 3 has 3 values where 2"),
        (b"a,a\n1,2\n", "'a' is there twice"),
        (b"a,b\n1,\xe9\n", "not UTF-8"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 9)[:-12], r"a\.csv"),
    ],
)
def test_broken_files_are_named(lake: Lake, data: bytes, words: str) -> None:
    name = "a.csv.gz" if data[:2] == b"\x1f\x8b" else "a.csv"
    lake.put(name, data)
    with pytest.raises(SynclineError, match=words) as raised:
        lake.read()
    assert raised.value.kind is ErrorKind.DATA
    assert raised.value.hint


def test_a_broken_line_behind_the_sample_is_an_error(lake: Lake) -> None:
    lake.put("a.csv", "a,b\n" + "1,2\n" * 5000 + "3\n")
    with pytest.raises(SynclineError, match="row 5002 has 1 values where 2"):
        lake.read(sample_bytes=1024)


def test_a_row_longer_than_a_block(lake: Lake) -> None:
    lake.put("a.csv", "id,v\n1,x\n2," + "y" * (9 << 20) + "\n3,z\n")
    assert [(r["id"], len(r["v"])) for r in lake.rows(sample_bytes=1024)] == [(1, 1), (2, 9 << 20), (3, 1)]


def test_memory_does_not_grow_with_the_file(lake: Lake) -> None:
    with (lake.root / "a.csv").open("wb") as file:
        file.write(b"id,v\n")
        for _ in range(60):
            file.write(b"1,some text here\n" * 60_000)
    source = lake.source()
    selected = lake.select(source)
    (partition,) = source.snapshot(selected).partitions
    pa.default_memory_pool().release_unused()
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    for batch in source.read(selected, partition):
        assert batch.bytes <= 16 << 20
        rows += batch.rows
        most = max(most, pa.total_allocated_bytes() - before)
    _, traced = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 3_600_000
    assert most < 64 << 20
    assert traced < 32 << 20
