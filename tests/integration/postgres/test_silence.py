"""A connection that a proxy keeps open and acknowledges although nothing passes any more: noticed, and not mistaken."""

from __future__ import annotations

import time

import psycopg
import pyarrow as pa
import pytest

from syncline.connectors.postgres import silence
from syncline.connectors.postgres.connection import PostgresConnectionConfig, connect
from syncline.connectors.postgres.copy import decode
from syncline.connectors.postgres.copy.decode import CopyColumn, CopyReader
from syncline.testing.proxy import Proxy


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(silence, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(silence, "_ASK_TIMEOUT", 2)


@pytest.fixture
def proxy(postgres_server):
    with Proxy(postgres_server.host, postgres_server.port) as made:
        yield made


@pytest.fixture
def session(impatient, proxy, postgres_server, postgres_db, tmp_path):
    """Through the proxy; the session that asks goes the straight way, as after a balancer has recovered."""
    direct = postgres_server.dsn(postgres_db)
    config = PostgresConnectionConfig(
        host="127.0.0.1",
        port=proxy.port,
        database=postgres_db,
        username=postgres_server.user,
        password=postgres_server.password,
    )
    made = connect(config, work_dir=tmp_path)
    assert isinstance(made, silence.WatchedConnection)
    made.ask = lambda: psycopg.connect(direct, autocommit=True)
    yield made
    made.close()


def test_an_answer_that_was_lost_ends_the_wait(session, proxy):
    proxy.stall("down")
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="waits for us"):
        session.execute("SELECT 1")
    assert time.monotonic() - began < 10
    assert session.closed


def test_a_question_that_was_lost_ends_the_wait(session, proxy):
    proxy.stall("up")
    with pytest.raises(psycopg.OperationalError, match="waits for us"):
        session.execute("SELECT 1")


def test_a_session_that_the_server_has_ended_behind_a_silent_proxy_ends_the_wait(session, proxy, postgres_server):
    proxy.stall("both")
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [session.info.backend_pid])
    with pytest.raises(psycopg.OperationalError, match="is gone"):
        session.execute("SELECT 1")


def test_a_server_that_works_for_long_without_a_word_is_waited_for(session):
    assert session.execute("SELECT pg_sleep(1.5), 7").fetchone()[1] == 7


@pytest.mark.parametrize("native", [True, False])
def test_a_copy_that_stands_still_ends(session, proxy, monkeypatch, native):
    if not native:
        monkeypatch.setattr(decode, "native_available", lambda: False)
    query = "SELECT g::int4 AS g, repeat('x', 1000) AS pad FROM generate_series(1, 200000) g"
    columns = [
        CopyColumn(name="g", decoder="int4", arrow=pa.int32()),
        CopyColumn(name="pad", decoder="text", arrow=pa.string()),
    ]
    with CopyReader(session, query, columns, batch_bytes=1 << 18) as reader:
        next(reader)
        proxy.stall("down")
        with pytest.raises(psycopg.OperationalError, match="waits for us"):
            for _ in reader:
                pass


def test_a_server_that_cannot_be_asked_either_is_given_up(session, proxy):
    session.ask = lambda: psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1")
    proxy.stall("both")
    with pytest.raises(psycopg.OperationalError, match="cannot be reached on another connection either"):
        session.execute("SELECT 1")
