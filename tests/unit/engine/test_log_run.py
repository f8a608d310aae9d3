"""The log's side of an attempt against memory: faults at every step, every change once, nothing confirmed early."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.change import Op
from syncline.core.checkpoint import LedgerEntry
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import StreamName
from syncline.engine.events import Event
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.hold import Hold, HoldRequest
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.engine.sync import AttemptResult, run_attempt
from syncline.sdk.change_log import AppliesChanges
from syncline.sdk.reference import ConnectorReference
from syncline.testing.memory import MemoryConfig, MemoryDestination, World, register_memory, world
from syncline.testing.memory_log import Change, Recorded, recorded, register_memory_log

register_memory()
register_memory_log()
_names = itertools.count()
FIELDS = (Field(name="id", type=pa.int64()), Field(name="v", type=pa.string()), Field(name="big", type=pa.string()))


class Source:
    """A world whose tables change in transactions; ``history`` is every change ever made, in order."""

    def __init__(self, seed: int) -> None:
        self.name = f"log world {next(_names)}"
        self.config = MemoryConfig(world=self.name)
        self.chance = random.Random(seed)
        self.world: World = world(self.name)
        self.log: Recorded = recorded(self.name)
        for stream in ("a", "b"):
            self.world.table(stream, FIELDS, [{"id": i, "v": "0", "big": f"B{i}"} for i in range(25)], ("id",))

    def transact(self, changes: int = 3) -> None:
        made = []
        taken: set[tuple[str, int]] = set()
        for _ in range(changes):
            stream = self.chance.choice("ab")
            rows = self.world.tables[stream]
            kind = self.chance.random()
            free = [r for r in rows if (stream, r["id"]) not in taken]
            if kind < 0.3 or not free:
                key = self.chance.randrange(1000, 10**9)
                made.append(Change(stream=stream, op=Op.INSERT, row={"id": key, "v": "i", "big": f"B{key}"}))
                continue
            row = self.chance.choice(free)
            taken.add((stream, row["id"]))
            if kind < 0.8:
                unchanged = frozenset({"big"}) if self.chance.random() < 0.6 else frozenset()
                new = {"id": row["id"], "v": str(self.chance.random()), "big": row["big"] if unchanged else f"C{kind}"}
                made.append(Change(stream=stream, op=Op.UPDATE, row=new, unchanged=unchanged))
            else:
                made.append(Change(stream=stream, op=Op.DELETE, row=row))
        self.log.commit(self.config, *made)

    def run(self, tmp_path: Path, mode: str, *, stop: threading.Event | None = None, **fields: Any) -> AttemptResult:
        spec = AttemptSpec(
            connection="c",
            source=ConnectorReference(type="memory-log", config={"world": self.name}),
            destination=ConnectorReference(type="memory", config={"world": self.name}),
            choices=None,
            default=StreamChoice(mode=mode),
            sync_id=new_sync_id(),
            sync_date=now().date(),
            started_at=now(),
            attempt=1,
            work_dir=str(tmp_path),
            **fields,
        )
        events: list[Event] = []
        return run_attempt(spec, events.append, LocalExecutor, stop)

    def durable(self) -> int:
        entry = self.world.ledger.get(("c", "_syncline.log"))
        return (entry.checkpoint.position or {}).get("lsn") or 0 if entry else 0


def plain(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((r["id"], r["v"], r["big"]) for r in rows)


def replayed(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The final state that a reader of an append stream computes."""
    state: dict[int, dict[str, Any]] = {}
    for r in sorted(rows, key=lambda r: (r["_syncline_lsn"], r["_syncline_ordinal"])):
        if r["_syncline_op"] == "delete":
            state.pop(r["id"], None)
            continue
        unchanged = r["_syncline_unchanged"] or ""
        old = r["_syncline_old_key"]
        before = state.pop(json.loads(old)["id"] if old else r["id"], {})
        # What was left out may have been looked up; then it stands there.
        state[r["id"]] = {**r, "big": before.get("big") if "big" in unchanged and r["big"] is None else r["big"]}
    return plain(list(state.values()))


MODES = ["incremental_append", "incremental_deduped_history"]


def modes() -> list[Any]:
    able = issubclass(MemoryDestination, AppliesChanges)
    return [MODES[0], pytest.param(MODES[1], marks=() if able else pytest.mark.skip("no session"))]


@pytest.mark.parametrize("mode", modes())
def test_copy_then_changes_then_nothing(tmp_path: Path, mode: str) -> None:
    source = Source(1)
    assert source.run(tmp_path, mode).error is None
    for _ in range(20):
        source.transact()
    result = source.run(tmp_path, mode)
    assert result.error is None
    assert sum(s.rows_written for s in result.streams) == 60
    check(source, mode)
    assert sum(s.rows_written for s in source.run(tmp_path, mode).streams) == 0
    assert source.log.confirmed == source.log.end == source.durable()


def check(source: Source, mode: str) -> None:
    for stream in ("a", "b"):
        rows = source.world.visible[stream]
        if mode == MODES[0]:
            seen = [(r["_syncline_lsn"], r["_syncline_ordinal"]) for r in rows if r["_syncline_op"] != "read"]
            assert len(seen) == len(set(seen)), "a change came twice"
            assert replayed(rows) == plain(source.world.tables[stream])
        else:
            assert plain(rows) == plain(source.world.tables[stream])


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("seed", range(8))
def test_faults_anywhere_lose_and_double_nothing(
    tmp_path: Path, mode: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.engine.log_run._BACK_OFF_SECONDS", (0.01,))
    source = Source(seed)
    chance = random.Random(seed)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            source.transact(chance.randint(1, 4))
            assert source.log.confirmed <= source.durable()
            time.sleep(0.001)

    def trip(place: str) -> None:
        if chance.random() < 0.03:
            kind = ErrorKind.INTERNAL if chance.random() < 0.5 else ErrorKind.TRANSIENT
            raise SynclineError(kind, f"planted at {place}")

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    source.world.trip = trip
    try:
        for _ in range(6):
            source.run(tmp_path, mode)
    finally:
        source.world.trip = lambda place: None
        ended.set()
        writer.join()
    assert source.run(tmp_path, mode).error is None
    check(source, mode)


@pytest.mark.parametrize("place", ["log end", "log reader"])
def test_a_source_that_is_away_when_streams_join_loses_none_of_them(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.engine.log_run._BACK_OFF_SECONDS", (0.01,))
    source, mode = Source(3), "incremental_append"
    if place == "log reader":  # streams that flowed before; the log's end is surely asked for when they first join
        assert source.run(tmp_path, mode).error is None
    source.transact()
    away = iter(range(2))

    def trip(where: str) -> None:
        if where == place and threading.current_thread().name == "log" and next(away, None) is not None:
            raise SynclineError(ErrorKind.TRANSIENT, "away for a moment")

    source.world.trip = trip
    result = source.run(tmp_path, mode)
    assert [stream.error for stream in result.streams] == [None, None]
    assert next(away, None) is None, "it was never away"
    check(source, mode)


def test_a_destination_that_fails_while_it_is_asked_what_it_has_loses_no_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on without a stream that it forgot, the run would move the others' position over its changes."""
    monkeypatch.setattr("syncline.engine.log_run._BACK_OFF_SECONDS", (0.01,))
    source, mode = Source(4), "incremental_append"
    assert source.run(tmp_path, mode).error is None
    source.transact()
    failures: list[str] = []
    ask = MemoryDestination.committed

    def committed(self: MemoryDestination, connection: str, stream: StreamName) -> LedgerEntry | None:
        if threading.current_thread().name == "log" and failures == ["read"] and stream.name == "b":
            failures.append("asked")
            raise SynclineError(ErrorKind.TRANSIENT, "the destination is away")
        return ask(self, connection, stream)

    def trip(where: str) -> None:
        if where == "log read" and not failures:
            failures.append("read")
            raise SynclineError(ErrorKind.TRANSIENT, "the destination goes away")

    monkeypatch.setattr(MemoryDestination, "committed", committed)
    source.world.trip = trip
    result = source.run(tmp_path, mode)
    assert [stream.error for stream in result.streams] == [None, None]
    assert failures == ["read", "asked"]
    check(source, mode)


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "in two"])
def test_a_row_that_was_fetched_under_a_key_that_another_one_has_by_now(tmp_path: Path, apart: bool, mode: str) -> None:
    """X goes from 1 to 10 and on to 20, Y takes 10. The log is read late, and while it shows again what the copy has
    seen, values that it leaves out are asked for: under 10 that gives Y's, which must not stay with X."""
    source = Source(7)
    rows = {row["id"]: row for row in source.world.tables["a"]}

    def move(old: int, new: int) -> None:
        row = {**next(r for r in source.world.tables["a"] if r["id"] == old), "id": new}
        change = Change(stream="a", op=Op.UPDATE, row=row, old_key=(old,), unchanged=frozenset({"big"}))
        source.log.commit(source.config, change)

    steps: list[str] = []
    made = threading.Event()

    def trip(place: str) -> None:
        if threading.current_thread().name != "log":
            if place == "log end":  # the conductor asks where the run shall end: past all of these
                assert made.wait(30)
            return
        if place == "log end" and not steps:
            steps.append("joins")
            move(1, 100)
        elif place == "log read" and steps == ["joins"]:
            steps.append("reads")  # the end of what is shown again is fixed now, and lies before these
            for _ in range(3 if apart else 0):  # a batch has three transactions
                source.log.commit(source.config, Change(stream="b", op=Op.DELETE, row=source.world.tables["b"][0]))
            move(100, 200)
            move(2, 100)
            made.set()

    source.world.trip = trip
    assert source.run(tmp_path, mode).error is None
    assert steps == ["joins", "reads"]
    if mode == MODES[1]:
        found = {row["id"]: row["big"] for row in source.world.visible["a"]}
        assert (found[200], found[100]) == (rows[1]["big"], rows[2]["big"])
    check(source, mode)


@pytest.mark.parametrize("mode", modes())
def test_nothing_is_confirmed_that_a_copy_still_needs(tmp_path: Path, mode: str) -> None:
    """One stream's copy fails again and again while the other flows: what it needs of the log is kept for it."""
    source = Source(6)
    source.transact()

    def trip(place: str) -> None:
        if place.startswith("read b "):
            raise SynclineError(ErrorKind.TRANSIENT, "the table cannot be read now")

    source.world.trip = trip
    needs = None
    for _ in range(3):
        assert source.run(tmp_path, mode).error is not None
        for _ in range(20):
            source.transact()
        entry = source.world.ledger["c", "b"]
        assert entry.checkpoint.plan is not None
        needs = needs or entry.checkpoint.plan.end["lsn"]
        assert source.log.confirmed <= needs
    source.world.trip = lambda place: None
    assert source.run(tmp_path, mode).error is None
    check(source, mode)
    assert source.log.confirmed == source.log.end


def test_follows_until_told_to_stop_and_holds_at_one_place(tmp_path: Path) -> None:
    source, mode = Source(5), MODES[0]
    stop, results = threading.Event(), []
    run = threading.Thread(target=lambda: results.append(source.run(tmp_path, mode, stop=stop, follow=True)))
    run.start()
    hold = Hold(tmp_path)
    try:
        for _ in range(30):
            source.transact()
            time.sleep(0.005)
        hold.ask(HoldRequest(id="x", until=None))
        first = _answer(hold, HoldRequest(id="x", until=None))
        until = source.log.end
        for _ in range(10):
            source.transact()
        assert first <= until
        hold.ask(HoldRequest(id="x", until=until))
        assert _answer(hold, HoldRequest(id="x", until=until)) == until
        rows = source.world.visible["a"] + source.world.visible["b"]
        assert max(r["_syncline_lsn"] for r in rows) < until
        hold.release()
        time.sleep(0.3)
    finally:
        stop.set()
        run.join()
    assert results[0].error is None
    assert source.run(tmp_path, mode).error is None
    check(source, mode)


def _answer(hold: Hold, request: HoldRequest) -> int:
    for _ in range(200):
        if (lsn := hold.answered(request)) is not None:
            return lsn
        time.sleep(0.02)
    raise AssertionError("no answer")
