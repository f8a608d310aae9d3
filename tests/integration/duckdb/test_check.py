"""What ``check`` says."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from tests.integration.duckdb.driver import destination, load, people, target

from syncline.core.errors import ErrorKind
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName
from syncline.sdk.findings import Finding, Severity


def errors(findings: list[Finding]) -> list[tuple[ErrorKind | None, str]]:
    return [(f.kind, f.message) for f in findings if f.severity is Severity.ERROR]


def test_a_file_to_be_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.duckdb"
    findings = destination(path).check([target()])
    assert errors(findings) == []
    assert any("will be made" in f.message for f in findings)
    assert not path.parent.exists()


def test_a_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    load(destination(path), target(), [people([(1, "a", 1)])])
    findings = destination(path).check([target()])
    assert [f.severity for f in findings] == [Severity.OK, Severity.OK]
    assert "storage is of v1.4.0" in findings[0].message
    assert [p.name for p in tmp_path.iterdir()] == ["x.duckdb"]


def test_an_old_storage_format_is_slow(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    duckdb.connect(str(path), config={"storage_compatibility_version": "v1.0.0"}).close()
    findings = destination(path).check()
    assert [f.severity for f in findings] == [Severity.WARNING]
    assert "ATTACH" in findings[0].hint


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.duckdb"
    path.write_bytes(content)
    assert [kind for kind, _ in errors(destination(path).check())] == [ErrorKind.CONFIG]
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    assert [kind for kind, _ in errors(destination(tmp_path).check())] == [ErrorKind.CONFIG]


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x", encoding="utf-8")
    assert [kind for kind, _ in errors(destination(tmp_path / "f" / "x.duckdb").check())] == [ErrorKind.CONFIG]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert [kind for kind, _ in errors(destination(tmp_path / "x.duckdb").check())] == [ErrorKind.PERMISSION]


def test_two_streams_in_one_table(tmp_path: Path) -> None:
    targets = [target(), target(stream=StreamName(namespace="other", name="Orders"))]
    found = errors(destination(tmp_path / "x.duckdb").check(targets))
    assert [kind for kind, _ in found] == [ErrorKind.CONFIG]
    assert errors(destination(tmp_path / "x.duckdb", namespace="source").check(targets)) == []


def test_a_table_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with closing(duckdb.connect(str(path))) as con:
        con.execute("CREATE TABLE orders (a INTEGER)")
    found = errors(destination(path).check([target()]))
    assert [kind for kind, _ in found] == [ErrorKind.CONFIG]
    assert "was not made by this stream" in found[0][1]


def test_a_column_that_cannot_be_held(tmp_path: Path) -> None:
    schema = StreamSchema(fields=(Field(name="i", type=pa.month_day_nano_interval()),))
    found = errors(destination(tmp_path / "x.duckdb").check([target(schema=schema)]))
    assert [kind for kind, _ in found] == [ErrorKind.SCHEMA]


def test_a_name_of_ours(tmp_path: Path) -> None:
    found = errors(destination(tmp_path / "x.duckdb").check([target(stream=StreamName(name="_syncline_ledger"))]))
    assert [kind for kind, _ in found] == [ErrorKind.SCHEMA]
