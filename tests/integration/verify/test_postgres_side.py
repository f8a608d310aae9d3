"""How a Postgres end is read: one moment for all of it, by several sessions, and never for too long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import PostgresServer
from syncline.verify import postgres_side
from syncline.verify.canonical import Kind, row_hash, row_text, sum_hashes
from syncline.verify.columns import Chunking, ColumnSpec, cut_points
from syncline.verify.postgres_sessions import Sessions, TooOldError
from syncline.verify.postgres_side import PostgresSide
from syncline.verify.postgres_statements import PostgresTable
from syncline.verify.side import Latest
from syncline.verify.sums import Sums

ID = ColumnSpec(name="id", kind=Kind(name="int"))
V = ColumnSpec(name="v", kind=Kind(name="text"))


def _quiet(label: str, done: int, expected: int) -> None:
    pass


@pytest.fixture
def side(postgres_server: PostgresServer, postgres_db: str) -> Callable[..., PostgresSide]:
    postgres_server.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20000) i",
        "ANALYZE t",
        dbname=postgres_db,
    )

    def make(**options: object) -> PostgresSide:
        table = PostgresTable(schema="public", name="t", **options.pop("table", {}))  # type: ignore[arg-type]
        return PostgresSide(
            lambda: psycopg.connect(postgres_server.dsn(postgres_db)),
            table,
            label="source",
            **options,  # type: ignore[arg-type]
        )

    return make


def _expected(rows: range = range(1, 20001)) -> int:
    return sum_hashes(row_hash(row_text([str(i), f"{len(f'v{i}')}:v{i}"])) for i in rows)


def _by_key(number: int) -> Chunking:
    return cut_points([ID], 1, [(str(n),) for n in range(1, 20001, 50)], number)


@pytest.mark.parametrize("sessions", [1, 2, 4])
@pytest.mark.parametrize("pages", [3, 100_000])
def test_the_sum_is_the_references(
    side: Callable[..., PostgresSide], monkeypatch: pytest.MonkeyPatch, sessions: int, pages: int
) -> None:
    monkeypatch.setattr(postgres_side, "_SLAB_PAGES", pages)
    seen: list[int] = []
    end = side(sessions=sessions)
    try:
        sums = end.chunk_sums([ID, V], _by_key(7), lambda label, done, expected: seen.append(done))
    finally:
        end.close()
    assert (sums.total.count, sums.total.total) == (20000, _expected())
    assert len(sums.chunks) == 7
    assert seen[-1] == 20000
    assert len(seen) > 20 if pages == 3 else len(seen) == 1


def test_everything_is_seen_at_one_moment(
    side: Callable[..., PostgresSide],
    monkeypatch: pytest.MonkeyPatch,
    postgres_server: PostgresServer,
    postgres_db: str,
) -> None:
    """Rows move to other pages all the while: page ranges in different snapshots would lose some."""
    monkeypatch.setattr(postgres_side, "_SLAB_PAGES", 1)
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(postgres_server.dsn(postgres_db), autocommit=True) as session:
            n = 0
            while not stop.is_set():
                n = n % 199 + 1
                session.execute("UPDATE t SET v = v || 'x' WHERE id %% 199 = %s", [n])

    end = side(sessions=3)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        sums = end.chunk_sums([ID, V], _by_key(5), _quiet)
    finally:
        stop.set()
        writer.join()
        end.close()
    assert (sums.total.count, sums.total.total) == (20000, _expected())


@pytest.mark.parametrize(
    "change",
    [
        ("CREATE TABLE fresh AS SELECT * FROM t", "DROP TABLE t", "ALTER TABLE fresh RENAME TO t"),
        ("CREATE TABLE fresh AS SELECT * FROM t", "TRUNCATE t", "INSERT INTO t SELECT * FROM fresh"),
    ],
    ids=["swapped", "truncated"],
)
def test_a_table_that_is_replaced_while_we_open_it(
    side: Callable[..., PostgresSide],
    monkeypatch: pytest.MonkeyPatch,
    postgres_server: PostgresServer,
    postgres_db: str,
    change: tuple[str, ...],
) -> None:
    settle = Sessions._settle
    changes = [change]

    def settle_and_change(self: Sessions, session: Any) -> None:
        settle(self, session)  # the snapshot is taken
        if changes:
            postgres_server.execute(*changes.pop(), dbname=postgres_db)

    monkeypatch.setattr(Sessions, "_settle", settle_and_change)
    end = side()
    try:
        assert end.chunk_sums([ID, V], Chunking(key=(ID,)), _quiet).total.total == _expected()
    finally:
        end.close()


def test_a_locked_table_is_not_waited_for_for_ever(
    side: Callable[..., PostgresSide], postgres_server: PostgresServer, postgres_db: str
) -> None:
    with psycopg.connect(postgres_server.dsn(postgres_db)) as session:
        session.execute("LOCK TABLE t")
        with pytest.raises(SynclineError) as raised:
            side(lock_timeout=0.1)
    assert raised.value.kind is ErrorKind.CONFLICT


def test_a_transaction_that_would_be_too_old_is_several(
    side: Callable[..., PostgresSide], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_side, "_GROUP_ROWS", 5000)
    end = side(max_age=30.0)

    def refuse(finished: int, of: int) -> None:
        raise TooOldError

    monkeypatch.setattr(end._sessions, "refuse_if_hopeless", refuse)
    try:
        sums = end.chunk_sums([ID, V], _by_key(8), _quiet)
        assert (sums.total.count, sums.total.total) == (20000, _expected())
        assert end.moment()["moments"] == 4
        assert "read at 4 moments" in end.notes[0]
        whole = list(end.key_hashes([ID, V], _by_key(8), [0, 7]))
        assert sum(batch.num_rows for batch in whole) == sums.get(0).count + sums.get(7).count
        assert end.moment()["moments"] == 5
    finally:
        end.close()


def test_without_a_key_it_says_what_to_do(side: Callable[..., PostgresSide], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_side, "_SLAB_PAGES", 2)
    end = side(max_age=0.001)
    try:
        with pytest.raises(SynclineError, match="cannot be read within") as raised:
            end.chunk_sums([ID, V], Chunking(number=10), _quiet)
        assert raised.value.kind is ErrorKind.RESOURCE
        assert "max_transaction_age" in raised.value.hint
    finally:
        end.close()


def test_hashes_of_chunks_add_up(side: Callable[..., PostgresSide]) -> None:
    end = side()
    try:
        for chunking in (_by_key(6), Chunking(key=(ID,), number=6), Chunking(number=6)):
            sums = end.chunk_sums([ID, V], chunking, _quiet)
            assert len(sums.chunks) == 6
            batches = list(end.key_hashes([ID, V], chunking, [2, 3, 5]))
            found: dict[int, list[int]] = {}
            for batch in batches:
                for row in batch.to_pylist():
                    found.setdefault(row["chunk"], []).append(int(row["hash"], 16))
                    assert row["key"] == (row["hash"] if not chunking.key else row["key"])
            assert {chunk: (len(h), sum_hashes(h)) for chunk, h in found.items()} == {
                chunk: (sums.get(chunk).count, sums.get(chunk).total) for chunk in (2, 3, 5)
            }
    finally:
        end.close()


def test_conditions_and_latest(
    side: Callable[..., PostgresSide], postgres_server: PostgresServer, postgres_db: str
) -> None:
    end = side(table={"where": "id <= 100"})
    try:
        assert end.chunk_sums([ID, V], Chunking(key=(ID,)), _quiet).total.total == _expected(range(1, 101))
    finally:
        end.close()
    postgres_server.execute(
        "CREATE TABLE versions AS SELECT id, v, 1 AS n FROM t UNION ALL SELECT id, 'old', 0 FROM t WHERE id <= 50",
        dbname=postgres_db,
    )
    latest = Latest(key=("id",), order=("n",), ties=True)
    table = PostgresTable(schema="public", name="versions", latest=latest)
    end = PostgresSide(lambda: psycopg.connect(postgres_server.dsn(postgres_db)), table, label="destination")
    try:
        sums: Sums = end.chunk_sums([ID, V], _by_key(3), _quiet)
        assert (sums.total.count, sums.total.total) == (20000, _expected())
    finally:
        end.close()


def test_keys_with_quotes_and_line_ends(postgres_server: PostgresServer, postgres_db: str) -> None:
    odd = ["", " ", "a\nb", "a\r\nb", 'q"q', "''", "\\N", "\\", "NULL", "t", "é𝄞", ",", "|"]
    with psycopg.connect(postgres_server.dsn(postgres_db), autocommit=True) as session:
        session.execute("CREATE TABLE t (v text PRIMARY KEY)")
        session.cursor().executemany("INSERT INTO t VALUES (%s)", [(text,) for text in odd])
    end = PostgresSide(
        lambda: psycopg.connect(postgres_server.dsn(postgres_db)),
        PostgresTable(schema="public", name="t"),
        label="source",
    )
    try:
        chunking = Chunking(key=(V,))
        (batch,) = end.key_hashes([V], chunking, [0])
        keys = [f"{len(text.encode())}:{text}" for text in odd]
        assert sorted(batch.column("key").to_pylist()) == sorted(keys)
        assert sorted(row.cells[0] for row in end.cells([V], chunking, [0], keys)) == sorted(keys)
    finally:
        end.close()
