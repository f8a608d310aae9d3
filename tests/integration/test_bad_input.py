"""Whatever is wrong: one line of kind, what, where and what to do, the exit code of the kind, nothing half done, no
trace and no secret."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import psycopg
import pyarrow.dataset as ds
import pytest
import yaml
from tests.integration.command import Done, postgres, project, succeed, syncline

from syncline.core.errors import POLICY, ErrorKind
from syncline.engine.selection import select_streams
from syncline.sdk.files.s3_errors import policy
from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server

Change = Callable[[dict[str, Any]], Any]
K = ErrorKind


@pytest.fixture(scope="module")
def shop(postgres_server: PostgresServer) -> Iterator[str]:
    """A database that no test here changes, and a role that may connect but not read."""
    database = postgres_server.create_database()
    postgres_server.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY, v text, updated_at timestamptz NOT NULL DEFAULT now())",
        "CREATE INDEX ON orders (updated_at)",
        "INSERT INTO orders SELECT g, 'v' || g FROM generate_series(1, 100) g",
        "CREATE TABLE log (line text)",
        'CREATE TABLE twins (id int PRIMARY KEY, v text, "V" text)',
        "CREATE TABLE clash (id int PRIMARY KEY, _syncline_generation int)",
        "CREATE TABLE big (id int PRIMARY KEY, v text)",
        "ALTER TABLE big ALTER v SET STORAGE EXTERNAL",
        "INSERT INTO big SELECT g, (SELECT string_agg(md5(g + i / 1000.0 || ''), '') FROM generate_series(1, 300) i)"
        " FROM generate_series(1, 1000) g",
        "CREATE ROLE nothing_granted LOGIN PASSWORD 'pw-of-nothing'",
        dbname=database,
    )
    yield database
    postgres_server.drop_database(database)
    postgres_server.execute("DROP ROLE nothing_granted")


@pytest.fixture(autouse=True)
def _no_secret_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer
) -> Iterator[None]:
    """Journals, specs, scratch files and what is at the destination: nowhere a password."""
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    yield
    secret = postgres_server.password.encode()
    leaks = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".yaml" and secret in p.read_bytes()]
    assert not leaks


def refused(done: Done, kind: ErrorKind, message: str, hint: str, secret: str) -> None:
    """The command said what, where and what next, and ended as the kind wants."""
    assert done.code == POLICY[kind].exit_code, done.text
    if "error (" in done.err:
        lines = done.err.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(f"error ({kind.value}): "))
        assert message in lines[at], done.err
        assert lines[at + 1].startswith("  next: "), done.err
        assert sum(message in line for line in lines if " WARN " not in line and "  next: " not in line) == 1, done.err
        assert hint in lines[at + 1], done.err
    else:  # a finding of check
        at = done.out.index(message)
        assert "FAIL" in done.out
        assert hint in done.out[at:], done.out
    for text in (done.out, done.err):
        assert "Traceback" not in text
        assert "defect" not in text
        assert secret not in text


def _set(*path: str, to: Any) -> Change:
    def change(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return change


def _stream(**keys: Any) -> Change:
    return _set("sync", "streams", to=[{"name": "orders", **keys}])


#: name -> (change of a good project, kind, part of the message, part of the next step)
CONFIGURATION: dict[str, tuple[Change, ErrorKind, str, str]] = {
    "unknown key": (_set("syncs", to={}), K.CONFIG, "unknown key 'syncs' (did you mean 'sync'?)", "configuration.md"),
    "unknown key of a stream": (
        _stream(cursor_feild="v"),
        K.CONFIG,
        "did you mean 'cursor_field'?",
        "configuration.md",
    ),
    "unknown key of a connector": (
        _set("source", "config", "pasword", to="x"),
        K.CONFIG,
        "unknown key 'pasword' (did you mean 'password'?)",
        "connectors spec postgres --role source",
    ),
    "wrong type": (_set("source", "config", "port", to="many"), K.CONFIG, "'port'", "connectors spec postgres"),
    "wrong type of a setting": (
        _set("sync", "concurrency", to="many"),
        K.CONFIG,
        "'sync.concurrency'",
        "configuration",
    ),
    "list for a mapping": (_set("source", to=[1]), K.CONFIG, "'source'", "configuration.md"),
    "mapping for a list": (_set("sync", "streams", to={"a": 1}), K.CONFIG, "a valid list", "configuration.md"),
    "unreadable size": (
        _set("source", "config", "partition_bytes", to="12 parsecs"),
        K.CONFIG,
        "'12 parsecs' is not understood",
        "connectors spec postgres",
    ),
    "no destination": (lambda d: d.pop("destination"), K.CONFIG, "destination is missing", "configuration.md"),
    "unknown connector": (_set("source", "type", to="postgress"), K.CONFIG, "postgress", "postgres"),
    "missing variable": (
        _set("source", "config", "password", to="${NOT_SET_ANYWHERE}"),
        K.CONFIG,
        "environment variable NOT_SET_ANYWHERE is not set",
        "export NOT_SET_ANYWHERE=",
    ),
    "missing secret file": (
        _set("source", "config", "password", to="${file:/no/such/file}"),
        K.CONFIG,
        "/no/such/file cannot be read",
        "check the path",
    ),
    "unknown stream": (
        _set("sync", "streams", to=["ordes"]),
        K.CONFIG,
        "the source has no stream 'ordes'",
        "did you mean 'orders'?",
    ),
    "stream twice": (_set("sync", "streams", to=["orders", "orders"]), K.CONFIG, "listed twice", "remove one"),
    "cursor not in the table": (
        _stream(mode="incremental_append", cursor_field="update_at"),
        K.CONFIG,
        "cursor_field: the stream has no column 'update_at'",
        "did you mean 'updated_at'?",
    ),
    "key not in the table": (_stream(primary_key=["idd"]), K.CONFIG, "no column 'idd'", "did you mean 'id'?"),
    "unknown mode": (
        _stream(mode="incremental_apend"),
        K.CONFIG,
        "incremental_apend",
        "did you mean 'incremental_append'",
    ),
    "refused mode": (
        _stream(mode="incremental_deduped_history"),
        K.CONFIG,
        "cannot keep incremental_deduped_history",
        "it can: full_refresh_overwrite, full_refresh_append, incremental_append",
    ),
    "deduped without a key": (
        lambda d: (
            _set("destination", to={"type": "duckdb", "config": {"path": d["destination"]["config"]["path"] + ".db"}})(
                d
            ),
            _set("sync", "streams", to=[{"name": "log", "mode": "full_refresh_overwrite_deduped"}])(d),
        ),
        K.CONFIG,
        "needs a primary key and the stream has none",
        "set primary_key",
    ),
    "our own column's name": (
        _set("sync", "streams", to=["clash"]),
        K.SCHEMA,
        "has the name of one of our metadata columns",
        "metadata_columns",
    ),
    "columns that DuckDB cannot tell apart": (
        lambda d: (
            _set("destination", to={"type": "duckdb", "config": {"path": d["destination"]["config"]["path"] + ".db"}})(
                d
            ),
            _set("sync", "streams", to=["twins"])(d),
        ),
        K.SCHEMA,
        "columns 'v' and 'V' differ in case only",
        "leave the column out",
    ),
    "wrong password": (
        _set("source", "config", "password", to="not-the-one"),
        K.AUTH,
        "password authentication failed",
        "PGPASSWORD",
    ),
    "unknown database": (
        _set("source", "config", "database", to="nowhere"),
        K.CONFIG,
        '"nowhere" does not',
        "PGDATABASE",
    ),
    "unknown host": (
        _set("source", "config", "host", to="no.such.host.invalid"),
        K.UNREACHABLE,
        "no.such.host.invalid",
        "check host",
    ),
    "missing schema": (_set("source", "config", "schemas", to=["sales"]), K.CONFIG, "sales", "public"),
    "no right to read": (
        lambda d: d["source"]["config"].update(username="nothing_granted", password="pw-of-nothing", tables=["orders"]),
        K.PERMISSION,
        "no right to read table public.orders",
        'GRANT SELECT ON TABLE "public"."orders" TO "nothing_granted"',
    ),
    "a file in the folder's place": (
        lambda d: Path(d["destination"]["config"]["path"]).write_text("x"),
        K.CONFIG,
        "Not a directory",
        "a file and a folder want the same name there",
    ),
}


@pytest.mark.parametrize("name", CONFIGURATION)
def test_a_mistake_is_named_before_anything_is_written(
    name: str, postgres_server: PostgresServer, shop: str, tmp_path: Path
) -> None:
    change, kind, message, hint = CONFIGURATION[name]
    lake = tmp_path / "lake"
    data = {
        "source": postgres(postgres_server, shop),
        "destination": {"type": "local", "config": {"path": str(lake)}},
        "sync": {"streams": ["orders"]},
    }
    data = deepcopy(data)
    change(data)
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    refused(syncline("check", file), kind, message, hint, postgres_server.password)
    refused(syncline("sync", file, "--attempts", "1"), kind, message, hint, postgres_server.password)
    assert not list(lake.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("source: [\n", "not valid YAML at line 2"),
        ("just words\n", "holds no mapping"),
        ("", "holds no mapping"),
        ("source: &a\n  config: *b\n", "not valid YAML"),
        ("\x00\x01", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_project(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "bad.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    for command in ("check", "sync", "verify", "discover"):
        refused(syncline(command, file), K.CONFIG, message, "", "\0")
    file.unlink(missing_ok=True)
    file.write_bytes(b"source: \xff\xfe")
    refused(syncline("sync", file), K.CONFIG, "bad.yaml", "", "\0")
    refused(syncline("sync", tmp_path), K.CONFIG, "cannot be read", "", "\0")


def test_settings_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = {"type": "local", "config": {"path": str(tmp_path / "lake")}}
    file = project(tmp_path / "a.yaml", {"type": "postgres", "config": {}}, lake)
    monkeypatch.setenv("SYNCLINE_KEEP_RUNS", "few")
    refused(syncline("sync", file), K.CONFIG, "SYNCLINE_KEEP_RUNS is 'few'", "whole number", "\0")
    monkeypatch.delenv("SYNCLINE_KEEP_RUNS")
    monkeypatch.setenv("SYNCLINE_HOME", str(file / "home"))
    refused(syncline("sync", file), K.CONFIG, "journals and locks", "set SYNCLINE_HOME", "\0")


def test_nobody_listens(postgres_server: PostgresServer, shop: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
        duck = {"type": "duckdb", "config": {"path": str(tmp_path / "w.duckdb")}}
        file = project(tmp_path / "a.yaml", postgres(postgres_server, shop, port=closed), duck)
        refused(syncline("sync", file, "--attempts", "1"), K.UNREACHABLE, "refused", "host", postgres_server.password)
        assert not (tmp_path / "w.duckdb").exists()
        file = project(
            tmp_path / "b.yaml", postgres(postgres_server, shop), postgres(postgres_server, shop, port=closed)
        )
        refused(syncline("sync", file, "--attempts", "1"), K.UNREACHABLE, "refused", "host", postgres_server.password)


def test_as_json_an_error_is_a_document(postgres_server: PostgresServer, shop: str, tmp_path: Path) -> None:
    lake = {"type": "local", "config": {"path": str(tmp_path / "lake")}}
    file = project(tmp_path / "a.yaml", postgres(postgres_server, shop, password="wrong"), lake)
    done = syncline("sync", file, "--json")
    assert done.code == 4
    assert (done.json["status"], done.json["error"]["kind"], done.err) == ("failed", "auth", "")
    assert done.json["error"]["hint"]
    project(file, postgres(postgres_server, shop), lake, streamz=[])
    done = syncline("sync", file, "--json")
    assert (done.code, done.json["error"]["kind"], done.err) == (3, "config", "")


# -- S3 --------------------------------------------------------------------------------------------------------------


def test_a_missing_bucket_and_a_denied_key(
    postgres_server: PostgresServer, s3_server: S3Server, s3_bucket: str, shop: str, tmp_path: Path
) -> None:
    def s3(bucket: str, key: str, secret: str) -> dict[str, Any]:
        config = {
            "bucket": bucket,
            "region": s3_server.region,
            "endpoint": s3_server.endpoint_url,
            "access_key_id": key,
            "secret_access_key": secret,
            "path_prefix": "bronze",
        }
        return {"type": "s3", "config": config}

    source = postgres(postgres_server, shop)
    ours = s3_server.credentials
    file = project(
        tmp_path / "a.yaml",
        source,
        s3("no-such-bucket", ours.access_key_id, ours.secret_access_key),
        streams=["orders"],
    )
    for command in ("check", "sync"):
        refused(syncline(command, file), K.CONFIG, "no bucket 'no-such-bucket'", "aws s3 mb", postgres_server.password)
    reads_only = deepcopy(policy(s3_bucket, "bronze/"))
    reads_only["Statement"][1]["Action"].remove("s3:PutObject")
    user = s3_server.create_user(reads_only)
    project(file, source, s3(s3_bucket, user.access_key_id, user.secret_access_key), streams=["orders"])
    wrong = project(tmp_path / "b.yaml", source, s3(s3_bucket, user.access_key_id, "x" * 40), streams=["orders"])
    right = f"s3:PutObject on arn:aws:s3:::{s3_bucket}/bronze/*"
    with s3_server.enforce_iam():
        for command in ("check", "sync"):
            refused(syncline(command, file), K.PERMISSION, "PutObject", right, user.secret_access_key)
            refused(syncline(command, wrong), K.AUTH, "access key", "", "x" * 40)
    assert s3_server.keys(s3_bucket) == []


# -- disks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("kind", ["local", "duckdb"])
def test_a_full_disk(kind: str, postgres_server: PostgresServer, shop: str, tmp_path: Path, small_disk: Path) -> None:
    place = small_disk / ("lake" if kind == "local" else "w.duckdb")
    destination = {"type": kind, "config": {"path": str(place)}}
    file = project(tmp_path / "a.yaml", postgres(postgres_server, shop), destination, streams=["orders"])
    succeed("sync", file)
    project(file, postgres(postgres_server, shop), destination, streams=["big", "orders"])
    done = syncline("sync", file)
    refused(done, K.RESOURCE, "disk is full", "free", postgres_server.password)
    # What is not to blame has its rows, and nothing of the other stream is there.
    if kind == "local":
        assert ds.dataset(place / "orders", format="parquet").count_rows() == 100
        assert not list(place.glob("big/**/*.parquet"))
    else:
        with duckdb.connect(str(place), read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM orders").fetchone() == (100,)
            assert connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'big'").fetchone() == (
                0,
            )


# -- others at work --------------------------------------------------------------------------------------------------


def test_two_runs_at_once(postgres_server: PostgresServer, shop: str, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, shop),
        {"type": "local", "config": {"path": str(lake)}},
        streams=["orders"],
    )
    with psycopg.connect(postgres_server.dsn(shop)) as holder:
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        first = subprocess.Popen([sys.executable, "-m", "syncline", "sync", file], stdout=-1, stderr=-1, text=True)
        try:
            _wait_for(lambda: _waiting(postgres_server, shop) or first.poll() is not None)
            arguments = _arguments_of_tree(first.pid)
            second = syncline("sync", file, "--attempts", "1")
            refused(second, K.CONFLICT, f"(pid {first.pid})", "wait for it to end", postgres_server.password)
        finally:
            holder.rollback()
            out, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert arguments
    assert postgres_server.password not in arguments + out + err
    assert ds.dataset(lake / "orders", format="parquet").count_rows() == 100


def test_several_connections_run_in_processes_that_show_no_secret(
    postgres_server: PostgresServer, shop: str, tmp_path: Path
) -> None:
    """Passwords written into the file reach the children, and stay neither in their arguments nor in their files."""
    lakes = {name: {"type": "local", "config": {"path": str(tmp_path / name)}} for name in ("one", "two")}
    connections = {name: {"source": "shop", "destination": name, "streams": ["orders"]} for name in lakes}
    data = {
        "sources": {"shop": postgres(postgres_server, shop)},
        "destinations": lakes,
        "connections": connections,
    }
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    seen: list[str] = []
    real = subprocess.Popen

    def watched(arguments: Any, *more: Any, **options: Any) -> Any:
        seen.append(" ".join(map(str, arguments)))
        return real(arguments, *more, **options)

    with mock.patch("syncline.jobs.launcher.subprocess.Popen", watched):
        done = succeed("sync", file)
    assert len(seen) == 2
    assert postgres_server.password not in "".join(seen) + done.text
    for name in lakes:
        assert ds.dataset(tmp_path / name / "orders", format="parquet").count_rows() == 100


def test_a_database_file_that_another_process_has_open(
    postgres_server: PostgresServer, shop: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.duckdb"
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, shop),
        {"type": "duckdb", "config": {"path": str(path), "lock_timeout": 0.2}},
        streams=["orders"],
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        done = syncline("sync", file, "--attempts", "1")
        refused(done, K.CONFLICT, f"process {holder.pid}", "close it there", postgres_server.password)
        holder.communicate("")
    succeed("sync", file)


def _waiting(server: PostgresServer, database: str) -> bool:
    with server.connect(database) as connection:
        row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return row is not None and row[0] > 0


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _arguments_of_tree(pid: int) -> str:
    """What ``ps`` would show of a process and all below it."""
    import psutil

    process = psutil.Process(pid)
    found = []
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(" ".join(each.cmdline()))
    return "\n".join(found)


# -- a source that changes under the run -----------------------------------------------------------------------------


@pytest.mark.parametrize("destination", ["local", "duckdb", "postgres"])
def test_tables_dropped_and_retyped_after_they_were_discovered(
    destination: str, postgres_server: PostgresServer, postgres_db: str, tmp_path: Path
) -> None:
    """Each such stream is a ``schema`` error that names it; the others finish; the run is no success."""
    changes = {
        "dropped": "DROP TABLE dropped",
        "renamed": "ALTER TABLE renamed RENAME TO renamed_away",
        "column_gone": "ALTER TABLE column_gone DROP COLUMN v",
        "to_text": "ALTER TABLE to_text ALTER v TYPE text",
        # Eight bytes before and eight bytes after: only the declared type tells.
        "to_double": "ALTER TABLE to_double ALTER v TYPE double precision",
    }
    tables = ["a_first", *changes, "z_last"]
    postgres_server.execute(
        *(f"CREATE TABLE {t} (id int PRIMARY KEY, v bigint)" for t in tables),
        *(f"INSERT INTO {t} SELECT g, g FROM generate_series(1, 50) g" for t in tables),
        dbname=postgres_db,
    )
    replica = postgres_server.create_database()
    block = {
        "local": {"type": "local", "config": {"path": str(tmp_path / "lake")}},
        "duckdb": {"type": "duckdb", "config": {"path": str(tmp_path / "w.duckdb")}},
        "postgres": postgres(postgres_server, replica),
    }[destination]
    file = project(tmp_path / "a.yaml", postgres(postgres_server, postgres_db), block, streams=tables)

    def selected(*arguments: Any) -> Any:
        found = select_streams(*arguments)
        postgres_server.execute(*changes.values(), dbname=postgres_db)
        return found

    with mock.patch("syncline.engine.evolution.review.select_streams", selected):
        done = syncline("sync", file)
    assert done.code == POLICY[K.SCHEMA].exit_code, done.text
    assert "Traceback" not in done.text
    for table in changes:
        assert re.search(rf"^error \(schema\): .*\[.*public\.{table}\b.*\]\n  next: .", done.err, re.MULTILINE), (
            done.err
        )
    assert "FAILED: 2 of 7 streams, 100 rows" in done.out
    assert _tables(destination, tmp_path, postgres_server, replica) == {"a_first", "z_last"}
    postgres_server.drop_database(replica)


def _tables(destination: str, folder: Path, server: PostgresServer, database: str) -> set[str]:
    if destination == "local":
        return {p.name for p in (folder / "lake").iterdir() if not p.name.startswith("_")}
    if destination == "duckdb":
        with duckdb.connect(str(folder / "w.duckdb"), read_only=True) as connection:
            names = [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
    else:
        with server.connect(database) as session:
            names = [r[0] for r in session.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND oid > 16384")]
    return {n for n in names if not n.startswith(("_", "pg_", "sql_"))}
