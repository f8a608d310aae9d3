"""A primary that dies and a standby that takes its place: goes on where nothing is lost, else stops with a plan."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.postgres.following import Following
from tests.integration.postgres.harness import Database

from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import PostgresServer, find_bindir, start_postgres

pytestmark = pytest.mark.slow


def until(condition, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def standby_of(primary: PostgresServer, *, copies_slots: bool) -> Iterator[PostgresServer]:
    """A standby that streams from ``primary`` by the physical slot ``standby``."""
    primary.execute("SELECT pg_create_physical_replication_slot('standby', true)")
    with tempfile.TemporaryDirectory(prefix="syncline-standby-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        command: list[str | Path] = [
            find_bindir() / "pg_basebackup",
            "-D",
            data,
            "-R",
            "-S",
            "standby",
            "-X",
            "stream",
            "-c",
            "fast",
        ]
        subprocess.run([*command, "-d", primary.dsn(application_name="standby")], check=True, capture_output=True)
        primary._own(data)
        settings = {
            "hot_standby": "on",
            "hot_standby_feedback": "on",
            "primary_slot_name": "standby",
            "primary_conninfo": primary.dsn(application_name="standby"),
            "sync_replication_slots": "on" if copies_slots else "off",
        }
        with start_postgres(data_dir=data, password=primary.password, settings=settings) as standby:
            yield standby


def synced(standby: PostgresServer) -> bool:
    with standby.connect() as session:
        return (
            session.execute("SELECT 1 FROM pg_replication_slots WHERE synced AND NOT temporary").fetchone() is not None
        )


def promote(standby: PostgresServer) -> None:
    with standby.connect() as session:
        session.execute("SELECT pg_promote(true, 60)")


def test_a_synchronised_slot_goes_on_at_the_new_primary_and_nothing_is_lost(tmp_path):
    with start_postgres(settings={"synchronized_standby_slots": "standby"}) as primary:
        primary.create_database("d")
        with standby_of(primary, copies_slots=True) as standby, Database(primary, "d", tmp_path) as db:
            db.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
            f = Following(db, "t").open()
            f.replication["heartbeat"] = 1

            def move() -> bool:
                db.execute("INSERT INTO t SELECT max(id) + 1 FROM t")
                f.catch_up()
                return synced(standby)

            until(move)
            assert [x for x in f.source.check(list(f.selected.values())) if "copies the failover slots" in x.message]
            copied = [r["id"] for r in f.table("t")]
            with standby.connect("d") as session:
                until(lambda: session.execute("SELECT count(*) FROM t").fetchone()[0] == len(copied))
            f.close()
            primary.stop("immediate")
            promote(standby)
            with Database(standby, "d", tmp_path) as after:
                after.execute("INSERT INTO t SELECT max(id) + 1 FROM t")
                f.db = after
                assert f.identity is not None
                identity = dict(f.identity)
                f.open().catch_up()
                assert f.identity["timeline"] == identity["timeline"] + 1
                assert [r["id"] for r in f.table("t")] == [*copied, len(copied) + 1]
                f.close()

                # Had we read further than where the old primary was left, its last changes would be lost here.
                f.identity = identity
                f.positions = {n: replace(p, lsn=p.lsn + (1 << 30)) for n, p in f.positions.items()}
                with pytest.raises(SynclineError, match="after a failover the server goes on from") as caught:
                    f.open()
                assert caught.value.kind is ErrorKind.CONFLICT
                f.close()
                # And a copy that was under way may have seen what is lost now.
                f.positions = {n: replace(p, lsn=1000, snapshot="7:7:") for n, p in f.positions.items()}
                with pytest.raises(SynclineError, match="while streams were being copied") as caught:
                    f.open()
                assert "syncline state reset --stream public.t" in caught.value.hint
                f.close()


def test_a_slot_that_no_standby_has_is_a_stop_and_check_says_so_before(tmp_path):
    with start_postgres() as primary:
        primary.create_database("d")
        with standby_of(primary, copies_slots=False) as standby, Database(primary, "d", tmp_path) as db:
            db.execute("CREATE TABLE t (id int PRIMARY KEY)")
            f = Following(db, "t").open().catch_up()
            until(
                lambda: db.rows(
                    "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND application_name = 'standby'"
                )
            )
            warned = [x for x in f.source.check() if "none seems to copy its failover slots" in x.message]
            assert "sync_replication_slots = on" in warned[0].hint
            f.close()
            with standby.connect("d") as session:
                until(lambda: session.execute("SELECT to_regclass('t')").fetchone()[0] is not None)
            with Database(standby, "d", tmp_path) as early:
                refused = Following(early, "t")
                with pytest.raises(SynclineError, match="is a standby"):
                    refused.open()
                refused.close()
            primary.stop("immediate")
            promote(standby)
            with Database(standby, "d", tmp_path) as after:
                f.db = after
                f.positions = {n: replace(p, lsn=1000) for n, p in f.positions.items()}
                with pytest.raises(SynclineError, match="does not exist any more"):
                    f.open()
                f.close()
