"""TLS between us and Postgres: each ``ssl_mode``, certificates as text and as files, refusals, and whole syncs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.dataset as ds
import pytest
from tests.integration.command import Done, postgres, project, succeed, syncline

from syncline.core.errors import POLICY, ErrorKind
from syncline.testing.certificates import Certificates
from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres

pytestmark = pytest.mark.tls

TABLES = (
    "CREATE TABLE orders (id int PRIMARY KEY, v text, n numeric(12,2), at timestamptz, tags text[], note xml)",
    """INSERT INTO orders
       SELECT g, repeat(md5(g::text), 8), g / 7.0, now(), ARRAY['a', NULL, g::text],
              CASE WHEN g % 2 = 0 THEN ('<a>é' || g || '</a>')::xml END
       FROM generate_series(1, 20000) g""",
    # What reads this says of itself whether its session is encrypted.
    "CREATE VIEW session AS SELECT pid AS id, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
)


@pytest.fixture(scope="module")
def shop(tls_postgres_server: PostgresServer) -> Iterator[str]:
    name = tls_postgres_server.create_database()
    tls_postgres_server.execute(*TABLES, dbname=name)
    yield name
    tls_postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def strict_server() -> Iterator[PostgresServer]:
    """Lets nobody in without TLS and a certificate that bears the user's name."""
    bindir = find_tls_bindir()
    if bindir is None:
        pytest.skip("no Postgres server built with OpenSSL on this machine")
    only = ("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full",)
    with start_postgres(bindir=bindir, ssl=True, hba=only) as server:
        yield server


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))


def certificates(server: PostgresServer) -> Certificates:
    assert server.certificates is not None
    return server.certificates


def encrypted(folder: Path, source: dict[str, Any]) -> Done | bool:
    """Whether the session that read was encrypted; the failed command when there was none."""
    lake = {"type": "local", "config": {"path": str(folder / "lake"), "format": {"format_type": "JSONL"}}}
    file = project(folder / "a.yaml", source, lake, streams=["session"])
    done = syncline("sync", file, "--attempts", "1")
    if done.code != 0:
        return done
    (path,) = (folder / "lake" / "session").glob("*.jsonl.gz")
    return bool(json.loads(gzip.decompress(path.read_bytes()))["ssl"])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("disable", False), ("allow", False), ("prefer", True), ("require", True), (None, True)],
)
def test_modes_without_certificates(
    mode: str | None, expected: bool, tls_postgres_server: PostgresServer, shop: str, tmp_path: Path
) -> None:
    assert encrypted(tmp_path, postgres(tls_postgres_server, shop, ssl_mode=mode)) is expected


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
@pytest.mark.parametrize("form", ["path", "text"])
def test_a_server_that_the_authority_vouches_for(
    mode: str, form: str, tls_postgres_server: PostgresServer, shop: str, tmp_path: Path
) -> None:
    ca = certificates(tls_postgres_server).ca
    ssl = {"mode": mode, "ca_certificate": str(ca) if form == "path" else ca.read_text()}
    assert encrypted(tmp_path, postgres(tls_postgres_server, shop, ssl_mode=ssl)) is True


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
@pytest.mark.parametrize("form", ["path", "text"])
def test_an_authority_that_signed_nothing(
    mode: str, form: str, tls_postgres_server: PostgresServer, shop: str, tmp_path: Path
) -> None:
    ca = certificates(tls_postgres_server).stranger_ca
    ssl = {"mode": mode, "ca_certificate": str(ca) if form == "path" else ca.read_text()}
    refused(encrypted(tmp_path, postgres(tls_postgres_server, shop, ssl_mode=ssl)), "certificate verify failed")


def test_another_host_name_than_the_certificates(
    tls_postgres_server: PostgresServer, shop: str, tmp_path: Path
) -> None:
    ssl = {"mode": "verify-full", "ca_certificate": str(certificates(tls_postgres_server).ca)}
    refused(encrypted(tmp_path, postgres(tls_postgres_server, shop, host="localhost", ssl_mode=ssl)), "localhost")
    ssl["mode"] = "verify-ca"
    assert encrypted(tmp_path, postgres(tls_postgres_server, shop, host="localhost", ssl_mode=ssl)) is True


def test_a_certificate_that_is_not_there(tls_postgres_server: PostgresServer, shop: str, tmp_path: Path) -> None:
    ssl = {"mode": "verify-full", "ca_certificate": str(tmp_path / "no.pem")}
    refused(encrypted(tmp_path, postgres(tls_postgres_server, shop, ssl_mode=ssl)), "does not exist")


def test_a_server_without_tls(postgres_server: PostgresServer, postgres_db: str, tmp_path: Path) -> None:
    postgres_server.execute(TABLES[2], dbname=postgres_db)
    assert encrypted(tmp_path, postgres(postgres_server, postgres_db, ssl_mode="prefer")) is False
    refused(encrypted(tmp_path, postgres(postgres_server, postgres_db, ssl_mode="require")), "does not support SSL")


def test_a_server_that_asks_for_our_certificate(strict_server: PostgresServer, tmp_path: Path) -> None:
    ours = certificates(strict_server)
    with strict_server.connect(**_libpq(ours)) as connection:
        connection.execute(TABLES[2].encode())
    pem = {"client_certificate": ours.client_cert.read_text(), "client_key": ours.client_key.read_text()}
    paths = {"client_certificate": str(ours.client_cert), "client_key": str(ours.client_key)}
    for number, given in enumerate((pem, paths)):
        ssl = {"mode": "verify-full", "ca_certificate": str(ours.ca), **given}
        folder = tmp_path / str(number)
        folder.mkdir()
        assert encrypted(folder, postgres(strict_server, "postgres", ssl_mode=ssl)) is True
    without = encrypted(tmp_path, postgres(strict_server, "postgres", ssl_mode="require"))
    refused(without, "certificate", kinds=(ErrorKind.CONFIG, ErrorKind.AUTH, ErrorKind.PERMISSION))
    plain = encrypted(tmp_path, postgres(strict_server, "postgres", ssl_mode="disable"))
    refused(plain, "no encryption", kinds=(ErrorKind.PERMISSION,))
    # A key given as text lies in a file of our own that nobody else can read, and nowhere else.
    key = ours.client_key.read_bytes().strip()
    holders = [p for p in (tmp_path / "home").rglob("*") if p.is_file() and key in p.read_bytes()]
    assert len(holders) <= 1
    assert all(p.stat().st_mode & 0o077 == 0 for p in holders)


def _libpq(ours: Certificates) -> dict[str, str]:
    return {"sslmode": "require", "sslcert": str(ours.client_cert), "sslkey": str(ours.client_key)}


def refused(done: Done | bool, message: str, kinds: tuple[ErrorKind, ...] = (ErrorKind.CONFIG,)) -> None:
    assert isinstance(done, Done), "there was a session"
    assert done.code in {POLICY[kind].exit_code for kind in kinds}, done.text
    assert message in done.err
    assert "\n  next: " in done.err
    assert "Traceback" not in done.text
    assert "PRIVATE KEY" not in done.text


def test_whole_syncs_read_decoded_and_relayed(tls_postgres_server: PostgresServer, shop: str, tmp_path: Path) -> None:
    """Both ends over TLS; what came is what is there, by ``verify`` and by SQL."""
    server = tls_postgres_server
    ssl = {"mode": "verify-full", "ca_certificate": certificates(server).ca.read_text()}
    replica = server.create_database()
    source = postgres(server, shop, ssl_mode=ssl, partition_bytes=2**20)
    lake = project(
        tmp_path / "lake.yaml", source, {"type": "local", "config": {"path": str(tmp_path / "l")}}, streams=["orders"]
    )
    copies = {
        metadata: project(
            tmp_path / f"{metadata}.yaml",
            source,
            postgres(server, replica, ssl_mode=ssl, table_prefix=f"{metadata}_"),
            streams=[{"name": "orders", "mode": "incremental_deduped_history", "cursor_field": "id"}],
            metadata_columns=metadata,
        )
        for metadata in ("syncline", "airbyte")  # relayed, and decoded to be encoded again
    }
    for file in (lake, *copies.values()):
        succeed("sync", file)
        assert succeed("verify", file, "--json").json[0]["equal"]
    read = ds.dataset(tmp_path / "l" / "orders", format="parquet").to_table(["id", "v", "note"]).sort_by("id")
    with psycopg.connect(server.dsn(shop)) as connection:
        expected = connection.execute("SELECT id, v, note::text FROM orders ORDER BY id").fetchall()
    assert list(zip(*(read[name].to_pylist() for name in ("id", "v", "note")), strict=True)) == expected
    fingerprint = "SELECT count(*), md5(string_agg((id, v, n, at, tags, note::text)::text, ',' ORDER BY id)) FROM {}"
    sums = [_one(server, shop, fingerprint.format("orders"))]
    sums += [_one(server, replica, fingerprint.format(f"{m}_orders")) for m in copies]
    assert sums == [sums[0]] * 3
    server.drop_database(replica)


def _one(server: PostgresServer, database: str, query: str) -> Any:
    with server.connect(database) as connection:
        return connection.execute(query.encode()).fetchone()
