"""What verify says in each sync mode: pending, deleted, appended, quarantined, unfinished."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from tests.integration.verify.harness import Systems

from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.sdk.metadata import MetadataColumns

pytestmark = pytest.mark.slow

ORDERS = (
    "CREATE TABLE t (id int PRIMARY KEY, v text, updated_at timestamptz DEFAULT now())",
    "INSERT INTO t SELECT i, 'v' || i, timestamptz '2026-01-01' + i * interval '1 min' FROM generate_series(1, 1000) i",
    "ANALYZE t",
)
LATER = "timestamptz '2026-02-01'"
#: As a sync of ORDERS leaves it.
SYNCED = StreamCheckpoint(
    generation=1,
    sequence=3,
    schema=StreamSchema(fields=(Field(name="id", type=pa.int32()), Field(name="v", type=pa.string()))),
)
ALL = ("duckdb", "postgres", "local Parquet")


def test_never_synced(systems: Systems) -> None:
    systems.execute(*ORDERS)
    with pytest.raises(SynclineError, match="never synced") as raised:
        systems.connection("duckdb").verify()
    assert raised.value.kind is ErrorKind.CONFIG
    assert "syncline sync" in raised.value.hint


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
@pytest.mark.parametrize("method", ["Standard", "Xmin"])
def test_incremental_deduped(systems: Systems, kind: str, method: str) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection(
        kind,
        mode="incremental",
        cursor="updated_at" if method == "Standard" else None,
        source={"replication_method": method},
    )
    connection.sync()
    report = connection.verify(chunks=5)
    assert report.equal, report.summary()
    # Newer than the position: no difference, but said.
    systems.execute(
        f"UPDATE t SET v = 'new', updated_at = {LATER} WHERE id BETWEEN 10 AND 19",
        f"INSERT INTO t VALUES (2000, 'new', {LATER})",
    )
    report = connection.verify(chunks=5)
    assert report.equal, report.summary()
    assert (report.pending, report.source_rows, report.destination_rows) == (11, 1001, 1000)
    assert "newer than the last sync" in report.summary()
    # A delete is a difference that the sync cannot see, and the report says so.
    systems.execute("DELETE FROM t WHERE id = 500")
    report = connection.verify(chunks=5)
    assert not report.equal
    assert (report.missing, report.extra, report.different, report.pending) == (0, 1, 0, 11)
    assert "deletes" in report.summary()
    systems.execute("INSERT INTO t SELECT 500, 'v500', timestamptz '2026-01-01' + 500 * interval '1 min'")
    if method == "Standard":
        # A change that does not move the cursor is no pending one: no sync will ever see it.
        systems.execute("UPDATE t SET v = 'silent' WHERE id = 700")
        report = connection.verify(chunks=5)
        assert [(e.what, e.key["id"]) for e in report.examples] == [("different", "700")]
        systems.execute("UPDATE t SET v = 'v700' WHERE id = 700")
    connection.sync()
    report = connection.verify(chunks=5)
    assert report.equal, report.summary()
    assert report.pending == 0


@pytest.mark.parametrize("kind", ALL)
def test_incremental_append_compares_the_newest_version(systems: Systems, kind: str) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection(kind, mode="incremental_append", cursor="updated_at")
    connection.sync()
    for day in ("02", "03"):
        systems.execute(
            f"UPDATE t SET v = 'new{day}', updated_at = '2026-02-{day}' WHERE id <= 30",
            f"INSERT INTO t VALUES (20{day}, 'new', '2026-02-{day}')",
        )
        connection.sync()
    report = connection.verify(chunks=4)
    assert report.equal, report.summary()
    assert report.destination_rows == report.source_rows == 1002
    systems.execute("UPDATE t SET v = 'silent' WHERE id IN (20, 100)")
    report = connection.verify(chunks=4)
    # Row 20 has the cursor's last value: the next sync looks at it again. Row 100 it will never see.
    assert (report.different, report.pending) == (1, 1)
    assert report.examples[0].columns == {"v": ("silent", "v100")}


def test_incremental_append_sees_a_row_that_came_twice(systems: Systems) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection("postgres", mode="incremental_append", cursor="updated_at")
    connection.sync()
    systems.execute("INSERT INTO copy.t SELECT * FROM copy.t WHERE id = 77")
    report = connection.verify(chunks=4)
    assert (report.missing, report.extra, report.different) == (0, 1, 0)
    assert report.examples[0].key == {"id": "77"}


@pytest.mark.parametrize("kind", ALL)
def test_full_refresh_append_compares_the_last_generation(systems: Systems, kind: str) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection(kind, mode="full_refresh_append")
    connection.sync()
    systems.execute("DELETE FROM t WHERE id > 900", "UPDATE t SET v = 'new' WHERE id = 1")
    connection.sync()
    report = connection.verify(chunks=4)
    assert report.equal, report.summary()
    assert report.destination_rows == 900


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_a_key_of_the_users_own(systems: Systems, kind: str) -> None:
    systems.execute(
        "CREATE TABLE t (id int PRIMARY KEY, customer int, at int, v text)",
        "INSERT INTO t SELECT i, i % 100, i, 'v' || i FROM generate_series(1, 1000) i",
    )
    connection = systems.connection(kind, mode="incremental_deduped_history", cursor="at", key=("customer",))
    connection.sync()
    report = connection.verify()
    assert report.equal, report.summary()
    assert report.source_rows == report.destination_rows == 100


@pytest.mark.parametrize("kind", ["duckdb", "local Parquet", "local JSONL"])
def test_quarantined_rows_are_counted_and_excused(systems: Systems, kind: str) -> None:
    systems.execute(
        "CREATE TABLE t (id int, at timestamptz, amount numeric(10,2), name text, PRIMARY KEY (id, at))",
        "INSERT INTO t SELECT i, '2026-01-01', i, 'n' || i FROM generate_series(1, 500) i",
        "UPDATE t SET amount = 'NaN' WHERE id IN (5, 6, 7)",
    )
    connection = systems.connection(kind)
    connection.sync()
    report = connection.verify(chunks=3)
    assert report.equal, report.summary()
    assert (report.source_rows, report.destination_rows, report.quarantined) == (500, 497, 3)
    assert {q["id"] for q in report.quarantined_examples} == {"5", "6", "7"}
    assert "3 rows are in quarantine" in report.summary()
    # Quarantine excuses its own rows and no others.
    systems.execute("UPDATE t SET name = 'x' WHERE id = 8", "DELETE FROM t WHERE id = 6")
    report = connection.verify(chunks=3)
    assert (report.missing, report.extra, report.different, report.quarantined) == (0, 0, 1, 2)


def test_quarantine_without_a_key(systems: Systems) -> None:
    systems.execute(
        "CREATE TABLE t (a int, b numeric(5,2))", "INSERT INTO t SELECT i, i FROM generate_series(1, 300) i"
    )
    systems.execute("UPDATE t SET b = 'NaN' WHERE a IN (1, 2)")
    connection = systems.connection("duckdb")
    connection.sync()
    report = connection.verify()
    assert report.equal, report.summary()
    assert report.quarantined == 2
    systems.execute("INSERT INTO t VALUES (1000, 1)")
    report = connection.verify()
    assert not report.equal
    assert (report.missing, report.quarantined) == (1, 2)


@pytest.mark.parametrize("kind", ALL)
def test_an_unfinished_sync_is_told(systems: Systems, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection(kind, mode="full_refresh")
    connection.sync()
    systems.execute("UPDATE t SET v = 'new' WHERE id = 1")

    def lost(*_: Any) -> None:
        raise SynclineError(ErrorKind.TRANSIENT, "the line was cut")

    with monkeypatch.context() as patch:
        patch.setattr("syncline.engine.stream_run.StreamRun.take", lost)
        with pytest.raises(AssertionError, match="the line was cut"):
            connection.sync()
    report = connection.verify()
    assert not report.equal
    assert "unfinished" in report.summary()
    connection.sync()
    assert connection.verify().equal


@pytest.mark.parametrize("style", list(MetadataColumns))
def test_metadata_columns_take_no_part(systems: Systems, style: MetadataColumns) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection("duckdb", metadata=style, mode="full_refresh_append")
    connection.sync()
    report = connection.verify()
    assert report.equal, report.summary()
    assert report.columns == ("id", "v", "updated_at")
    assert ("all generations" in report.summary()) == (style is MetadataColumns.NONE)


def test_columns_that_come_and_go(systems: Systems) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection("duckdb", mode="incremental", cursor="updated_at")
    connection.sync()
    systems.execute("ALTER TABLE t ADD COLUMN more int DEFAULT 1", "ALTER TABLE t DROP COLUMN v")
    report = connection.verify()
    assert report.equal, report.summary()
    assert report.excluded == {
        "v": "no longer selected, or no longer at the source",
        "more": "new at the source: the next sync brings it",
    }
    assert "not compared: column more" in report.summary()


@pytest.mark.parametrize("kind", ["duckdb", "local Parquet"])
def test_views_and_partitioned_tables(systems: Systems, kind: str) -> None:
    systems.execute(
        *ORDERS,
        'CREATE VIEW "A view" AS SELECT *, id * 2 AS "Twice |" FROM t',
        "CREATE MATERIALIZED VIEW held AS SELECT * FROM t",
        "CREATE TABLE parted (id int, region text, v text, PRIMARY KEY (region, id)) PARTITION BY LIST (region)",
        "CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a')",
        "CREATE TABLE parted_rest PARTITION OF parted DEFAULT",
        "INSERT INTO parted SELECT i, chr(97 + i % 3), 'v' || i FROM generate_series(1, 900) i",
        "ANALYZE",
    )
    for stream, rows in (("A view", 1000), ("held", 1000), ("parted", 900)):
        connection = systems.connection(kind, stream=stream)
        connection.sync()
        report = connection.verify(chunks=4)
        assert report.equal, report.summary()
        assert report.source_rows == rows
    systems.execute("UPDATE t SET v = 'x' WHERE id = 5", "UPDATE parted SET v = 'x' WHERE id = 6")
    assert systems.connection(kind, stream="A view").verify(chunks=4).extra == 1
    assert systems.connection(kind, stream="parted").verify(chunks=4).examples[0].key == {"region": "a", "id": "6"}


def test_columns_that_only_folders_have(systems: Systems) -> None:
    systems.execute(
        "CREATE TABLE t (id int PRIMARY KEY, region text, day date, v int)",
        "INSERT INTO t SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN 'a/b=c' ELSE 'r' || i % 3 END, "
        "date '2026-01-01' + i % 5, i FROM generate_series(1, 600) i",
    )
    folders = {"partitioning": ["region", {"field_name": "day", "type": "MONTH"}]}
    connections = [
        systems.connection(kind, destination={**folders, "path_prefix": kind.replace(" ", "")})
        for kind in ("local CSV", "local Parquet")
    ]
    for connection in connections:
        connection.sync()
        report = connection.verify()
        assert report.equal, report.summary()
        assert "region" in report.columns
    systems.execute("UPDATE t SET region = 'r9' WHERE id = 3")
    assert connections[1].verify().examples[0].columns == {"region": ("r9", "r0")}


def test_a_file_that_is_gone_is_named(systems: Systems) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection("local Parquet")
    connection.sync()
    (file,) = (systems.folder / "lake" / "t").rglob("*.parquet")
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(SynclineError, match=r"has \d+ bytes, and") as raised:
        connection.verify()
    assert raised.value.kind is ErrorKind.DATA
    file.unlink()
    with pytest.raises(SynclineError, match="is gone"):
        connection.verify()


def test_files_written_over_many_syncs(systems: Systems) -> None:
    """More entries than one whole manifest, and a column that older files lack."""
    systems.execute(*ORDERS)
    connection = systems.connection("local Parquet", mode="incremental_append", cursor="updated_at", key=())
    connection.sync()
    systems.execute("ALTER TABLE t ADD COLUMN more int")
    for n in range(3):
        systems.execute(
            f"INSERT INTO t VALUES ({3000 + n}, 'n', timestamptz '2026-03-01' + {n} * interval '1 day', {n or 'NULL'})"
        )
        connection.sync()
    report = connection.verify()
    assert report.equal, report.summary()
    assert (report.key, report.destination_rows) == ((), 1003)
    assert "more" in report.columns


def test_a_database_that_is_not_utf8(systems: Systems) -> None:
    server = systems.postgres
    with server.connect() as session:
        session.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        latin = Systems(postgres=server, database="latin", folder=systems.folder)
        latin.execute(
            "CREATE TABLE t (k text PRIMARY KEY, c char(5), j json)",
            "INSERT INTO t SELECT 'schön ' || i, 'ü', '\"é\"' FROM generate_series(1, 300) i",
            "ANALYZE t",
        )
        connection = latin.connection("duckdb")
        connection.sync()
        report = connection.verify(chunks=3)
        assert report.equal, report.summary()
        latin.execute("UPDATE t SET c = 'u' WHERE k = 'schön 7'")
        report = connection.verify(chunks=3)
        assert report.examples[0].columns == {"c": ("u    ", "ü    ")}
    finally:
        server.drop_database("latin")


def test_right_missing_at_the_source(systems: Systems) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection("duckdb")
    connection.sync()
    systems.execute("CREATE ROLE poor LOGIN PASSWORD 'x'", "GRANT SELECT (id) ON t TO poor")
    try:
        poor = systems.connection("duckdb", source={"username": "poor", "password": "x"}, columns=("id", "v"))
        with pytest.raises(SynclineError) as raised:
            poor.verify()
        assert raised.value.kind in (ErrorKind.PERMISSION, ErrorKind.CONFIG)
    finally:
        systems.execute("DROP OWNED BY poor", "DROP ROLE poor")


def test_a_database_file_that_somebody_holds(systems: Systems) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection("duckdb", destination={"lock_timeout": 0.5})
    connection.sync()
    path = str(systems.folder / "copy.duckdb")
    code = f"import duckdb; held = duckdb.connect({path!r}); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SynclineError) as raised:
            connection.verify_only(SYNCED)
        holder.communicate("\n")
    assert raised.value.kind is ErrorKind.CONFLICT
    assert connection.verify().equal


def test_a_key_without_rights_at_the_bucket(s3_systems: Systems) -> None:
    systems = s3_systems
    systems.execute(*ORDERS)
    connection = systems.connection("s3 Parquet")
    connection.sync()
    assert systems.s3 is not None
    with pytest.raises(SynclineError) as raised:
        systems.connection("s3 Parquet", destination={"bucket": "no-such-bucket"}).verify_only(SYNCED)
    assert raised.value.kind is ErrorKind.CONFIG


def test_nothing_is_left_behind(systems: Systems) -> None:
    systems.execute(*ORDERS)
    connection = systems.connection("local Parquet")
    connection.sync()
    systems.execute("UPDATE t SET v = 'x'")
    connection.verify(chunks=3)
    left: list[Path] = list(systems.folder.joinpath("work").rglob("verify*"))
    assert left == []
    with psycopg.connect(systems.postgres.dsn(systems.database)) as session:
        row = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'syncline verify%%'"
        ).fetchone()
    assert row == (0,)
