"""A fed source against memory: every fault at every step, every row once, states never ahead of their rows."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.checkpoint import Phase
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.engine import feed_run
from syncline.engine.events import Event, Log
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.engine.sync import AttemptResult, run_attempt
from syncline.sdk.reference import ConnectorReference
from syncline.testing.memory import World, register_memory, world
from syncline.testing.memory_feed import FeedStyle, feed_style, register_memory_feed

register_memory()
register_memory_feed()
_names = itertools.count()
FIELDS = (Field(name="id", type=pa.int64()), Field(name="v", type=pa.string()))
MODES = [
    "full_refresh_overwrite",
    "full_refresh_append",
    "full_refresh_overwrite_deduped",
    "incremental_append",
    "incremental_deduped_history",
]


class Crash(BaseException):
    """The process dies here."""


class Job:
    """A source of two streams, a destination, and jobs of attempts between them."""

    def __init__(self, tmp_path: Path, mode: str) -> None:
        self.name = f"feed world {next(_names)}"
        self.world: World = world(self.name)
        self.style: FeedStyle = feed_style(self.name)
        self.mode, self.events, self._path = mode, list[Event](), tmp_path
        for stream, rows in (("a", 20), ("b", 11)):
            self.world.table(stream, FIELDS, [{"id": i, "v": f"{stream}{i}"} for i in range(rows)], ("id",))

    def grow(self, rows: int) -> None:
        for table in self.world.tables.values():
            table += [{"id": len(table) + i, "v": f"new{len(table) + i}"} for i in range(rows)]

    def attempt(self, sync_id: str, number: int = 1, completed: Any = ()) -> AttemptResult:
        spec = AttemptSpec(
            connection="c",
            source=ConnectorReference(type="memory-feed", config={"world": self.name}),
            destination=ConnectorReference(type="memory", config={"world": self.name}),
            choices=None,
            default=StreamChoice(mode=self.mode),
            sync_id=sync_id,
            sync_date=now().date(),
            started_at=now(),
            attempt=number,
            work_dir=str(self._path),
            completed=tuple(completed),
        )
        return run_attempt(spec, self.events.append, LocalExecutor)

    def run(self, *, expect: bool = True) -> AttemptResult:
        """One job: attempts of one sync id until success, crashes counted as failures."""
        sync_id, completed = new_sync_id(), set[Any]()
        result: AttemptResult | None = None
        for number in range(1, 6):
            try:
                result = self.attempt(sync_id, number, completed)
            except Crash:
                continue
            completed |= {s.stream for s in result.streams if s.status == "succeeded"}
            if result.succeeded:
                return result
            if not expect:
                return result
        raise AssertionError(f"five attempts failed: {result and result.error}")

    def rows(self, stream: str) -> Counter[tuple[int, str]]:
        return Counter((r["id"], r["v"]) for r in self.world.visible.get(stream, []))

    def expected(self, stream: str, times: int = 1) -> Counter[tuple[int, str]]:
        return Counter({(r["id"], r["v"]): times for r in self.world.tables[stream]})

    def messages(self) -> str:
        return "\n".join(e.message for e in self.events if isinstance(e, Log))


@pytest.fixture(params=["every state", "rare states"])
def often(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether every state is committed as it comes, or most are superseded by a later one."""
    often: bool = request.param == "every state"
    monkeypatch.setattr(feed_run, "_COMMIT_BYTES", 1 if often else 1 << 30)
    monkeypatch.setattr(feed_run, "_TAIL_BYTES", 1 if often else 60)
    return often


def _fault_at(job: Job, nth: int, fault: BaseException) -> list[str]:
    """Raise once, at the n-th step of whoever passes it. The list tells which one it was."""
    count, hit = itertools.count(), list[str]()

    def trip(place: str) -> None:
        if next(count) == nth:
            hit.append(place)
            raise fault

    job.world.trip = trip
    return hit


@pytest.mark.parametrize("crash", [False, True], ids=["fails", "dies"])
@pytest.mark.parametrize("common", [False, True], ids=["own states", "common state"])
@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_any_step_costs_no_row_and_brings_none_twice(
    tmp_path: Path, mode: str, common: bool, crash: bool, often: bool
) -> None:
    places = set()
    job = Job(tmp_path, mode)
    for nth in itertools.count():
        job = Job(tmp_path, mode)
        job.style.common = common
        fault: BaseException = Crash() if crash else SynclineError(ErrorKind.TRANSIENT, "planted")
        hit = _fault_at(job, nth, fault)
        job.run()
        twice = common and mode == "incremental_append" and "may come twice" in job.messages()
        for stream in ("a", "b"):
            found, wanted = job.rows(stream), job.expected(stream)
            assert set(found) == set(wanted) if twice else found == wanted, (nth, hit, stream)
        job.grow(7)
        later = _fault_at(job, nth, Crash() if crash else SynclineError(ErrorKind.TRANSIENT, "planted"))
        job.run()
        twice = common and mode == "incremental_append" and "may come twice" in job.messages()
        for stream in ("a", "b"):
            found, wanted = job.rows(stream), job.expected(stream)
            if mode == "full_refresh_append":
                assert set(found) == set(wanted)
                assert sum(found.values()) == 2 * len(wanted) - 7, (nth, hit, later, stream)
            else:
                assert set(found) == set(wanted) if twice else found == wanted, (nth, hit, later, stream)
        places |= {*hit, *later}
        if not hit and not later:
            break
    assert {"feed begins", "feed batch", "feed ends", "commit", "committed"} <= places
    assert job.world.stages == {} or crash  # what a dead process laid down is the destination's to remove


@pytest.mark.parametrize("mode", ["incremental_append", "incremental_deduped_history"])
def test_what_lies_before_the_last_state_is_kept_when_the_source_fails(tmp_path: Path, mode: str) -> None:
    job = Job(tmp_path, mode)
    # The third state of stream a covers 18 rows; then the source fails, far from any limit of size or time.
    states = itertools.count()

    def trip(place: str) -> None:
        if place == "feed state" and next(states) == 5:
            raise SynclineError(ErrorKind.TRANSIENT, "broke off")

    job.world.trip = trip
    result = job.attempt("s1")
    assert [s.error and s.error.message for s in result.streams] == ["broke off"] * 2
    job.world.trip = lambda place: None
    assert job.attempt("s1", 2).succeeded
    assert job.style.asked[1][0] == {"a": 18, "b": 11}
    assert (job.rows("a"), job.rows("b")) == (job.expected("a"), job.expected("b"))


def test_a_copy_is_not_seen_before_it_is_whole(tmp_path: Path, often: bool) -> None:
    job = Job(tmp_path, "incremental_deduped_history")
    job.style.incomplete = frozenset({"a"})
    result = job.run(expect=False)
    assert [s.status for s in result.streams] == ["failed", "succeeded"]
    assert "a" not in job.world.visible
    assert job.rows("b") == job.expected("b")
    entry = job.world.ledger["c", "a"].checkpoint
    assert entry.phase is Phase.READING
    assert entry.position == {"feed": 20, "loading": True}
    job.style.incomplete = frozenset()
    job.grow(2)
    job.run()
    assert job.style.asked[-1][0] == {"a": 20, "b": 11}
    assert job.rows("a") == job.expected("a")
    assert job.world.ledger["c", "a"].checkpoint.position == {"feed": 22}


def test_a_full_copy_goes_on_only_within_its_job_and_only_when_the_source_can(tmp_path: Path, often: bool) -> None:
    job = Job(tmp_path, "full_refresh_overwrite")
    job.style.resumable, job.style.incomplete = True, frozenset({"a", "b"})
    assert not job.attempt("s1").succeeded
    assert not job.attempt("s1", 2).succeeded
    assert job.style.asked[1][0] == {"a": 20, "b": 11}
    job.style.incomplete = frozenset()
    assert job.attempt("s2").succeeded  # another job: from the beginning
    assert job.style.asked[2][0] == {}
    assert (job.rows("a"), job.rows("b")) == (job.expected("a"), job.expected("b"))
    assert job.world.ledger["c", "a"].checkpoint.position is None


def test_records_that_did_not_arrive_are_noticed_before_anything_is_committed(tmp_path: Path, often: bool) -> None:
    for common in (False, True):
        job = Job(tmp_path, "incremental_append")
        job.style.overstated, job.style.common = True, common
        result = job.attempt("s1")
        assert {s.error.kind for s in result.streams if s.error} == {ErrorKind.DATA}
        assert "says that it gave" in str(result.error)
        assert not job.world.visible.get("a")
        assert not job.world.visible.get("b")


def test_a_source_without_states_is_copied_whole_each_time(tmp_path: Path) -> None:
    job = Job(tmp_path, "incremental_append")
    job.style.states = False
    job.run()
    assert "with no state after them" in job.messages()
    job.run()
    assert job.rows("a") == job.expected("a")


def test_nothing_new_makes_no_commit(tmp_path: Path) -> None:
    job = Job(tmp_path, "incremental_deduped_history")
    job.run()
    before = job.world.ledger["c", "a"].checkpoint
    result = job.run()
    assert [s.rows_read for s in result.streams] == [0, 0]
    assert job.world.ledger["c", "a"].checkpoint == before


def test_a_stream_that_fails_alone_lets_the_others_finish(tmp_path: Path, often: bool) -> None:
    job = Job(tmp_path, "incremental_deduped_history")

    def trip(place: str) -> None:
        if place == "commit" and ("c", "a") in job.world.ledger and job.world.ledger["c", "a"].checkpoint.sequence == 1:
            job.world.ledger["c", "a"] = job.world.ledger["c", "b"]  # somebody else's token

    job.world.trip = trip
    result = job.attempt("s1")
    assert [s.status for s in result.streams] == ["failed", "succeeded"]
    assert job.rows("b") == job.expected("b")


def test_following_is_refused(tmp_path: Path) -> None:
    job = Job(tmp_path, "incremental_append")
    spec = AttemptSpec(
        connection="c",
        source=ConnectorReference(type="memory-feed", config={"world": job.name}),
        destination=ConnectorReference(type="memory", config={"world": job.name}),
        choices=None,
        default=StreamChoice(mode=job.mode),
        sync_id="s",
        sync_date=now().date(),
        started_at=now(),
        attempt=1,
        work_dir=str(tmp_path),
        follow=True,
    )
    error = run_attempt(spec, job.events.append, LocalExecutor).error
    assert error is not None
    assert error.kind is ErrorKind.CONFIG


def test_a_common_state_that_was_half_moved_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_run, "_COMMIT_BYTES", 1)
    job = Job(tmp_path, "incremental_append")
    job.style.common = True

    def trip(place: str) -> None:
        shared = job.world.ledger.get(("c", "_syncline.feed"))
        a = job.world.ledger.get(("c", "a"))
        moving = shared is not None and bool((shared.checkpoint.position or {}).get("moving"))
        if place == "committed" and moving and a is not None and a.checkpoint.position == {"feed": 6}:
            raise Crash

    job.world.trip = trip
    with pytest.raises(Crash):
        job.attempt("s1")
    job.world.trip = lambda place: None
    assert job.attempt("s1", 2).succeeded
    assert "some rows may come twice" in job.messages()
    assert job.world.ledger["c", "_syncline.feed"].checkpoint.position == {"feed": 31}
