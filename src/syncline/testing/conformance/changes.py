"""What every destination must do that applies changes itself: the contract of
:class:`~syncline.sdk.change_log.ChangeSession` as tests."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from syncline.core.batch import Batch, Misfit
from syncline.core.change import ChangeBatch, Evolution, Op
from syncline.core.checkpoint import Phase, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.change_log import Applied, AppliesChanges, ChangeSession, StreamCommit
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination
from syncline.sdk.metadata import ChangeColumns, MetadataColumns, metadata_fields
from syncline.sdk.reference import open_destination
from syncline.testing.conformance.destination import DestinationDriver

__all__ = ["ChangeConformance", "ChangeFlow"]

STREAM = StreamName(namespace="shop", name="items")
LOG = StreamName(namespace="_syncline", name="log")
FIELDS = (
    Field(name="id", type=pa.int64(), nullable=False),
    Field(name="kind", type=pa.string(), nullable=False),
    Field(name="name", type=pa.string()),
    Field(name="price", type=pa.decimal128(12, 2)),
    Field(name="big", type=pa.string()),
    Field(name="huge", type=pa.string()),
)
KEY = ("id", "kind")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
Row = dict[str, Any]
Key = tuple[Any, ...]
COLUMNS = {
    "merge": ChangeColumns.MERGE,
    "soft": ChangeColumns.MERGE_SOFT,
    "append": ChangeColumns.APPEND,
}


class Change:
    """One change by hand. ``unsaid`` are columns that an update leaves out, ``former`` the key before it."""

    def __init__(
        self, op: Op, row: Row | None = None, *, unsaid: Sequence[str] = (), former: Key | None = None
    ) -> None:
        self.op, self.row, self.unsaid, self.former = op, row or {}, frozenset(unsaid), former


def made_row(number: int, kind: str = "a", name: str = "n") -> Row:
    """A row with some awkward values."""
    names: tuple[str | None, ...] = (None, "", name, 'quo"ted, line\nbreak', "ünï\\N")
    return {
        "id": number,
        "kind": kind,
        "name": names[number % 5],
        "price": None if number % 7 == 0 else number,
        "big": f"B{number}{name}",
        "huge": f"H{number}" * 500,
    }


class ChangeFlow:
    """One attempt that copied the stream and now follows its log, by hand."""

    def __init__(self, driver: DestinationDriver, folder: Path, mode: str = "merge") -> None:
        context = ConnectorContext(connection="conformance", work_dir=folder, concurrency=1)
        self.destination: Destination = open_destination(driver.reference(), context)
        assert isinstance(self.destination, AppliesChanges)
        self.tokens = {s: self.destination.fence("conformance", s).token for s in (STREAM, LOG)}
        self.checkpoints: dict[StreamName, StreamCheckpoint] = {}
        for stream in (STREAM, LOG):
            entry = self.destination.committed("conformance", stream)
            assert entry is not None
            self.checkpoints[stream] = entry.checkpoint
        self.mode, self.lsn = mode, 100
        self.fields: tuple[Field, ...] = FIELDS
        self.session: ChangeSession = self.destination.change_session("conformance")

    def close(self) -> None:
        self.session.close()
        self.destination.close()

    @property
    def target(self) -> StreamTarget:
        return self._target(WriteMode.APPEND if self.mode == "append" else WriteMode.MERGE)

    def _target(self, write: WriteMode) -> StreamTarget:
        metadata = metadata_fields(MetadataColumns.SYNCLINE, COLUMNS[self.mode])
        return StreamTarget(
            connection="conformance",
            stream=STREAM,
            schema=StreamSchema(fields=(*self.fields, *metadata)),
            write=write,
            generation=1,
            sync_id="sync1",
            sync_date=date(2026, 1, 2),
            primary_key=KEY if self.mode != "append" else (),
            dedupe=self.mode != "append",
            deletes="soft" if self.mode == "soft" else "hard",
        )

    def copy(self, rows: Sequence[Row]) -> None:
        """The stream's copy, published."""
        target = self._target(WriteMode.REPLACE)
        plan = ReadPlan(id="plan", partitions=(Partition(id="p", bounds={}),), end={"lsn": self.lsn})
        now = self.checkpoints[STREAM]
        now = now.next(phase=Phase.READING, plan=plan, write=WriteMode.REPLACE, generation=1, schema=target.schema)
        token = self.tokens[STREAM]
        self.destination.commit(target, [], now, token)
        self.destination.prepare(target, now, token)
        writer = self.destination.writer(target, "p", token)
        writer.write(Batch(data=pa.RecordBatch.from_pylist(list(rows), target.schema.arrow())))
        staged = writer.seal()
        now = now.next(phase=Phase.IDLE, plan=None, write=None, position={"lsn": self.lsn})
        self.destination.commit(target, [staged], now, token, publish=True)
        self.checkpoints[STREAM] = now

    def batch(self, changes: Sequence[Change], **more: Any) -> ChangeBatch:
        """The changes as the log gives them, each transaction one change."""
        arrow = StreamSchema(fields=self.fields).arrow()
        rows = [
            {n: None if n in c.unsaid or (c.op is Op.DELETE and n not in KEY) else c.row.get(n) for n in arrow.names}
            for c in changes
        ]
        moved = [c.former is not None for c in changes]
        masks = {n: pa.array([n in c.unsaid for c in changes], pa.bool_()) for n in arrow.names}
        old = [dict(zip(KEY, c.former or (None, None), strict=True)) for c in changes]
        first, self.lsn = self.lsn + 1, self.lsn + len(changes)
        return ChangeBatch(
            schema=StreamSchema(fields=self.fields),
            data=pa.RecordBatch.from_pylist(rows, arrow),
            op=pa.array([int(c.op) for c in changes], pa.uint8()),
            lsn=pa.array(range(first, self.lsn + 1), pa.uint64()),
            ordinal=pa.array([1] * len(changes), pa.uint32()),
            committed_at=pa.array(
                [EPOCH + timedelta(seconds=i) for i in range(first, self.lsn + 1)], pa.timestamp("us", tz="UTC")
            ),
            unchanged={n: m for n, m in masks.items() if m.true_count},
            old_key=pa.RecordBatch.from_pylist(old, pa.schema([arrow.field(k) for k in KEY])) if any(moved) else None,
            moved=pa.array(moved, pa.bool_()) if any(moved) else None,
            **more,
        )

    def apply(self, *changes: Change, **more: Any) -> Applied:
        done = self.session.apply(self.target, self.batch(changes, **more))
        assert done.rows == len(changes)
        return done

    def commits(self) -> list[StreamCommit]:
        """The stream first, the log's global entry last."""
        return [
            StreamCommit(
                target=replace(self.target, stream=stream),
                checkpoint=self.checkpoints[stream].next(position={"lsn": self.lsn}, schema=self.target.schema),
                token=self.tokens[stream],
            )
            for stream in (STREAM, LOG)
        ]

    def commit(self) -> None:
        commits = self.commits()
        self.session.commit(commits)
        for each in commits:
            self.checkpoints[each.target.stream] = each.checkpoint

    def flush(self, *changes: Change, **more: Any) -> Applied:
        done = self.apply(*changes, **more)
        self.commit()
        return done


def insert(row: Row) -> Change:
    return Change(Op.INSERT, row)


def update(row: Row, *unsaid: str, former: Key | None = None) -> Change:
    return Change(Op.UPDATE, row, unsaid=unsaid, former=former)


def delete(row: Row) -> Change:
    return Change(Op.DELETE, row)


def _key(row: Row) -> Key:
    return tuple(row[k] for k in KEY)


class Model:
    """The source's table, and changes to it such as a log has them."""

    def __init__(self, seed: int, rows: Sequence[Row]) -> None:
        self.chance = random.Random(seed)
        self.rows = {_key(r): r for r in rows}
        self.count = 0

    def change(self) -> Change:
        chance = self.chance
        self.count += 1
        key = (chance.randrange(12), chance.choice("ab"))
        new = {**made_row(chance.randrange(1000), name=f"v{self.count}"), "id": key[0], "kind": key[1]}
        kind = chance.random()
        if kind < 0.01:
            self.rows.clear()
            return Change(Op.TRUNCATE)
        if key not in self.rows:
            self.rows[key] = new
            return insert(new)
        old = self.rows.pop(key)
        if kind < 0.25:
            return delete(old)
        unsaid = [n for n in ("big", "huge") if chance.random() < 0.5]
        new.update({n: old[n] for n in unsaid})
        if kind < 0.5:
            free = [(i, k) for i in range(12) for k in "ab" if (i, k) not in self.rows and (i, k) != key]
            to = chance.choice(free)
            new["id"], new["kind"] = to
            self.rows[to] = new
            return update(new, *unsaid, former=key)
        self.rows[key] = new
        return update(new, *unsaid)


def run_killed(driver: DestinationDriver, folder: Path, *arguments: str, **environment: str) -> int:
    """Run :mod:`~syncline.testing.conformance.killed_flush` in a process of its own; gives how it ended."""
    command = [sys.executable, "-m", "syncline.testing.conformance.killed_flush", str(folder / "killed"), *arguments]
    done = subprocess.run(
        command,
        input=json.dumps(driver.reference().to_json()),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode <= 0, done.stderr
    return done.returncode


class ChangeConformance:
    """Subclass it in ``tests/conformance/test_NAME.py`` and define the ``driver`` fixture. ``exclusive``: nobody can
    look at the destination while a flush is open, so that there is nothing to see."""

    exclusive = False

    @pytest.fixture(autouse=True)
    def _declared_gaps(self, driver: DestinationDriver, request: pytest.FixtureRequest) -> None:
        name = request.node.originalname or request.node.name
        if name in driver.gaps:
            failures = (SynclineError, AssertionError, pytest.fail.Exception)
            request.applymarker(pytest.mark.xfail(reason=driver.gaps[name], strict=True, raises=failures))

    @pytest.fixture
    def flow(self, driver: DestinationDriver, tmp_path: Path) -> Iterator[ChangeFlow]:
        with closing(ChangeFlow(driver, tmp_path / "work")) as opened:
            yield opened

    def seen(self, driver: DestinationDriver, flow: ChangeFlow, *more: str) -> list[Row]:
        """The destination's rows, deleted ones left out, in the order of their keys."""
        names = [f.name for f in flow.fields] + list(more)
        rows = driver.rows([*names, "_syncline_deleted_at"])
        assert rows is not None
        alive = [dict(zip(names, row, strict=False)) for row in rows if row[-1] is None]
        return sorted(alive, key=_key)

    def same(self, driver: DestinationDriver, flow: ChangeFlow, rows: Sequence[Row]) -> None:
        assert self.seen(driver, flow) == sorted(rows, key=_key)

    def test_each_change_alone(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        rows = [made_row(i) for i in range(6)]
        flow.copy(rows)
        self.same(driver, flow, rows)
        flow.flush(insert(made_row(10)))
        flow.flush(update({**rows[1], "name": "new"}))
        flow.flush(update({**rows[2], "name": "kept", "big": None}, "big", "huge"))
        flow.flush(delete(rows[3]))
        flow.flush(update({**rows[4], "id": 40, "price": 4}, "huge", former=(4, "a")))
        expected = [
            rows[0],
            {**rows[1], "name": "new"},
            {**rows[2], "name": "kept"},
            {**rows[4], "id": 40, "price": 4},
            rows[5],
            made_row(10),
        ]
        self.same(driver, flow, expected)
        flow.flush(Change(Op.TRUNCATE))
        self.same(driver, flow, [])

    @pytest.mark.parametrize("size", [2, 20, 400])
    @pytest.mark.parametrize("mode", ["merge", "soft"])
    def test_any_sequence(self, driver: DestinationDriver, tmp_path: Path, mode: str, size: int) -> None:
        """However the log is cut into batches and flushes, the destination is the source."""
        rows = [made_row(i, k) for i in range(8) for k in "ab"]
        model = Model(size, rows)
        with closing(ChangeFlow(driver, tmp_path / "work", mode)) as flow:
            flow.copy(rows)
            for _ in range(max(3, 30 // size)):
                for _ in range(model.chance.randint(1, 2)):
                    done = flow.apply(*(model.change() for _ in range(model.chance.randint(1, size))))
                    assert done.missing is None
                    assert done.quarantined == 0
                flow.commit()
                self.same(driver, flow, list(model.rows.values()))

    def test_many_rows_at_once(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        """And in slices of one transaction: inserts, updates that leave values out, moves, deletes."""
        rows = [made_row(i) for i in range(5000)]
        flow.copy(rows[:2500])
        flow.apply(*(insert(r) for r in rows[2500:]))
        flow.apply(*(update({**r, "price": 1}, "big", "huge") for r in rows[:4000]))
        flow.apply(*(update({**r, "price": 1, "kind": "b"}, "huge", former=_key(r)) for r in rows[1000:3000]))
        flow.apply(*(delete(r) for r in rows[4500:]))
        if not self.exclusive:
            self.same(driver, flow, rows[:2500])
        flow.commit()
        expected = [{**r, "price": 1} for r in rows[:4000]] + rows[4000:4500]
        expected[1000:3000] = [{**r, "kind": "b"} for r in expected[1000:3000]]
        self.same(driver, flow, expected)

    def test_keys_swap_their_rows(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        rows = [made_row(1), made_row(2)]
        flow.copy(rows)
        flow.flush(
            update({**rows[0], "id": 9}, "big", "huge", former=(1, "a")),
            update({**rows[1], "id": 1}, "big", "huge", former=(2, "a")),
            update({**rows[0], "id": 2}, "big", "huge", former=(9, "a")),
        )
        self.same(driver, flow, [{**rows[0], "id": 2}, {**rows[1], "id": 1}])

    @pytest.mark.parametrize("many", [0, 600])
    def test_an_update_without_its_row_is_missing(self, driver: DestinationDriver, flow: ChangeFlow, many: int) -> None:
        rows = [made_row(i) for i in range(3)]
        flow.copy(rows)
        others = [insert(made_row(i)) for i in range(100, 100 + many)]
        unknown, moved = made_row(50), {**made_row(51), "kind": "z"}
        done = flow.apply(
            update(unknown, "huge"), update(moved, "big", former=(51, "a")), update({**rows[0], "price": 5}), *others
        )
        assert done.missing is not None
        assert sorted(_key(k) for k in done.missing.to_pylist()) == [(50, "a"), (51, "z")]
        flow.apply(insert(unknown), insert(moved))
        flow.commit()
        self.same(driver, flow, [{**rows[0], "price": 5}, *rows[1:], unknown, moved, *(o.row for o in others)])

    def test_what_is_not_committed_is_not_there(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        rows = [made_row(i) for i in range(3)]
        flow.copy(rows)
        flow.session.rollback()
        flow.apply(insert(made_row(7)), delete(rows[0]))
        if not self.exclusive:
            self.same(driver, flow, rows)
        flow.session.rollback()
        self.same(driver, flow, rows)
        flow.flush(delete(rows[1]))
        self.same(driver, flow, [rows[0], rows[2]])

    def test_the_ledger_moves_with_the_rows(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        flow.copy([])
        for i in range(4):
            flow.flush(insert(made_row(i)))
            self.entries(flow)
        flow.commit()  # without a flush
        self.entries(flow)

    def entries(self, flow: ChangeFlow) -> None:
        for stream in (STREAM, LOG):
            entry = flow.destination.committed("conformance", stream)
            assert entry is not None
            assert (entry.checkpoint, entry.token) == (flow.checkpoints[stream], flow.tokens[stream])

    @pytest.mark.parametrize("stream", [STREAM, LOG], ids=["stream", "log"])
    @pytest.mark.parametrize("warm", [False, True])
    def test_an_older_token_is_refused(
        self, driver: DestinationDriver, flow: ChangeFlow, stream: StreamName, warm: bool
    ) -> None:
        flow.copy([made_row(1)])
        if warm:
            flow.flush(update({**made_row(1), "price": 3}))
        before = self.seen(driver, flow)
        flow.destination.fence("conformance", stream)
        with pytest.raises(SynclineError) as caught:
            flow.flush(insert(made_row(2)))
        assert caught.value.kind is ErrorKind.CONFLICT
        flow.session.rollback()
        assert self.seen(driver, flow) == before
        for each in (STREAM, LOG):
            entry = flow.destination.committed("conformance", each)
            assert entry is not None
            assert entry.checkpoint == flow.checkpoints[each]

    def test_a_sequence_is_taken_once(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        flow.copy([])
        flow.flush(insert(made_row(1)))
        flow.apply(insert(made_row(2)))
        stale = [replace(c, checkpoint=flow.checkpoints[c.target.stream]) for c in flow.commits()]
        with pytest.raises(SynclineError) as caught:
            flow.session.commit(stale)
        assert caught.value.kind is ErrorKind.CONFLICT
        flow.session.rollback()
        self.same(driver, flow, [made_row(1)])
        flow.flush(insert(made_row(3)))
        self.same(driver, flow, [made_row(1), made_row(3)])

    def test_columns_come_and_change_their_names(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        flow.copy([made_row(1), made_row(2)])
        flow.flush(update({**made_row(1), "price": 9}))
        renamed = replace(FIELDS[2], name="title")
        flow.fields = (*FIELDS[:2], renamed, *FIELDS[3:], Field(name="extra", type=pa.int32()))
        flow.fields = (*flow.fields, Field(name="state", type=pa.string()))
        evolution = Evolution(renamed={"title": "name"}, backfill={"state": pa.scalar("it's old")})
        new = {**made_row(3), "title": "t", "extra": 5, "state": "new"}
        del new["name"]
        flow.apply(insert(new), evolution=evolution)
        flow.session.rollback()
        assert driver.rows(["title"]) == [(None,), (None,)]
        flow.flush(insert(new), evolution=evolution)
        olds = [{**made_row(1), "price": 9}, made_row(2)]
        expected = [
            {**{k: v for k, v in old.items() if k != "name"}, "title": old["name"], "extra": None, "state": "it's old"}
            for old in olds
        ]
        self.same(driver, flow, [*expected, new])
        assert driver.rows(["name"]) == [(None,)] * 3
        flow.flush(update({**new, "title": "again"}, "huge"), evolution=evolution)
        self.same(driver, flow, [*expected, {**new, "title": "again"}])

    def test_a_type_widens_and_an_unsafe_one_is_refused(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        flow.fields = (*FIELDS, Field(name="n", type=pa.int32()))
        flow.copy([{**made_row(1), "n": 1}])
        flow.fields = (*FIELDS, Field(name="n", type=pa.int64()))
        flow.flush(insert({**made_row(2), "n": 2**40}), evolution=Evolution())
        self.same(driver, flow, [{**made_row(1), "n": 1}, {**made_row(2), "n": 2**40}])
        flow.fields = (*FIELDS, Field(name="n", type=pa.bool_()))
        with pytest.raises(SynclineError) as caught:
            flow.flush(insert({**made_row(3), "n": True}), evolution=Evolution())
        assert caught.value.kind is ErrorKind.SCHEMA
        flow.session.rollback()
        flow.fields = (*FIELDS, Field(name="n", type=pa.int64()))
        flow.flush(delete(made_row(2)))
        self.same(driver, flow, [{**made_row(1), "n": 1}])

    def test_what_cannot_be_held_goes_beside(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        flow.copy([made_row(1)])
        misfits = (Misfit(row=1, column="price", text="NaN", reason="not a number"),)
        done = flow.apply(insert(made_row(2)), insert({**made_row(3), "price": None}), misfits=misfits)
        assert done.quarantined == 1
        if not self.exclusive:
            assert driver.quarantined() == 0, "quarantine is committed with the data, not before"
        flow.commit()
        assert driver.quarantined() == 1
        self.same(driver, flow, [made_row(1), made_row(2)])

    def test_deleted_rows_stay_marked(self, driver: DestinationDriver, tmp_path: Path) -> None:
        with closing(ChangeFlow(driver, tmp_path / "work", "soft")) as flow:
            rows = [made_row(i) for i in range(4)]
            flow.copy(rows)
            flow.flush(delete(rows[0]), update({**rows[1], "price": 8}), delete(rows[1]))
            marked = EPOCH + timedelta(seconds=101)
            names = ["id", "price", "huge", "_syncline_lsn", "_syncline_deleted_at"]
            seen = sorted(driver.rows(names) or ())
            assert seen[0] == (0, rows[0]["price"], rows[0]["huge"], 101, marked)
            assert seen[1] == (1, 8, rows[1]["huge"], 103, marked + timedelta(seconds=2))
            assert [row[-1] for row in seen[2:]] == [None, None]
            flow.flush(insert(rows[0]), Change(Op.TRUNCATE), insert(rows[3]), delete(made_row(77)))
            seen = sorted(driver.rows(names) or ())
            assert [row[-1] for row in seen] == [marked + timedelta(seconds=s) for s in (4, 2, 4)] + [None]
            self.same(driver, flow, [rows[3]])

    def test_appended_changes_are_rows(self, driver: DestinationDriver, tmp_path: Path) -> None:
        with closing(ChangeFlow(driver, tmp_path / "work", "append")) as flow:
            flow.copy([made_row(1)])
            flow.flush(insert(made_row(2)), update({**made_row(1), "price": 4}, "huge", "big"))
            flow.flush(delete(made_row(2)), Change(Op.TRUNCATE))
            flow.flush(*(insert(made_row(i)) for i in range(10, 810)))
            names = ["id", "price", "_syncline_op", "_syncline_lsn", "_syncline_ordinal", "_syncline_unchanged"]
            seen = sorted(driver.rows(names) or (), key=lambda row: row[3] or 0)
            assert [row[:3] for row in seen[1:5]] == [
                (2, 2, "insert"),
                (1, 4, "update"),
                (2, None, "delete"),
                (None, None, "truncate"),
            ]
            assert [row[3:5] for row in seen[1:5]] == [(101 + i, 1) for i in range(4)]
            assert "big" in str(seen[2][5])
            assert len(seen) == 805

    @pytest.mark.parametrize("point", ["apply.inside", "commit.inside"])
    def test_a_killed_flush_leaves_nothing(self, driver: DestinationDriver, tmp_path: Path, point: str) -> None:
        """Its process dies in the second flush: the first stands with its ledger, the second is as if never begun."""
        rows = [made_row(i) for i in range(5)]
        with closing(ChangeFlow(driver, tmp_path / "work")) as flow:
            flow.copy(rows)
            # The log's entry goes from 0 to 1 in the first flush.
        killed = run_killed(driver, tmp_path, SYNCLINE_FAILPOINT=f"{point}:2")
        assert killed == -signal.SIGKILL
        rows[1] = {**rows[1], "price": 5}
        with closing(ChangeFlow(driver, tmp_path / "again")) as flow:
            assert flow.checkpoints[STREAM].position == {"lsn": 101}
            assert flow.checkpoints[LOG].position == {"lsn": 101}
            self.same(driver, flow, rows)
            flow.flush(delete(rows[2]), update({**rows[3], "price": 8}, "big"))
            self.same(driver, flow, [rows[0], rows[1], {**rows[3], "price": 8}, rows[4]])

    def test_columns_come_in_the_middle_of_a_flush(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        """After changes to the same table, and with other streams' too."""
        rows = [{**made_row(i), "n": 1} for i in range(6)]
        flow.fields = (*FIELDS, Field(name="n", type=pa.int32()))
        flow.copy(rows)
        flow.apply(delete(rows[0]), update({**rows[1], "price": 2}, "huge"))
        flow.apply(insert({**made_row(20), "n": 1}), update({**rows[2], "id": 22}, "huge", former=_key(rows[2])))
        flow.fields = (*FIELDS, Field(name="n", type=pa.int64()), Field(name="state", type=pa.string()))
        new = {**made_row(30), "n": 2**40, "state": "new"}
        flow.apply(
            insert(new),
            update({**rows[3], "n": 3, "state": "x"}),
            delete(rows[4]),
            evolution=Evolution(backfill={"state": pa.scalar("old")}),
        )
        flow.apply(update({**new, "n": 2**41, "state": "newer"}, "big"))
        flow.commit()
        old = [
            {**rows[1], "price": 2},
            {**made_row(20), "n": 1},
            {**rows[2], "id": 22},
            rows[5],
        ]
        expected = [{**r, "state": "old"} for r in old]
        self.same(driver, flow, [*expected, {**rows[3], "n": 3, "state": "x"}, {**new, "n": 2**41, "state": "newer"}])

    def test_a_row_is_changed_ten_thousand_times(self, driver: DestinationDriver, flow: ChangeFlow) -> None:
        """With a large value that no update says."""
        row = made_row(1)
        flow.copy([row])
        base = flow.batch([update(row, "huge")])
        rows = pa.array(np.zeros(10_000, np.int64))
        flow.lsn += 10_000
        data = base.data.take(rows)
        place = data.schema.get_field_index("name")
        data = data.set_column(place, data.schema.field(place), pa.array([str(i) for i in range(10_000)]))
        batch = replace(
            base,
            data=data,
            op=base.op.take(rows),
            lsn=pa.array(range(flow.lsn - 9_999, flow.lsn + 1), pa.uint64()),
            ordinal=base.ordinal.take(rows),
            committed_at=base.committed_at.take(rows),
            unchanged={n: m.take(rows) for n, m in base.unchanged.items()},
        )
        assert flow.session.apply(flow.target, batch).missing is None
        flow.commit()
        self.same(driver, flow, [{**row, "name": "9999"}])
