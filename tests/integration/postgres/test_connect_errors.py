"""Errors in the server's own words, with their kind and the next step; and what libpq's environment fills in."""

from __future__ import annotations

import socket

import pytest

from syncline.core.errors import ErrorKind, SynclineError

BASE = ("host", "port", "database", "username", "password")


@pytest.mark.parametrize(
    ("change", "kind", "message", "hint"),
    [
        ({"password": "wrong"}, ErrorKind.AUTH, "password authentication failed", "PGPASSWORD"),
        ({"username": "nobody_here"}, ErrorKind.AUTH, "nobody_here", "username"),
        ({"database": "nowhere"}, ErrorKind.CONFIG, 'database "nowhere" does not exist', "pg_database"),
        ({"ssl_mode": "require"}, ErrorKind.CONFIG, "does not support SSL", "ssl_mode"),
        ({"host": "no.such.host.invalid"}, ErrorKind.UNREACHABLE, "no.such.host.invalid", "host"),
    ],
)
def test_a_refused_connection_says_why_and_what_next(db, change, kind, message, hint):
    with pytest.raises(SynclineError) as caught:
        db.source(**change).discover()
    error = caught.value
    assert error.kind is kind
    assert message in error.message
    assert "\n" not in error.message
    assert hint in error.hint
    assert db.server.password not in f"{error} {error.__cause__!r}"


def test_nobody_listening_is_unreachable(db):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SynclineError, match="Connection refused") as caught:
        db.source(port=port).discover()
    assert caught.value.kind is ErrorKind.UNREACHABLE
    assert "firewall" in caught.value.hint


def test_too_many_connections_is_tried_again_later(db):
    role = f"few_{db.name}"
    db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw' CONNECTION LIMIT 0")
    try:
        with pytest.raises(SynclineError, match="too many connections") as caught:
            db.source(username=role, password="pw").discover()
    finally:
        db.execute(f"DROP ROLE {role}")
    assert caught.value.kind is ErrorKind.TRANSIENT


def test_fields_that_are_left_out_come_from_the_environment(db, monkeypatch, tmp_path):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    passwords = tmp_path / "pgpass"
    passwords.touch(mode=0o600)
    passwords.write_text(f"*:*:*:*:{db.server.password}\n")
    monkeypatch.setenv("PGHOST", db.server.host)
    monkeypatch.setenv("PGPORT", str(db.server.port))
    monkeypatch.setenv("PGUSER", db.server.user)
    monkeypatch.setenv("PGDATABASE", db.name)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    source = db.source(**dict.fromkeys(BASE))
    assert [str(s.name) for s in source.discover().streams] == ["public.t"]


def test_an_ended_session_is_tried_again(db):
    db.execute("CREATE VIEW v AS SELECT pg_terminate_backend(pg_backend_pid())::text AS id")
    with pytest.raises(SynclineError) as caught:
        db.sync("v", "full_refresh_overwrite").run()
    assert caught.value.kind is ErrorKind.TRANSIENT


def test_a_full_disk_and_a_failing_function_keep_their_words(db):
    db.execute(
        "CREATE FUNCTION fail(state text) RETURNS text LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = state, HINT = 'delete something'; END$$",
        "CREATE VIEW full_disk AS SELECT fail('53100') AS id",
        "CREATE VIEW broken AS SELECT 1 / (random() * 0)::int AS id",
    )
    with pytest.raises(SynclineError, match="no space left") as caught:
        db.sync("full_disk", "full_refresh_overwrite").run()
    assert caught.value.kind is ErrorKind.RESOURCE
    assert "delete something" in caught.value.hint
    assert "disk is full" in caught.value.hint
    assert caught.value.where["stream"] == "public.full_disk"
    with pytest.raises(SynclineError, match="division by zero") as caught:
        db.sync("broken", "full_refresh_overwrite").run()
    assert caught.value.kind is ErrorKind.DATA


@pytest.mark.tls
def test_certificates_given_as_text_are_used_and_private(tls_postgres_server, tmp_path):
    from tests.integration.postgres.harness import Database

    certificates = tls_postgres_server.certificates
    name = tls_postgres_server.create_database()
    with Database(tls_postgres_server, name, tmp_path / "work") as db:
        db.execute("CREATE TABLE t (id int PRIMARY KEY)")
        good = {
            "mode": "verify-full",
            "ca_certificate": certificates.ca.read_text(),
            "client_certificate": certificates.client_cert.read_text(),
            "client_key": certificates.client_key.read_text(),
        }
        assert len(db.source(ssl_mode=good).discover().streams) == 1
        files = list((tmp_path / "work").iterdir())
        assert len(files) == 3
        assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
        with pytest.raises(SynclineError, match="certificate verify failed") as caught:
            db.source(ssl_mode={**good, "ca_certificate": str(certificates.stranger_ca)}).discover()
        assert caught.value.kind is ErrorKind.CONFIG
    tls_postgres_server.drop_database(name)
