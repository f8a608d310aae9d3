"""The servers that other tests stand on: they start, keep what they should, and never outlive their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from botocore.exceptions import ClientError

from syncline.testing.postgres_server import PostgresServer, PostgresUnavailableError, start_postgres
from syncline.testing.s3_server import S3Server

pytestmark = pytest.mark.slow


def _gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # dead, and nobody has asked yet
        time.sleep(0.02)
    return False


def test_each_test_has_a_database_of_its_own(postgres_server: PostgresServer, postgres_db: str) -> None:
    with postgres_server.connect(postgres_db) as connection:
        row = connection.execute(
            "SELECT current_database(), current_setting('wal_level'), current_setting('listen_addresses')"
        ).fetchone()
    assert row == (postgres_db, "logical", "127.0.0.1")


def test_a_database_with_a_slot_can_be_dropped(postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    with postgres_server.connect(name) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('held', 'pgoutput')")
    postgres_server.drop_database(name)
    with postgres_server.connect() as connection:
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None


def test_a_wrong_password_is_refused(postgres_server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.dsn(password="wrong"))


def test_committed_rows_survive_a_crash_on_the_same_port() -> None:
    with start_postgres(settings={"synchronous_commit": "on"}) as server:
        port = server.port
        server.execute("CREATE TABLE kept (id int)", "INSERT INTO kept VALUES (1), (2)")
        server.restart("immediate")
        assert server.port == port
        with server.connect() as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (2,)
        temporary = server.data_dir.parent
    assert not temporary.exists()


def test_a_named_data_directory_is_kept_for_the_next_server() -> None:
    with start_postgres() as owner:  # its directory is one that the server's account can reach
        data_dir = owner.data_dir.parent / "kept"
        with start_postgres(data_dir=data_dir, password="same") as server:
            server.execute("CREATE TABLE kept (id int)")
        with start_postgres(data_dir=data_dir, password="same") as server, server.connect() as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(PostgresUnavailableError, match="no_such_setting"):
        start_postgres(settings={"no_such_setting": 1})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_goes_when_its_owner_is_killed(number: signal.Signals) -> None:
    code = (
        "from syncline.testing.postgres_server import start_postgres; from syncline.testing.s3_server import start_s3\n"
        "import time; server = start_postgres(); s3 = start_s3()\n"
        "print(server.pid, s3.pid, server.data_dir.parent, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        postmaster, endpoint, temporary = owner.stdout.readline().split()
        owner.send_signal(number)
    assert _gone(int(postmaster))
    assert _gone(int(endpoint))
    deadline = time.monotonic() + 10
    while Path(temporary).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(temporary).exists()


def test_s3_checks_policies_when_told_to(s3_server: S3Server, s3_bucket: str) -> None:
    s3_server.client().put_object(Bucket=s3_bucket, Key="a", Body=b"1")
    reader = s3_server.create_user(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    )
    client = s3_server.client(credentials=reader)
    with s3_server.enforce_iam():
        assert client.get_object(Bucket=s3_bucket, Key="a")["Body"].read() == b"1"
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=s3_bucket, Key="b", Body=b"")
    client.put_object(Bucket=s3_bucket, Key="b", Body=b"")
    assert s3_server.keys(s3_bucket) == ["a", "b"]


@pytest.mark.tls
def test_tls_is_verified_against_the_right_authority(tls_postgres_server: PostgresServer) -> None:
    certificates = tls_postgres_server.certificates
    assert certificates is not None
    with tls_postgres_server.connect(sslmode="verify-full", sslrootcert=certificates.ca) as connection:
        row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row == (True,)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        tls_postgres_server.connect(sslmode="verify-full", sslrootcert=certificates.stranger_ca)
