"""Gates against memory: partitions and fed streams, copies and increments; faults at every step of a gated run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.checkpoint import Phase
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.engine.events import Event, Log, QualityJudged
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.engine.sync import AttemptResult, run_attempt
from syncline.quality.rules import parse_gates
from syncline.sdk.reference import ConnectorReference
from syncline.testing.memory import World, register_memory, world
from syncline.testing.memory_feed import register_memory_feed

register_memory()
register_memory_feed()
_names = itertools.count()
FIELDS = (Field(name="id", type=pa.int64()), Field(name="v", type=pa.string()), Field(name="u", type=pa.int64()))
GOOD = {"regex": {"column": "v", "pattern": "^v"}}


class Case:
    """One table in memory, read by partitions (``memory``) or fed (``memory-feed``)."""

    def __init__(self, kind: str, mode: str, folder: Path) -> None:
        self.kind, self.mode, self._folder = kind, mode, folder
        self.name = f"gates {next(_names)}"
        self.world: World = world(self.name)
        self.events: list[Event] = []
        self.rows = [{"id": i, "v": f"v{i}", "u": i} for i in range(25)]
        self.world.table("a", FIELDS, self.rows, ("id",))

    def run(self, gates: list[Any], **limits: Any) -> AttemptResult:
        quality: dict[str, Any] = {"gates": [g.to_json() for g in parse_gates(gates)], "quarantine": limits}
        cursor = "u" if self.mode.startswith("incremental") and self.kind == "memory" else None
        spec = AttemptSpec(
            connection="c",
            source=ConnectorReference(type=self.kind, config={"world": self.name}),
            destination=ConnectorReference(type="memory", config={"world": self.name}),
            choices=None,
            default=StreamChoice(mode=self.mode, cursor_field=cursor, quality=quality),
            sync_id=new_sync_id(),
            sync_date=now().date(),
            started_at=now(),
            attempt=1,
            work_dir=str(self._folder),
        )
        assert AttemptSpec.from_json(spec.to_json()) == spec
        self.events.clear()
        return run_attempt(spec, self.events.append, LocalExecutor)

    @property
    def visible(self) -> list[int]:
        return sorted(r["id"] for r in self.world.visible.get("a", []))

    @property
    def quality(self) -> Any:
        return self.world.ledger["c", "a"].checkpoint.quality


@pytest.fixture(params=["memory", "memory-feed"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_rows_that_break_a_gate_are_set_aside_and_counted(kind: str, tmp_path: Path) -> None:
    case = Case(kind, "full_refresh_overwrite", tmp_path)
    case.rows[3]["v"] = case.rows[17]["v"] = "bad"
    result = case.run([{**GOOD, "severity": "quarantine"}, {"not_null": "id"}, {"min_records": 23}])
    assert result.error is None
    (stream,) = result.streams
    assert (stream.rows_read, stream.rows_written, stream.rows_quarantined) == (25, 23, 2)
    assert case.visible == [i for i in range(25) if i not in (3, 17)]
    assert {r["gate"]: r["status"] for r in case.quality["results"]} == {
        "regex v": "quarantined",
        "not_null id": "passed",
        "row_count": "passed",
    }
    (told,) = [e for e in case.events if isinstance(e, QualityJudged)]
    assert told.published
    assert told.rows == 23


def test_a_copy_that_is_held_back_leaves_the_old_one_and_is_read_anew(kind: str, tmp_path: Path) -> None:
    case = Case(kind, "full_refresh_overwrite", tmp_path)
    assert case.run([GOOD]).error is None
    case.rows[3]["v"] = "bad"
    case.rows.append({"id": 99, "v": "v99", "u": 99})
    result = case.run([GOOD])
    assert result.error is not None
    assert "1 of 26 rows break it" in result.error.message
    assert case.visible == list(range(25))
    assert case.quality["blocked"]["reason"] == result.error.message
    assert case.world.ledger["c", "a"].checkpoint.phase is Phase.READING
    case.rows[3]["v"] = "v3"
    assert case.run([GOOD]).error is None
    assert case.visible == [*range(25), 99]
    assert "blocked" not in case.quality
    assert case.quality["history"] == [25, 26]


@pytest.mark.parametrize("mode", ["incremental_append", "incremental_deduped_history"])
def test_nothing_of_an_increment_that_breaks_a_gate_becomes_visible(kind: str, mode: str, tmp_path: Path) -> None:
    case = Case(kind, mode, tmp_path)
    assert case.run([GOOD]).error is None
    case.rows += [{"id": i, "v": "bad" if i == 47 else f"v{i}", "u": i} for i in range(25, 50)]
    assert case.run([GOOD]).error is not None
    assert case.visible == list(range(25))
    case.rows[47]["v"] = "v47"
    assert case.run([GOOD]).error is None
    assert case.visible == list(range(50))


def test_too_many_rows_aside_fail_the_run(kind: str, tmp_path: Path) -> None:
    case = Case(kind, "full_refresh_overwrite", tmp_path)
    case.rows[3]["v"] = case.rows[17]["v"] = "bad"
    gates = [{**GOOD, "severity": "quarantine"}]
    result = case.run(gates, max_rows=1)
    assert result.error is not None
    assert "2 of 25 rows were set aside" in result.error.message
    assert case.visible == []
    assert case.run(gates, max_rows=2).error is None


def test_an_empty_increment_is_no_silent_pass(tmp_path: Path) -> None:
    case = Case("memory", "incremental_append", tmp_path)
    gates = [{"min_records": 1}]
    assert case.run(gates).error is None
    result = case.run(gates)
    assert result.error is not None
    assert "nothing new came" in result.error.message


def test_a_gate_on_an_empty_stream_says_that_nothing_was_judged(kind: str, tmp_path: Path) -> None:
    case = Case(kind, "full_refresh_overwrite", tmp_path)
    case.rows.clear()
    assert case.run([GOOD]).error is None
    assert [r["status"] for r in case.quality["results"]] == ["empty"]
    assert any("had nothing to judge" in e.message for e in case.events if isinstance(e, Log))
    result = case.run([{**GOOD, "empty": "fail"}])
    assert result.error is not None


def test_what_this_destination_cannot_be_asked_is_refused_before_anything_is_touched(kind: str, tmp_path: Path) -> None:
    case = Case(kind, "full_refresh_overwrite", tmp_path)
    result = case.run([{"unique": "id"}])
    assert result.error is not None
    assert "cannot read them before they are published" in result.error.message
    assert ("c", "a") not in case.world.ledger


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full_refresh_overwrite", "incremental_append", "incremental_deduped_history"])
def test_a_fault_at_any_step_loses_no_count(kind: str, mode: str, tmp_path: Path) -> None:
    """The counts of committed partitions stand in the ledger: whatever dies, the verdict is on all rows, once each."""

    for step in itertools.count():
        case = Case(kind, mode, tmp_path)
        case.rows[3]["v"] = case.rows[17]["v"] = "bad"
        gates = [{**GOOD, "severity": "quarantine"}]
        count = itertools.count()
        hit: list[str] = []

        def trip(place: str, step: int = step, count: Any = count, hit: list[str] = hit) -> None:
            if next(count) == step:
                hit.append(place)
                raise SynclineError(ErrorKind.TRANSIENT, "the fault of this test")

        case.world.trip = trip
        case.run(gates)
        if not hit:
            break
        case.world.trip = lambda place: None
        assert case.run(gates).error is None
        assert case.visible == [i for i in range(25) if i not in (3, 17)], hit
        if kind == "memory-feed" and mode == "incremental_append":
            continue  # what flows in there is judged stretch by stretch, and each run counts its own
        (result,) = case.quality["results"]
        assert result["failed"] == 2, (hit, result)
        assert result["judged"] == 25, (hit, result)
