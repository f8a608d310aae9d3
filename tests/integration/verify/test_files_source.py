"""Files as the source: which of them make up the stream, and how their text is read."""

from __future__ import annotations

import gzip
import json
import re
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.integration.verify.harness import Connection

from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.connectors.files.source_config import FilesSourceConfig
from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import SelectedStream, Stream, StreamName, SyncMode, WriteMode
from syncline.engine.selection import StreamChoice
from syncline.sdk.reference import ConnectorReference
from syncline.verify import VerifyReport, verify_stream
from syncline.verify.files_ends import _common_prefix, _regex

FIELDS = (
    Field(name="id", type=pa.int64()),
    Field(name="name", type=pa.string()),
    Field(name="price", type=pa.float64()),
    Field(name="day", type=pa.date32()),
    Field(name="at", type=pa.timestamp("us", tz="UTC")),
    Field(name="flag", type=pa.bool_()),
)
ROWS: list[dict[str, Any]] = [
    {
        "id": i,
        "name": None if i % 7 == 0 else "" if i % 7 == 1 else f'ü"{i}";\n,',
        "price": i / 3,
        "day": date(2026, 1, 1 + i % 28),
        "at": datetime(2026, 1, 1, 0, i % 60, 0, i, tzinfo=UTC),
        "flag": None if i % 5 == 0 else i % 2 == 0,
    }
    for i in range(200)
]
SQL = 'id BIGINT, name VARCHAR, price DOUBLE, day DATE, "at" TIMESTAMPTZ, flag BOOLEAN'


def _copy(path: Path, rows: list[dict[str, Any]], columns: str = SQL) -> None:
    with duckdb.connect(str(path)) as copy:
        copy.execute(f"CREATE TABLE orders ({columns})")
        marks = ", ".join("?" * len(rows[0]))
        copy.executemany(f"INSERT INTO orders VALUES ({marks})", [list(row.values()) for row in rows])


def _verify(folder: Path, fields: tuple[Field, ...] = FIELDS, **config: Any) -> VerifyReport:
    name = StreamName(name="orders")
    schema = StreamSchema(fields=fields)
    stream = Stream(name=name, schema=schema, primary_key=("id",))
    return verify_stream(
        FilesSourceConfig.model_validate({"path": str(folder / "in"), "name": "orders", **config}),
        "duckdb",
        DuckdbDestinationConfig.model_validate({"path": str(folder / "copy.duckdb")}),
        SelectedStream(stream=stream, sync_mode=SyncMode.FULL_REFRESH_OVERWRITE, primary_key=("id",)),
        StreamTarget(
            connection="c",
            stream=name,
            schema=schema,
            write=WriteMode.REPLACE,
            generation=1,
            sync_id="s",
            sync_date=date(2026, 1, 1),
        ),
        StreamCheckpoint(generation=1, sequence=3, schema=schema),
        work_dir=folder / "work",
        chunks=4,
    )


def test_parquet(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "2026"
    folder.mkdir(parents=True)
    arrow = StreamSchema(fields=FIELDS).arrow()
    for n in range(4):
        pq.write_table(pa.Table.from_pylist(ROWS[n * 50 : n * 50 + 50], arrow), folder / f"orders-{n}.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[:50], arrow), folder / ".orders-9.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[:50], arrow), folder / "other.parquet")
    _copy(tmp_path / "copy.duckdb", ROWS)
    report = _verify(tmp_path, globs="**/orders-*.parquet")
    assert report.equal, report.summary()
    assert (report.source_rows, report.chunks) == (200, 4)
    (folder / "orders-3.parquet").unlink()
    report = _verify(tmp_path, globs="**/orders-*.parquet")
    assert (report.missing, report.extra) == (0, 50)


def _csv(rows: list[dict[str, Any]], delimiter: str, null: str) -> str:
    def text(value: Any) -> str:
        if value is None:
            return null
        if isinstance(value, str):
            return '"' + value.replace('"', '""') + '"'
        return str(value).lower() if isinstance(value, bool) else str(value)

    return "".join(delimiter.join(text(v) for v in row.values()) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("settings", "head", "null", "name"),
    [
        ({}, "id,name,price,day,at,flag\n", "", "orders.csv"),
        ({"delimiter": ";"}, "id;name;price;day;at;flag\n", "", "orders.csv.gz"),
        ({"delimiter": "tab", "encoding": "latin-1", "null_values": ["NULL"]}, None, "NULL", "orders.tsv.gz"),
        ({"header": False, "column_names": [f.name for f in FIELDS], "skip_lines": 1}, "# what\n", "", "orders.csv"),
    ],
)
def test_csv(tmp_path: Path, settings: dict[str, Any], head: str | None, null: str, name: str) -> None:
    (tmp_path / "in").mkdir()
    delimiter = {"tab": "\t"}.get(settings.get("delimiter", ","), settings.get("delimiter", ","))
    head = delimiter.join(f.name for f in FIELDS) + "\n" if head is None else head
    data = (head + _csv(ROWS, delimiter, null)).encode(settings.get("encoding", "utf-8"))
    (tmp_path / "in" / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    _copy(tmp_path / "copy.duckdb", ROWS)
    found: dict[str, Any] = {"globs": name, "format": {"filetype": "csv", **settings}}
    report = _verify(tmp_path, **found)
    assert report.equal, report.summary()
    with duckdb.connect(str(tmp_path / "copy.duckdb")) as copy:
        copy.execute("UPDATE orders SET name = NULL WHERE id = 8")
    assert _verify(tmp_path, **found).examples[0].columns == {"name": ("", None)}


def test_json_lines(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    fields = (
        Field(name="id", type=pa.int64()),
        Field(name="amount", type=pa.decimal128(12, 2)),
        Field(name="tags", type=pa.list_(pa.string())),
        Field(name="who", type=pa.struct([("name", pa.string()), ("age", pa.int64())])),
    )
    lines = [
        '{"id": 1, "amount": 1.10, "tags": ["a", null, ""], "who": {"name": "x", "age": 5}}',
        '{"id": 2, "amount": "12345678.90", "tags": [], "who": {"name": null}}',
        '{"id": 3, "tags": null}',
    ]
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(lines) + "\n")
    rows: list[dict[str, Any]] = [
        {"id": 1, "amount": Decimal("1.1"), "tags": ["a", None, ""], "who": {"name": "x", "age": 5}},
        {"id": 2, "amount": Decimal("12345678.9"), "tags": [], "who": {"name": None, "age": None}},
        {"id": 3, "amount": None, "tags": None, "who": None},
    ]
    columns = "id BIGINT, amount DECIMAL(12,2), tags VARCHAR[], who STRUCT(name VARCHAR, age BIGINT)"
    _copy(tmp_path / "copy.duckdb", rows, columns)
    report = _verify(tmp_path, fields, globs="*.jsonl")
    assert report.equal, report.summary()
    assert len(report.columns) == 4


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.csv", ["a.csv"], ["x/a.csv", "a.csv.gz"]),
        ("**/*.csv", ["a.csv", "x/y/a.csv"], ["a.txt"]),
        ("a/**", ["a/b", "a/b/c"], ["b/a"]),
        ("a/**/b?.{csv,txt}", ["a/b1.csv", "a/x/y/b2.txt"], ["a/b.csv", "a/b1.doc"]),
        ("[ab]-[!0-9].x", ["a-z.x"], ["a-1.x", "c-z.x"]),
        ("a+b(1).csv", ["a+b(1).csv"], ["aab1.csv"]),
    ],
)
def test_patterns(glob: str, yes: list[str], no: list[str]) -> None:
    assert [key for key in yes + no if re.fullmatch(_regex(glob), key)] == yes


def test_only_the_common_folder_is_listed() -> None:
    assert _common_prefix(["a/b/*.csv", "a/b/c/*.csv"]) == "a/b/"
    assert _common_prefix(["a/x.csv"]) == "a/"
    assert _common_prefix(["*.csv", "a/*.csv"]) == ""


# Through the source itself


def _connection(folder: Path, destination: str, mode: str, **source: Any) -> Connection:
    configs: dict[str, dict[str, Any]] = {
        "duckdb": {"path": str(folder / "copy.duckdb")},
        "local": {"path": str(folder / "lake"), "format": {"format_type": "Parquet"}},
    }
    return Connection(
        source=ConnectorReference(type="files", config={"path": str(folder / "in"), "name": "orders", **source}),
        destination=ConnectorReference(type=destination, config=configs[destination]),
        work_dir=folder / "work",
        choice=StreamChoice(name="orders", mode=mode),
    )


@pytest.mark.parametrize("destination", ["duckdb", "local"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_sync_of_files_is_equal(tmp_path: Path, destination: str, form: str) -> None:
    (tmp_path / "in").mkdir()
    arrow = StreamSchema(fields=FIELDS).arrow()
    for n in range(3):
        rows, path = ROWS[n * 50 : n * 50 + 50], tmp_path / "in" / f"{n}.{form}"
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(rows, arrow), path)
        elif form == "csv":
            path.write_text(",".join(f.name for f in FIELDS) + "\n" + _csv(rows, ",", ""), encoding="utf-8", newline="")
        else:
            lines = [json.dumps({k: str(v) if k in ("day", "at") else v for k, v in row.items()}) for row in rows]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    connection = _connection(tmp_path, destination, "full_refresh", globs=f"*.{form}", primary_key=["id"])
    connection.sync()
    report = connection.verify(chunks=3)
    assert report.equal, report.summary()
    assert (report.source_rows, len(report.columns), report.chunks) == (150, 6, 3)


@pytest.mark.parametrize("destination", ["duckdb", "local"])
def test_files_that_came_later_are_pending(tmp_path: Path, destination: str) -> None:
    (tmp_path / "in").mkdir()

    def write(name: str, first: int, last: int, v: str) -> None:
        table = pa.table({"id": pa.array(range(first, last)), "v": pa.array([v] * (last - first))})
        pq.write_table(table, tmp_path / "in" / name)

    write("a.parquet", 0, 100, "old")
    write("b.parquet", 100, 200, "old")
    connection = _connection(tmp_path, destination, "incremental", globs="*.parquet", primary_key=["id"])
    connection.sync()
    assert connection.verify().equal
    time.sleep(0.05)
    write("c.parquet", 200, 250, "new")
    report = connection.verify()
    assert report.equal, report.summary()
    assert (report.pending, report.source_rows) == (50, 250)
    connection.sync()
    if destination == "duckdb":
        # Newer files bring newer versions of a key.
        write("d.parquet", 50, 150, "newer")
        connection.sync()
    report = connection.verify()
    assert report.equal, report.summary()
    assert (report.pending, report.source_rows) == (0, 250)
