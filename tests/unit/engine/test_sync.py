"""The conductor against memory: modes, resume after every fault, several streams, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.engine.events import Event
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.engine.sync import AttemptResult, run_attempt
from syncline.sdk.findings import Finding, Severity
from syncline.sdk.reference import ConnectorReference
from syncline.testing.memory import World, register_memory, world

register_memory()
_names = itertools.count()
FIELDS = (Field(name="id", type=pa.int64()), Field(name="v", type=pa.string()), Field(name="u", type=pa.int64()))


@pytest.fixture
def name() -> str:
    return f"world{next(_names)}"


def fill(w: World, stream: str, ids: range, key: tuple[str, ...] = ("id",)) -> None:
    w.table(stream, FIELDS, [{"id": i, "v": f"v{i}", "u": i} for i in ids], key)


def run(name: str, mode: str, tmp_path: Path, **choice: Any) -> AttemptResult:
    reference = ConnectorReference(type="memory", config={"world": name})
    events: list[Event] = []
    spec = AttemptSpec(
        connection="c",
        source=reference,
        destination=reference,
        choices=None,
        default=StreamChoice(mode=mode, **choice),
        sync_id=new_sync_id(),
        sync_date=now().date(),
        started_at=now(),
        attempt=1,
        work_dir=str(tmp_path),
    )
    assert AttemptSpec.from_json(spec.to_json()) == spec
    result = run_attempt(spec, events.append, LocalExecutor)
    assert AttemptResult.from_json(result.to_json()).to_json() == result.to_json()
    return result


def visible(w: World, stream: str) -> list[tuple[int, str]]:
    return sorted((r["id"], r["v"]) for r in w.visible.get(stream, []))


def expected(ids: range) -> list[tuple[int, str]]:
    return [(i, f"v{i}") for i in ids]


def test_overwrite_replaces_and_appends_append(name: str, tmp_path: Path) -> None:
    w = world(name)
    fill(w, "a", range(37))
    assert run(name, "full_refresh_overwrite", tmp_path).succeeded
    fill(w, "a", range(20))
    assert run(name, "full_refresh_overwrite", tmp_path).succeeded
    assert visible(w, "a") == expected(range(20))
    assert run(name, "full_refresh_append", tmp_path).succeeded
    assert visible(w, "a") == sorted(expected(range(20)) * 2)


def test_incremental_deduped_merges_by_key(name: str, tmp_path: Path) -> None:
    w = world(name)
    fill(w, "a", range(25))
    assert run(name, "incremental_deduped_history", tmp_path, cursor_field="u").succeeded
    w.tables["a"] += [{"id": 3, "v": "new", "u": 100}, {"id": 99, "v": "v99", "u": 101}]
    result = run(name, "incremental_deduped_history", tmp_path, cursor_field="u")
    assert result.streams[0].rows_read == 2
    assert ((3, "new") in visible(w, "a")) and ((99, "v99") in visible(w, "a"))
    assert len(visible(w, "a")) == 26
    assert w.acknowledged["a"] == {"cursor": 101}


def test_nothing_new_is_a_success_without_rows(name: str, tmp_path: Path) -> None:
    w = world(name)
    fill(w, "a", range(5))
    run(name, "incremental", tmp_path, cursor_field="u")
    result = run(name, "incremental", tmp_path, cursor_field="u")
    assert result.succeeded
    assert result.streams[0].rows_read == 0
    assert visible(w, "a") == expected(range(5))


def test_an_empty_table_is_a_success_and_exists(name: str, tmp_path: Path) -> None:
    w = world(name)
    fill(w, "a", range(0))
    assert run(name, "full_refresh", tmp_path).succeeded
    assert w.visible["a"] == []


def test_a_failed_stream_does_not_stop_the_others(name: str, tmp_path: Path) -> None:
    w = world(name)
    fill(w, "a", range(30))
    fill(w, "b", range(30))

    def trip(place: str) -> None:
        if place == "read b p1":
            raise SynclineError(ErrorKind.SCHEMA, "dropped", hint="look")

    w.trip = trip
    result = run(name, "full_refresh", tmp_path)
    by_name = {s.stream.name: s for s in result.streams}
    assert not result.succeeded
    assert by_name["a"].status == "succeeded"
    assert by_name["b"].status == "failed"
    assert visible(w, "a") == expected(range(30))
    assert "b" not in w.visible


class Boom(BaseException):
    """A crash: nothing of ours may catch it and go on."""


PLACES = ["snapshot", "read p0", "read p1 batch", "read p2", "seal p0", "seal p2", "commit", "committed"]


@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize(
    "mode", ["full_refresh_overwrite", "full_refresh_append", "incremental_append", "incremental_deduped_history"]
)
def test_faults_anywhere_lose_and_double_nothing(name: str, tmp_path: Path, mode: str, resumable: bool) -> None:
    """An error at the n-th passing of each place; then runs without faults must give the exact rows."""
    for number, (place, nth) in enumerate(itertools.product(PLACES, (1, 2, 3, 4))):
        each = f"{name}-{number}"
        w = world(each)
        w.resumable = resumable
        fill(w, "a", range(37))
        w.trip = _nth(place, nth)
        first = run(each, mode, tmp_path, cursor_field="u" if mode.startswith("inc") else None)
        w.trip = lambda place: None
        # A crash after the last commit leaves a whole copy; a new job in append mode would rightly add a second one.
        whole = mode == "full_refresh_append" and len(visible(w, "a")) == 37
        if not whole and (not first.succeeded or mode.startswith("inc")):
            again = run(each, mode, tmp_path, cursor_field="u" if mode.startswith("inc") else None)
            assert again.succeeded, (place, nth, again.error)
        assert visible(w, "a") == expected(range(37)), (place, nth, first.error)


def _nth(place: str, nth: int) -> Callable[[str], None]:
    seen = itertools.count(1)

    def trip(at: str) -> None:
        if at == place and next(seen) == nth:
            raise SynclineError(ErrorKind.TRANSIENT, f"fault at {place}")

    return trip


def test_a_resumed_snapshot_reads_only_what_was_not_committed(name: str, tmp_path: Path) -> None:
    w = world(name)
    w.partition_rows = 5
    fill(w, "a", range(50))
    w.trip = _nth("read p7", 1)
    assert not run(name, "full_refresh", tmp_path).succeeded
    before = len(w.reads)
    w.trip = lambda place: None
    assert run(name, "full_refresh", tmp_path).succeeded
    assert before + len(w.reads[before:]) <= 10 + 2  # at most one partition per worker is read again
    assert visible(w, "a") == expected(range(50))


def test_a_zombie_is_refused(name: str, tmp_path: Path) -> None:
    w = world(name)
    fill(w, "a", range(30))

    def overtaken(place: str) -> None:
        if place == "read p1":
            w.trip = lambda place: None
            assert run(name, "full_refresh", tmp_path).succeeded

    w.trip = overtaken
    result = run(name, "full_refresh", tmp_path)
    assert result.error is not None
    assert result.error.kind is ErrorKind.CONFLICT
    assert visible(w, "a") == expected(range(30))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"mode": "incremantal"}, "did you mean 'incremental'"),
        ({"mode": "incremental", "cursor_field": "uu"}, "no column 'uu'"),
        ({"mode": "full_refresh", "primary_key": ("nope",)}, "no column 'nope'"),
    ],
)
def test_wrong_choices_are_config_errors(name: str, tmp_path: Path, choice: dict[str, Any], words: str) -> None:
    fill(world(name), "a", range(3))
    mode = choice.pop("mode")
    result = run(name, mode, tmp_path, **choice)
    assert result.error is not None
    assert result.error.kind is ErrorKind.CONFIG
    assert words in str(result.error)


def test_never_more_uncommitted_partitions_than_workers(name: str, tmp_path: Path) -> None:
    """What a crash costs is at most one partition per worker: counted at every read, not only after a lucky one."""
    w = world(name)
    w.partition_rows = 2
    fill(w, "a", range(60))
    most = 0
    committed = itertools.count()
    done = 0

    def trip(place: str) -> None:
        nonlocal most, done
        if place == "committed":
            done = next(committed)  # the first commit is the plan's
        if place.startswith("read a "):
            most = max(most, len(w.reads) + 1 - done)

    w.trip = trip
    assert run(name, "full_refresh", tmp_path).succeeded
    assert most <= 2


def test_a_first_sync_looks_before_it_touches(name: str, tmp_path: Path) -> None:
    """An ERROR about one stream refuses that stream, one about the destination refuses the attempt."""
    w = world(name)
    fill(w, "a", range(5))
    fill(w, "b", range(5))
    refusal = Finding(
        severity=Severity.ERROR, kind=ErrorKind.CONFLICT, message="in the way", hint="move it", stream="b"
    )
    w.findings = [refusal]
    result = run(name, "full_refresh", tmp_path)
    assert {s.stream.name: s.status for s in result.streams} == {"a": "succeeded", "b": "failed"}
    assert result.error is not None
    assert (result.error.kind, result.error.hint) == (ErrorKind.CONFLICT, "move it")
    assert ("c", "b") not in w.ledger
    w.findings = [replace(refusal, stream=None)]
    assert run(name, "full_refresh", tmp_path).streams == ()
    w.findings = []
    assert run(name, "full_refresh", tmp_path).succeeded
    w.findings = [refusal]
    assert run(name, "full_refresh", tmp_path).succeeded, "streams that have worked before are not looked at again"
