"""Changes of a log in Postgres, as far as it differs from other destinations: the server's own types and refusals,
tables of other people, large values, poolers, flushes in somebody's way."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from tests.integration.postgres_destination.harness import destination

from syncline.connectors.postgres.writing.changes import PostgresChangeSession
from syncline.connectors.postgres.writing.volley import Shot, Volleys
from syncline.core.batch import Misfit
from syncline.core.change import ChangeBatch, Op
from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.change_log import Applied, StreamCommit

STREAM = StreamName(namespace="shop", name="orders")
UTC = dt.UTC
FIELDS = (
    Field(name="id", type=pa.int64(), nullable=False, native="bigint"),
    Field(name="until", type=pa.timestamp("us", tz="UTC"), nullable=False, native="timestamp with time zone"),
    Field(name="amount", type=pa.decimal128(12, 2), native="numeric(12,2)"),
    Field(name="mood", type=pa.string(), native="public.mood", logical="enum"),
    Field(name="big", type=pa.string(), native="text"),
)
Change = tuple[Op, tuple[Any, ...]] | tuple[Op, tuple[Any, ...], Sequence[str]]
WHEN = dt.datetime(2026, 1, 1, tzinfo=UTC)


class Follower:
    """A session on a stream whose table is there."""

    def __init__(self, made: Any, **more: Any) -> None:
        self.destination = made
        self.token = made.fence("c", STREAM).token
        entry = made.committed("c", STREAM)
        self.checkpoint: StreamCheckpoint = entry.checkpoint
        self.target = StreamTarget(
            connection="c",
            stream=STREAM,
            schema=StreamSchema(fields=FIELDS),
            write=WriteMode.MERGE,
            generation=1,
            sync_id="s1",
            sync_date=dt.date(2026, 11, 21),
            primary_key=("id", "until"),
            dialect="postgres",
            **more,
        )
        self.lsn = 100
        self.session: PostgresChangeSession = made.change_session("c")

    def prepare(self) -> Follower:
        self.destination.prepare(self.target, self.checkpoint, self.token)
        return self

    def apply(self, *changes: Change, misfits: Sequence[tuple[int, str, str]] = ()) -> Applied:
        schema = StreamSchema(fields=FIELDS)
        columns = [pa.array([c[1][i] for c in changes], f.type) for i, f in enumerate(FIELDS)]
        unsaid = [set(c[2]) if len(c) > 2 else set() for c in changes]
        masks = {f.name: pa.array([f.name in u for u in unsaid], pa.bool_()) for f in FIELDS}
        count = len(changes)
        self.lsn += count
        return self.session.apply(
            self.target,
            ChangeBatch(
                schema=schema,
                data=pa.RecordBatch.from_arrays(columns, schema=schema.arrow()),
                op=pa.array([int(c[0]) for c in changes], pa.uint8()),
                lsn=pa.array(range(self.lsn - count, self.lsn), pa.uint64()),
                ordinal=pa.array([1] * count, pa.uint32()),
                committed_at=pa.array([WHEN] * count, pa.timestamp("us", tz="UTC")),
                unchanged={n: m for n, m in masks.items() if m.true_count},
                misfits=tuple(Misfit(row=r, column=c, text=t, reason="special") for r, c, t in misfits),
            ),
        )

    def commit(self) -> None:
        following = self.checkpoint.next(position={"lsn": self.lsn})
        self.session.commit([StreamCommit(target=self.target, checkpoint=following, token=self.token)])
        self.checkpoint = following

    def flush(self, *changes: Change, misfits: Sequence[tuple[int, str, str]] = ()) -> Applied:
        done = self.apply(*changes, misfits=misfits)
        self.commit()
        return done


@contextmanager
def following(dsn: Any, db: Any, **more: Any) -> Iterator[Follower]:
    db.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    db.commit()
    with destination(dsn) as made:
        follower = Follower(made, **more).prepare()
        with closing(follower.session):
            yield follower


def row(number: int, amount: Any = 1, mood: str | None = "sad", big: str | None = "b") -> tuple[Any, ...]:
    return (number, WHEN, amount, mood, big)


def rows(db: Any) -> list[tuple[Any, ...]]:
    db.rollback()
    found = db.execute(
        "SELECT id, until::text, amount::text, mood::text, big FROM orders ORDER BY id, until"
    ).fetchall()
    db.rollback()
    return list(found)


def test_values_that_only_their_text_says(dsn, db):
    with following(dsn, db) as follower:
        forever = (1, None, None, "glad", "x")
        done = follower.flush(
            (Op.INSERT, forever),
            (Op.INSERT, (1, WHEN, 2, "sad", "y")),
            (Op.INSERT, (2, None, 3, "sad", "z")),
            misfits=[(0, "until", "infinity"), (0, "amount", "NaN"), (2, "until", "-infinity")],
        )
        assert (done.rows, done.quarantined) == (3, 0)
        assert [r[:3] for r in rows(db)] == [
            (1, "2026-01-01 00:00:00+00", "2.00"),
            (1, "infinity", "NaN"),
            (2, "-infinity", "3.00"),
        ]
        follower.flush(
            (Op.UPDATE, (1, None, 5, "sad", "x2")),
            (Op.DELETE, (2, None, None, None, None)),
            misfits=[(0, "until", "infinity"), (1, "until", "-infinity")],
        )
        assert [r[1:] for r in rows(db)] == [
            ("2026-01-01 00:00:00+00", "2.00", "sad", "y"),
            ("infinity", "5.00", "sad", "x2"),
        ]


@pytest.mark.parametrize("many", [0, 400], ids=["few", "many"])
def test_what_the_server_refuses_goes_beside(dsn, db, many):
    with following(dsn, db) as follower:
        follower.flush((Op.INSERT, row(1)), (Op.INSERT, row(2)))
        others: list[Change] = [(Op.INSERT, row(i)) for i in range(1000, 1000 + many)]
        done = follower.flush(
            *others[: many // 2],
            (Op.UPDATE, row(1, mood="furious")),
            (Op.UPDATE, row(2, mood="glad")),
            (Op.INSERT, row(3, big="nul \0")),
            (Op.INSERT, row(4)),
            *others[many // 2 :],
        )
        assert (done.rows, done.quarantined) == (4 + many, 2)
        assert [(r[0], r[3]) for r in rows(db)][:3] == [(1, "sad"), (2, "glad"), (4, "sad")]
        aside = db.execute(
            "SELECT column_name, record->>'id', partition_id FROM _syncline_quarantine ORDER BY 2"
        ).fetchall()
        assert aside == [("mood", "1", "log"), ("big", "3", "log")]


def test_a_large_value_that_was_left_out_is_not_written_again(dsn, db):
    """Whether by single statements or by a stage: the out-of-line value stays where it is."""
    import random

    chance = random.Random(1)
    big = "".join(chance.choice("0123456789abcdef") for _ in range(100_000))

    def toast() -> int:
        db.rollback()
        name = db.execute(
            "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'orders'::regclass"
        ).fetchone()
        return int(db.execute(f"SELECT count(*) FROM {name[0]}").fetchone()[0])

    with following(dsn, db) as follower:
        follower.flush(*((Op.INSERT, row(i, big=big)) for i in range(20)))
        before, size = toast(), "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'orders'::regclass"
        bytes_before = db.execute(size).fetchone()
        follower.flush((Op.UPDATE, row(1, 7, big=None), ("big",)))
        follower.flush(
            *((Op.UPDATE, row(i, 8, big=None), ("big",)) for i in range(20)),
            *((Op.INSERT, row(i)) for i in range(100, 500)),
        )
        assert toast() == before
        assert db.execute(size).fetchone() == bytes_before
        assert {(r[2], len(r[4])) for r in rows(db)[:20]} == {("8.00", 100_000)}


def test_a_table_of_somebody_else_keeps_its_rules(dsn, db):
    db.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    db.execute(
        "CREATE TABLE orders (id bigint, until timestamptz, amount numeric(12,2) NOT NULL CHECK (amount > 0), "
        " mood mood, big text, extra int DEFAULT 7, PRIMARY KEY (id, until))"
    )
    db.commit()
    with destination(dsn) as made:
        follower = Follower(made, constants={"_syncline_sync_id": "s1"})
        # Our metadata column, which the table lacks, is not asked for.
        metadata = Field(name="_syncline_sync_id", type=pa.string())
        follower.target = replace(follower.target, schema=StreamSchema(fields=(*FIELDS, metadata)))
        follower.prepare()
        done = follower.flush(
            (Op.INSERT, row(1, 5)), (Op.INSERT, row(2, -5)), *((Op.INSERT, row(i, 1)) for i in range(10, 400))
        )
        assert done.quarantined == 1
        done = follower.flush((Op.UPDATE, row(1, -1)), (Op.UPDATE, row(10, 3, big=None), ("big",)))
        assert done.quarantined == 1
        assert rows(db)[:2] == [
            (1, "2026-01-01 00:00:00+00", "5.00", "sad", "b"),
            (10, "2026-01-01 00:00:00+00", "3.00", "sad", "b"),
        ]
        assert db.execute("SELECT DISTINCT extra FROM orders").fetchall() == [(7,)]
        follower.session.close()


def test_a_key_without_an_index_gets_one_and_loses_its_duplicates(dsn, db):
    db.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    db.commit()
    with destination(dsn) as made:
        follower = Follower(made)
        aim = follower.target
        follower.target = replace(aim, write=WriteMode.APPEND, primary_key=())
        follower.prepare().flush((Op.INSERT, row(1, 1)), (Op.INSERT, row(1, 2)), (Op.INSERT, row(2, 3)))
        assert len(rows(db)) == 3
        follower.target = aim
        follower.flush((Op.UPDATE, row(2, 4)))
        assert [r[2] for r in rows(db)] == ["2.00", "4.00"]
        follower.session.close()


def test_a_later_fence_ends_a_flush_that_is_in_its_way(dsn, db):
    with following(dsn, db) as follower:
        follower.flush((Op.INSERT, row(1)))
        follower.apply((Op.UPDATE, row(1, 2)))  # holds the row, and is never committed
        with destination(dsn) as made:
            newer = Follower(made)
            newer.flush((Op.UPDATE, row(1, 3)))
            newer.session.close()
        with pytest.raises(SynclineError) as caught:
            follower.commit()
        assert caught.value.kind in (ErrorKind.CONFLICT, ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE)
        assert [r[2] for r in rows(db)] == ["3.00"]


def test_a_fenced_session_does_no_work(dsn, db):
    with following(dsn, db) as follower:
        follower.flush((Op.INSERT, row(1)))
        with destination(dsn) as made:
            made.fence("c", STREAM)
        with pytest.raises(SynclineError) as caught:
            follower.apply((Op.UPDATE, row(1, 2)))
        assert caught.value.kind is ErrorKind.CONFLICT


def test_a_session_shared_by_a_pooler_leaves_nothing_behind(dsn, db, monkeypatch):
    """No prepared statements, no temporary tables: what a pooler in transaction mode would give to others."""
    monkeypatch.setattr("syncline.connectors.postgres.writing.changes._manners", lambda session: (False, True))
    with following(dsn, db) as follower:
        follower.flush((Op.INSERT, row(1)))
        follower.flush(*((Op.INSERT, row(i)) for i in range(2, 600)), (Op.UPDATE, row(1, 9, big=None), ("big",)))
        session = follower.session._session
        assert session.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        found = session.execute("SELECT relname FROM pg_class WHERE relname ~ '^_syncline_[a-z][0-9]*_'").fetchall()
        assert found == []
        assert len(rows(db)) == 599
        assert rows(db)[0][2] == "9.00"


def test_a_session_of_our_own_prepares_once_and_keeps_its_stages(dsn, db):
    with following(dsn, db) as follower:
        for amount in range(1, 4):
            follower.flush((Op.UPDATE, row(1, amount)))
        session = follower.session._session
        prepared = session.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        follower.flush((Op.UPDATE, row(1, 4)))
        assert session.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == prepared
        stage = "SELECT oid, pg_relation_size(oid) FROM pg_class WHERE relname LIKE '\\_syncline\\_u\\_%'"
        follower.flush(*((Op.INSERT, row(i)) for i in range(300)))
        first = session.execute(stage).fetchall()
        follower.flush(*((Op.UPDATE, row(i, 2)) for i in range(300)))
        assert session.execute(stage).fetchall() == first
        assert first[0][1] == 0


def test_the_ledger_keeps_its_schema_without_being_told_again(dsn, db):
    with following(dsn, db) as follower:
        follower.checkpoint = replace(follower.checkpoint, schema=follower.target.schema)
        follower.flush((Op.INSERT, row(1)))
        seen = db.execute("SELECT xmin::text, sequence, checkpoint FROM _syncline_ledger").fetchone()
        follower.flush((Op.INSERT, row(2)))
        db.rollback()
        later = db.execute("SELECT xmin::text, sequence, checkpoint FROM _syncline_ledger").fetchone()
        assert later[0] != seen[0]
        assert later[1] == seen[1] + 1
        assert later[2] == seen[2], "the whole checkpoint was written again"
        entry = follower.destination.committed("c", STREAM)
        assert entry.checkpoint == follower.checkpoint


def test_the_tables_change_behind_our_back(dsn, db):
    """A table that was dropped, and one that was replaced by another under the same name."""
    with following(dsn, db) as follower:
        follower.flush((Op.INSERT, row(1)))
        db.rollback()
        db.execute("CREATE TABLE other (LIKE orders INCLUDING ALL)")
        db.execute("DROP TABLE orders")
        db.execute("ALTER TABLE other RENAME TO orders")
        db.commit()
        follower.flush((Op.INSERT, row(2)))
        assert [r[0] for r in rows(db)] == [2]
        db.execute("DROP TABLE orders")
        db.commit()
        with pytest.raises(SynclineError):
            follower.flush((Op.INSERT, row(3)))
        follower.session.rollback()
        with pytest.raises(SynclineError) as caught:
            follower.flush((Op.INSERT, row(3)))
        assert "gone" in caught.value.message


def test_readers_see_no_half_of_a_truncation(dsn, db):
    """A reader whose snapshot is older goes on seeing what there was."""
    with following(dsn, db) as follower:
        follower.flush((Op.INSERT, row(1)), (Op.INSERT, row(2)))
        with psycopg.connect(**{k: dsn[k] for k in ("host", "port", "dbname", "user", "password")}) as reader:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            reader.execute("SELECT 1 FROM pg_class LIMIT 1")
            nothing = (None,) * 5
            follower.flush((Op.TRUNCATE, nothing), (Op.INSERT, row(3)))
            assert reader.execute("SELECT count(*) FROM orders").fetchone() == (2,)
        assert [r[0] for r in rows(db)] == [3]


def test_a_volley_that_fails_and_one_after_it(dsn, db):
    with psycopg.connect(**{k: dsn[k] for k in ("host", "port", "dbname", "user", "password")}, autocommit=True) as con:
        volleys = Volleys(con, lasting=True)
        with pytest.raises(psycopg.errors.DivisionByZero):
            volleys.fire([Shot(b"BEGIN"), Shot(b"SELECT 1 / 0"), Shot(b"SELECT 2"), Shot(b"COMMIT")])
        con.rollback()
        answers = volleys.fire([Shot(b"SELECT 2"), Shot(b"SELECT $1::text", [b"x"]), Shot(b"SELECT 2")])
        assert [a.first for a in answers] == [b"2", b"x", b"2"]


def test_a_volley_on_a_session_that_was_ended(dsn, db):
    with psycopg.connect(**{k: dsn[k] for k in ("host", "port", "dbname", "user", "password")}, autocommit=True) as con:
        volleys = Volleys(con, lasting=True)
        volleys.fire([Shot(b"SELECT 1")])
        killer = threading.Timer(0.3, lambda: db.execute("SELECT pg_terminate_backend(%s)", (con.info.backend_pid,)))
        killer.start()
        with pytest.raises(psycopg.Error):
            volleys.fire([Shot(b"SELECT pg_sleep(20)")])
        killer.join()
