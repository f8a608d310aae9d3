"""The oracle by itself: writers keep their invariants, the journal knows the source, the witness sees everything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from syncline.testing.oracle.change_log import judge_change_log
from syncline.testing.oracle.commits import Act, CommitJournal
from syncline.testing.oracle.content import DuckDBEnd, PostgresEnd, Row, compare
from syncline.testing.oracle.tables import ACCOUNTS, TABLES, create_tables
from syncline.testing.oracle.watch import PostgresDestination, Watch
from syncline.testing.oracle.witness import Witness
from syncline.testing.oracle.workload import Workload
from syncline.testing.postgres_server import PostgresServer


@pytest.fixture
def source(postgres_server: PostgresServer) -> Iterator[tuple[str, Witness]]:
    name = postgres_server.create_database()
    dsn = postgres_server.dsn(name)
    with psycopg.connect(dsn, autocommit=True) as session:
        # What is not on disk is not in anybody's log.
        session.execute(f"ALTER DATABASE {name} SET synchronous_commit TO on".encode())
    witness = Witness.create(dsn)
    create_tables(dsn, rows=100)
    yield dsn, witness
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as session:
        session.execute("SELECT pg_drop_replication_slot(%s)", (witness.slot,))
    postgres_server.drop_database(name)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[CommitJournal]:
    found = CommitJournal(tmp_path / "commits.jsonl")
    yield found
    found.close()


def test_writers_keep_the_invariants_and_the_witness_sees_all(
    source: tuple[str, Witness], journal: CommitJournal
) -> None:
    dsn, witness = source
    with Workload(dsn, journal, seed=7, large=False):
        time.sleep(2)
    assert journal.acknowledged > 20
    assert journal.against_source(dsn) == []
    end = PostgresEnd(dsn)
    assert sum(row["balance"] for row in [*end.rows("accounts"), *end.rows("vaults")]) == 1000 * ACCOUNTS
    versions = {row["id"]: row["version"] for row in end.rows("counters")}
    assert all(versions[number] == versions[number + 1] for number in versions if number % 2 == 0)
    # A log without a snapshot, written down by the witness itself, is judged to be right: the replay gives the tables.
    history = witness.read()
    seen = {change.relation.table for transaction in history for change in transaction.changes}
    assert {"acts", "accounts", "things"} <= seen
    acts = [change for transaction in history for change in transaction.changes if change.relation.table == "acts"]
    assert {
        Act(writer=int(str(c.new["writer"])), number=int(str(c.new["number"]))) for c in acts
    } >= journal.with_state("acknowledged")
    empty: list[Row] = []
    for table in TABLES:
        missing = judge_change_log(table, empty, history, end.rows(table.name), copied_by=0)
        assert missing or table.name not in seen, f"{table.name} is not there at all, and nobody says so"


def test_a_commit_that_the_source_lost_is_named(source: tuple[str, Witness], journal: CommitJournal) -> None:
    dsn, _ = source
    journal.note(Act(writer=1, number=1), "plain", "acknowledged")
    journal.note(Act(writer=1, number=2), "plain", "aborted")
    with psycopg.connect(dsn) as session:
        session.execute("INSERT INTO acts (writer, number, kind) VALUES (1, 2, 'plain'), (1, 3, 'plain')")
    found = journal.against_source(dsn)
    assert len(found) == 3
    assert "lost commits" in found[0]
    assert "rolled back" in found[1]
    assert "no writer asked for" in found[2]


def test_both_ends_are_read_alike(source: tuple[str, Witness], tmp_path: Path) -> None:
    import duckdb

    dsn, _ = source
    path = tmp_path / "copy.duckdb"
    rows = PostgresEnd(dsn).rows("things")
    with duckdb.connect(str(path)) as session:
        session.execute(
            'CREATE TABLE things (id bigint, v text, n decimal(14,4), "at" timestamptz, flag bool, doc json, '
            "big text, blob blob)"
        )
        for row in rows:
            session.execute("INSERT INTO things VALUES (?, ?, ?, ?, ?, ?, ?, ?)", list(row.values()))
    assert compare("things", rows, DuckDBEnd(path).rows("things"), ("id",)) == []
    assert PostgresEnd(dsn).rows("nothing") == DuckDBEnd(path).rows("nothing") == []


_LEDGER = """
CREATE TABLE _syncline_ledger (connection text, stream_namespace text, stream_name text, position text);
INSERT INTO _syncline_ledger VALUES ('c', '_syncline', 'log', '{"lsn": 1}'),
    ('c', 'public', 'accounts', '{"lsn": 1, "joined": true}'), ('c', 'public', 'vaults', '{"lsn": 1, "joined": true}'),
    ('c', 'public', 'counters', '{"lsn": 1, "joined": true}');
"""


def test_the_watch_sees_half_transactions_the_past_and_early_confirmations(
    source: tuple[str, Witness], postgres_server: PostgresServer, postgres_db: str
) -> None:
    dsn, _ = source
    other = postgres_server.dsn(postgres_db)
    slot = f"early_{postgres_db}"
    create_tables(other, rows=0)
    with psycopg.connect(other, autocommit=True) as there, psycopg.connect(dsn, autocommit=True) as here:
        there.execute(_LEDGER)
        here.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", (slot,))
        watch = Watch(dsn, PostgresDestination(dsn=other, connection="c"), interval=0.01)
        watch.start()
        try:
            _wait(lambda: any("is confirmed up to" in each for each in watch.findings))
            there.execute(
                """UPDATE _syncline_ledger SET position = '{"lsn": 99999999999999}' WHERE stream_name = 'log'"""
            )
            there.execute("UPDATE counters SET version = 5 WHERE id IN (0, 1)")
            _wait(lambda: watch.looks > 2)
            there.execute("UPDATE counters SET version = 4 WHERE id IN (0, 1)")
            _wait(lambda: any("went back" in each for each in watch.findings))
            there.execute("UPDATE counters SET version = 6 WHERE id = 0")
            _wait(lambda: any("its twin" in each for each in watch.findings))
            there.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1")
            _wait(lambda: any("a reader saw balances" in each for each in watch.findings))
        finally:
            watch.stop()
            here.execute("SELECT pg_drop_replication_slot(%s)", (slot,))


def _wait(happened: object) -> None:
    assert callable(happened)
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "the watch does not see it"
        time.sleep(0.02)
