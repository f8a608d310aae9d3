"""From Postgres to BigQuery's counterpart as a user does it: types, a log that is followed, errors before data is
touched, a publication that somebody else finishes, and what it cost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.findings import Severity
from syncline.sdk.reference import ConnectorReference, open_destination
from syncline.testing.bigquery_server import BigQueryServer, prepare_bigquery, start_bigquery
from syncline.testing.bucket_server import BucketServer
from syncline.testing.conformance.destination import Flow, made_rows
from syncline.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.clients, pytest.mark.slow]

#: Column -> its declaration, the value that Postgres is given, and what BigQuery must show.
TYPES: dict[str, tuple[str, str, Any]] = {
    "Mixed Name": ("integer", "-2147483648", -2147483648),
    "select": ("boolean", "true", True),
    "naïve": ("bigint", "9223372036854775807", 2**63 - 1),
    "real8": ("double precision", "'NaN'", "nan"),
    "small": ("real", "1.5", 1.5),
    "money2": ("numeric(15,2)", "-0.01", Decimal("-0.01")),
    "precise": (
        "numeric(38,18)",
        "12345678901234567890.123456789012345678",
        Decimal("12345678901234567890.123456789012345678"),
    ),
    "free": ("numeric", "1e40", "1" + "0" * 40),
    "words": ("text", "E'quo\"ted\\nüni\\\\N'", 'quo"ted\nüni\\N'),
    "empty": ("text", "''", ""),
    "nothing": ("text", "NULL", None),
    "doc": ("jsonb", """'{"a": [1, 2.5, null], "b": "ü"}'""", {"a": [1, 2.5, None], "b": "ü"}),
    "raw": ("bytea", "'\\x00ff10'", b"\x00\xff\x10"),
    "day": ("date", "'9999-12-31'", date(9999, 12, 31)),
    "hour": ("time", "'23:59:59.999999'", time(23, 59, 59, 999999)),
    "moment": ("timestamptz", "'0001-01-01 00:00:00+00'", datetime(1, 1, 1, tzinfo=UTC)),
    "wall": ("timestamp", "'2026-11-21 12:00:00.000001'", datetime(2026, 11, 21, 12, 0, 0, 1)),  # noqa: DTZ001
    "ident": ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "many": ("integer[]", "'{1,NULL,3}'", [1, None, 3]),
    "span": ("interval", "'1 mon 2 days'", "1 mon 2 days"),
}
NAMES = {"Mixed Name": "Mixed_Name", "naïve": "naive"}


@pytest.fixture(scope="module")
def server() -> Iterator[BigQueryServer]:
    prepare_bigquery()
    with start_bigquery() as running:
        yield running


def project(folder: Path, postgres: PostgresServer, database: str, config: dict[str, Any], **sync: Any) -> Path:
    source = {"host": postgres.host, "port": postgres.port, "database": database}
    source |= {"username": postgres.user, "password": postgres.password, "replication_method": {"method": "CDC"}}
    data = {
        "name": "bq",
        "source": {"type": "postgres", "config": source},
        "destination": {"type": "bigquery", "config": config},
        "sync": sync,
    }
    path = folder / "project.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def syncline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYNCLINE_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "syncline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


def test_types_and_a_log(postgres_server: PostgresServer, server: BigQueryServer, tmp_path: Path) -> None:
    database, dataset = postgres_server.create_database(), server.create_dataset()
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, _, _) in TYPES.items())
    values = ", ".join(value for _, value, _ in TYPES.values())
    with psycopg.connect(postgres_server.dsn(database), autocommit=True) as session:
        session.execute(f"CREATE TABLE kinds (id bigint PRIMARY KEY, {columns}, big text)".encode())
        session.execute("ALTER TABLE kinds ALTER big SET STORAGE EXTERNAL")
        for i in range(1, 5):
            session.execute(f"INSERT INTO kinds VALUES ({i}, {values}, repeat('b', 9000))".encode())
        session.execute("INSERT INTO kinds (id, moment) VALUES (5, 'infinity')")
        session.execute("CREATE TABLE keyless (n int)")
        session.execute("ALTER TABLE keyless REPLICA IDENTITY FULL")
        session.execute("CREATE TABLE bare (id int PRIMARY KEY)")
        session.execute("INSERT INTO keyless VALUES (1), (1), (NULL)")
    path = project(
        tmp_path,
        postgres_server,
        database,
        server.config(dataset, merge_interval=0, partitioning="key", key_partition_size=1000),
        streams=[
            {"name": "kinds", "mode": "incremental_deduped_history"},
            {"name": "keyless", "mode": "incremental_append"},
            {"name": "bare", "mode": "incremental_deduped_history"},
        ],
    )
    done = syncline(tmp_path, "sync", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    names = [NAMES.get(n, n) for n in TYPES]
    chosen = ", ".join(f"`{n}`" for n in names)
    where = f"`{server.project}.{dataset}`"
    rows = server.rows(f"SELECT {chosen} FROM {where}.kinds ORDER BY id")
    assert len(rows) == 4
    for name, found, (_, _, wanted) in zip(names, rows[0], TYPES.values(), strict=True):
        assert ("nan" if found != found else found) == wanted, name
    aside = server.rows(f"SELECT column_name, stream_name FROM {where}._syncline_quarantine")
    assert aside == [("moment", "kinds")]
    assert sorted(server.rows(f"SELECT n FROM {where}.keyless"), key=str) == [(1,), (1,), (None,)]
    assert server.rows(f"SELECT * FROM {where}.bare") == []

    with psycopg.connect(postgres_server.dsn(database), autocommit=True) as session:
        session.execute("UPDATE kinds SET words = 'changed' WHERE id = 1")
        session.execute("UPDATE kinds SET id = 20 WHERE id = 2")
        session.execute("DELETE FROM kinds WHERE id = 3")
        session.execute("ALTER TABLE kinds ADD COLUMN later int DEFAULT 7")
        session.execute("INSERT INTO kinds (id, words) VALUES (30, 'new')")
        session.execute("INSERT INTO keyless VALUES (2)")
    done = syncline(tmp_path, "sync", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = server.rows(f"SELECT id, words, LENGTH(big), later FROM {where}.kinds ORDER BY id")
    words = TYPES["words"][2]
    assert found == [(1, "changed", 9000, 7), (4, words, 9000, 7), (20, words, 9000, 7), (30, "new", None, 7)]
    assert server.rows(f"SELECT COUNT(*) FROM {where}.keyless") == [(4,)]
    costs = server.rows(
        f"SELECT what, COUNT(DISTINCT job_id), COUNT(DISTINCT run) FROM {where}._syncline_statements GROUP BY 1"
    )
    assert {what: runs for what, _, runs in costs}["flush"] >= 1
    assert sum(jobs for what, jobs, _ in costs if what == "load") >= 2
    left = server.rows(
        f"SELECT table_name FROM {where}.INFORMATION_SCHEMA.TABLES WHERE STARTS_WITH(table_name, '_syncline_')"
    )
    assert {n for (n,) in left} == {"_syncline_ledger", "_syncline_quarantine", "_syncline_statements"}


def opened(config: dict[str, Any], folder: Path) -> Any:
    reference = ConnectorReference(type="bigquery", config=config)
    return open_destination(reference, ConnectorContext(connection="c", work_dir=folder))


def test_what_is_wrong_is_said_before_data_is_touched(server: BigQueryServer, tmp_path: Path) -> None:
    [missing] = opened(server.config("not_there"), tmp_path).check()
    assert (missing.severity, missing.kind) == (Severity.ERROR, ErrorKind.CONFIG)
    assert "there is no dataset demo.not_there" in missing.message
    assert "bq --location=US mk --dataset demo:not_there" in missing.hint
    dataset = server.create_dataset()
    [elsewhere] = opened({**server.config(dataset), "dataset_location": "EU"}, tmp_path).check()
    assert "is in US, dataset_location says EU" in elsewhere.message
    [nobody] = opened({**server.config(dataset), "endpoint": "http://127.0.0.1:9"}, tmp_path).check()
    assert nobody.kind is ErrorKind.UNREACHABLE


def test_through_a_bucket(server: BigQueryServer, tmp_path: Path) -> None:
    """The counterpart finds ``gs://`` below its own folder; what speaks Cloud Storage's API puts objects there."""
    dataset = server.create_dataset()
    with BucketServer(server.folder / "data" / "gcs") as storage:
        name = f"b{dataset.replace('_', '-')}"
        method = {
            "method": "GCS Staging",
            "gcs_bucket_name": name,
            "gcs_bucket_path": "in",
            "endpoint": storage.endpoint,
        }
        config = {**server.config(dataset), "loading_method": method}
        [*_, said] = opened(config, tmp_path).check()
        assert (said.severity, said.message) == (Severity.ERROR, f"there is no bucket {name}")
        storage.create_bucket(name)
        assert {f.severity for f in opened(config, tmp_path).check()} == {Severity.OK}

        class Driver:
            gaps: dict[str, str] = {}

            def reference(self) -> ConnectorReference:
                return ConnectorReference(type="bigquery", config=config)

            def rows(self, columns: Any) -> None:
                return None

            def quarantined(self) -> int:
                return 0

        flow = Flow(Driver(), tmp_path / "work")
        flow.load(WriteMode.REPLACE, made_rows(range(5)))
        flow.load(WriteMode.APPEND, made_rows(range(5, 8)))
        assert server.rows(f"SELECT COUNT(*) FROM `{server.project}.{dataset}.items`") == [(8,)]
        assert any(written.startswith("in/_syncline_s_") for written in storage.written)
        # What a dead attempt left goes when the next begins.
        start = next(w for w in storage.written if w.startswith("in/_syncline_s_")).split("_")[:4]
        left = storage.root / name / ("_".join(start) + "_0_dead")
        left.parent.mkdir(exist_ok=True)
        left.touch()
        flow.load(WriteMode.APPEND, made_rows(range(8, 9)))
        flow.close()
        assert storage.objects(name) == []


def test_somebody_else_finishes_a_publication(
    server: BigQueryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run dies after the announcement; its successor publishes by the same job, and is not published over."""

    class Driver:
        gaps: dict[str, str] = {}
        dataset = server.create_dataset()

        def reference(self) -> ConnectorReference:
            return ConnectorReference(type="bigquery", config=server.config(self.dataset))

        def rows(self, columns: Any) -> None:
            return None

        def quarantined(self) -> int:
            return 0

    class DeadError(Exception):
        pass

    def die(point: str) -> None:
        if point == "publish.inside":
            raise DeadError

    flow = Flow(Driver(), tmp_path / "first")
    flow.begin(WriteMode.REPLACE, partitions=1)
    flow.commit(flow.stage("p0", made_rows(range(5))))
    with monkeypatch.context() as patched:
        patched.setattr("syncline.connectors.bigquery.destination.failpoint", die)
        with pytest.raises(DeadError):
            flow.publish()
    visible = f"SELECT COUNT(*) FROM `{server.project}.{Driver.dataset}.items`"
    second = Flow(Driver(), tmp_path / "second")
    assert second.checkpoint.position == {"cursor": "end"}
    assert server.rows(visible) == [(5,)]
    second.load(WriteMode.APPEND, made_rows(range(5, 7)))
    with pytest.raises(SynclineError) as caught:
        flow.publish()
    assert caught.value.kind is ErrorKind.CONFLICT
    assert server.rows(visible) == [(7,)]
    for each in (flow, second):
        each.close()
