"""Undecoded bytes of a Postgres source: into all three kinds of writes, and when they are not taken."""

from __future__ import annotations

import pyarrow as pa
import pytest
from tests.integration.postgres_destination.harness import Run, destination, target

from syncline.core.errors import SynclineError
from syncline.core.schema import Field
from syncline.core.stream import WriteMode
from syncline.sdk.source import RawFormat

FIELDS = (
    Field(name="id", type=pa.int64(), native="bigint", nullable=False),
    Field(name="n", type=pa.decimal128(15, 2), native="numeric(15,2)"),
    Field(name="t", type=pa.string(), native="text"),
    Field(name="at", type=pa.timestamp("us", tz="UTC"), native="timestamp with time zone"),
    Field(name="tags", type=pa.list_(pa.string()), native="text[]"),
    Field(name="mood", type=pa.string(), native="mood", logical="enum"),
)
RAW = RawFormat(name="postgres-copy-binary", columns=tuple((f.name, f.native or "") for f in FIELDS))
VALUES = [
    "1::int8, 'NaN'::numeric, ''::text, 'infinity'::timestamptz, '{a,NULL}'::text[], 'good'::mood",
    "2::int8, 1.5, NULL, NULL, NULL, NULL",
    "3::int8, -1.00, 'ü'::text, '2026-01-01+00'::timestamptz, '[2:3]={x,y}'::text[], 'good'::mood",
]


@pytest.fixture
def moody(db):
    db.execute("CREATE TYPE mood AS ENUM ('good')")
    return db


def copied(db, query, size=7):
    """The bytes of COPY TO, cut into pieces without regard to rows."""
    data = bytearray()
    with db.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
        for chunk in copy:
            data += chunk
    return [memoryview(bytes(data[i : i + size])) for i in range(0, len(data), size)]


class RelayRun(Run):
    def lay(self, part):
        assert self.destination.accepts_raw(self.target, RAW)
        writer = self.destination.raw_writer(self.target, part, self.token, RAW)
        try:
            for chunk in self.parts[part]:
                writer.write_raw(chunk)
            return writer.seal()
        except BaseException:
            writer.abort()
            raise


@pytest.mark.parametrize(
    "mode",
    [
        {"write": WriteMode.REPLACE},
        {"write": WriteMode.REPLACE, "dedupe": True, "primary_key": ("id",)},
        {"write": WriteMode.APPEND},
        {"write": WriteMode.MERGE, "primary_key": ("id",)},
    ],
)
def test_bytes_arrive_as_rows_with_metadata(dsn, moody, mode):
    parts = {
        "a": copied(moody, f"SELECT {VALUES[0]} UNION ALL SELECT {VALUES[1]}"),
        "b": copied(moody, f"SELECT {VALUES[2]}"),
    }
    with destination(dsn) as made:
        laid = RelayRun(made, target(fields=FIELDS, dialect="postgres", **mode), parts).all()
    assert [(s.rows, s.quarantined) for s in laid] == [(2, 0), (1, 0)]
    found = moody.execute(
        "SELECT id, n::text, t, at::text, tags::text, mood::text, _syncline_sync_id, _syncline_generation, "
        "_syncline_extracted_at::text FROM orders ORDER BY id"
    ).fetchall()
    meta = ("s1", 1, "2026-11-21 08:00:00+00")
    assert found == [
        (1, "NaN", "", "infinity", "{a,NULL}", "good", *meta),
        (2, "1.50", None, None, None, None, *meta),
        (3, "-1.00", "ü", "2026-01-01 00:00:00+00", "[2:3]={x,y}", "good", *meta),
    ]


def test_stream_that_ends_early_leaves_nothing(dsn, moody):
    chunks = copied(moody, f"SELECT {VALUES[1]}")[:-1]
    with destination(dsn) as made:
        run = RelayRun(made, target(fields=FIELDS, dialect="postgres"), {"a": chunks}).start()
        with pytest.raises(SynclineError):  # ours or the server's, whoever notices first
            run.lay("a")
        run.parts = {"a": copied(moody, f"SELECT {VALUES[1]}")}
        run.commit(run.lay("a"))
        run.finish()
    assert moody.execute("SELECT id FROM orders").fetchall() == [(2,)]


def test_not_taken_when_something_differs(dsn, moody):
    with destination(dsn) as made:
        aim = target(fields=FIELDS, dialect="postgres")
        assert made.accepts_raw(aim, RAW)  # also before anything is prepared
        assert not made.accepts_raw(aim, RawFormat(name="other", columns=RAW.columns))
        assert not made.accepts_raw(aim, RawFormat(name=RAW.name, columns=RAW.columns[1:]))
        foreign = [("id", "integer"), *RAW.columns[1:]]
        assert not made.accepts_raw(aim, RawFormat(name=RAW.name, columns=tuple(foreign)))
        keyed = target(fields=FIELDS, dialect="postgres", write=WriteMode.MERGE, primary_key=("t",))
        assert not made.accepts_raw(keyed, RAW)  # NULL keys could not be found
        unknown = (Field(name="h", type=pa.string(), native="hstore"),)
        aim = target(fields=unknown, dialect="postgres", stream="h")
        assert not made.accepts_raw(aim, RawFormat(name=RAW.name, columns=(("h", "hstore"),)))
        moody.execute("CREATE TABLE wide (id numeric, n numeric(15,2), t text, at timestamptz, tags text[], mood mood)")
        aim = target(fields=FIELDS, dialect="postgres", stream="wide", write=WriteMode.APPEND)
        assert not made.accepts_raw(aim, RAW)
