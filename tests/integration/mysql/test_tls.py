"""The log through TLS: its events come in records of TLS, not in packets, and must be found whole all the same."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from syncline.connectors.mysql.config import MySqlSourceConfig
from syncline.connectors.mysql.connection import open_session
from syncline.connectors.mysql.source import MySqlSource
from syncline.core.change import LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.testing.certificates import Certificates, make_certificates
from syncline.testing.mariadb_server import MariaDbServer, find_mariadb, start_mariadb

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[tuple[MariaDbServer, Certificates]]:
    if find_mariadb() is None:
        pytest.skip("no MariaDB server on this machine (apt-get install mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="syncline-mariadb-tls-"))
    try:
        made = make_certificates(folder, host=["127.0.0.1"])
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)  # the server runs as another user
        settings = {"ssl_ca": str(made.ca), "ssl_cert": str(made.server_cert), "ssl_key": str(made.server_key)}
        with start_mariadb({**settings, "require_secure_transport": "ON"}) as server:
            yield server, made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_log_comes_through_tls(server: tuple[MariaDbServer, Certificates], tmp_path: Path) -> None:
    made, certificates = server
    database = made.create_database()
    made.execute("CREATE TABLE t (id int PRIMARY KEY, v longblob)", database=database)
    tls = {"mode": "verify_identity", "ca_certificate": str(certificates.ca)}
    config = MySqlSourceConfig(**made.config(database, replication_method="CDC", ssl_mode=tls))
    context = ConnectorContext(connection="tls", work_dir=tmp_path)
    with closing(MySqlSource(config, context)) as source:
        stream = source.discover().streams[0]
        selected = SelectedStream(
            stream=stream, sync_mode=SyncMode.INCREMENTAL_DEDUPED_HISTORY, primary_key=stream.primary_key
        )
        start = LogPosition.from_json(source.snapshot(selected).end)
        sizes = [0, 1, 300, 70_000, 5_000_000]  # within a record, over many, over many reads
        for number, size in enumerate(sizes):
            made.execute(f"INSERT INTO t VALUES ({number}, repeat(x'00', {size}))", database=database)
        log = source.change_log([selected])
        assert log is not None
        log.open({selected.name: start}, None)
        end = log.end()
        found: list[int] = []
        with closing(log.reader({selected.name: (selected, start)}, start.lsn)) as reader:
            until = time.monotonic() + 60
            while reader.position < end and time.monotonic() < until:
                part = reader.read(1.0)
                for _, batch in part.batches if part is not None else ():
                    found += [len(v) for v in batch.data.column("v").to_pylist()]
    assert found == sizes


def test_a_certificate_of_somebody_else_is_refused(server: tuple[MariaDbServer, Certificates], tmp_path: Path) -> None:
    made, certificates = server
    other = make_certificates(tmp_path / "other", host=["127.0.0.1"])
    tls = {"mode": "verify_ca", "ca_certificate": other.ca.read_text()}  # Airbyte gives the text
    with pytest.raises(SynclineError) as caught:
        open_session(MySqlSourceConfig(**made.config("mysql", ssl_mode=tls)))
    assert caught.value.kind is ErrorKind.UNREACHABLE
    missing = {"mode": "verify_ca", "ca_certificate": str(tmp_path / "none.pem")}
    for mode, kind in ((missing, ErrorKind.CONFIG), ("disabled", ErrorKind.AUTH)):
        with pytest.raises(SynclineError) as caught:
            open_session(MySqlSourceConfig(**made.config("mysql", ssl_mode=mode)))
        assert caught.value.kind is kind, caught.value
        assert caught.value.hint
    whole = {"mode": "verify_ca", "ca_certificate": certificates.ca.read_text()}
    open_session(MySqlSourceConfig(**made.config("mysql", ssl_mode=whole))).close()
