"""Differences between two looks at a table, and a run's policy about them, against memory."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.engine.events import Event, SchemaChanged
from syncline.engine.evolution.differences import column_changes
from syncline.engine.evolution.policy import Contract, SchemaPolicy, SchemaUpdates
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.engine.sync import AttemptResult, run_attempt
from syncline.sdk.reference import ConnectorReference
from syncline.testing.memory import World, register_memory, world

register_memory()
_names = itertools.count()
ID = Field(name="id", type=pa.int64(), identity="9.1")
U = Field(name="u", type=pa.int64(), identity="9.2")
V = Field(name="v", type=pa.string(), identity="9.3")
N = Field(name="n", type=pa.int32(), identity="9.4")


def text(name: str, native: str) -> Field:
    return Field(name=name, type=pa.string(), native=native)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ([V], [V], []),
        ([V], [V, N], ["added"]),
        ([V, N], [V], ["dropped"]),
        ([V], [replace(V, name="w")], ["renamed"]),
        ([V], [replace(V, name="w", identity="9.7")], ["added", "dropped"]),
        ([replace(V, identity=None)], [replace(V, name="w", identity=None)], ["added", "dropped"]),
        ([V, N], [replace(V, name="n"), replace(N, name="v")], ["retyped", "retyped"]),
        ([V, N], [replace(N, name="v")], ["renamed", "dropped"]),
        ([N], [replace(N, type=pa.int64())], ["widened"]),
        ([N], [replace(N, type=pa.int16())], ["narrowed"]),
        ([N], [V], ["added", "dropped"]),
        ([N], [replace(N, type=pa.date32())], ["retyped"]),
        ([N], [replace(N, nullable=False)], ["required"]),
        ([replace(N, nullable=False)], [replace(N, name="m", type=pa.int64())], ["renamed", "widened", "optional"]),
        ([text("t", "character varying(3)")], [text("t", "character varying(9)")], ["widened"]),
        ([text("t", "character varying(9)")], [text("t", "character varying(3)")], ["narrowed"]),
        ([text("t", "character varying(9)")], [text("t", "text")], ["widened"]),
        ([text("t", "character(5)")], [text("t", "character varying(5)")], ["retyped"]),
    ],
)
def test_differences(before: list[Field], after: list[Field], kinds: list[str]) -> None:
    assert [c.kind for c in column_changes(before, after)] == kinds


class Job:
    def __init__(self, tmp_path: Path, policy: SchemaPolicy, mode: str = "incremental_append", **more: Any) -> None:
        self.name = f"evolution{next(_names)}"
        self.world: World = world(self.name)
        self.policy, self.mode, self.more = policy, mode, more
        self.path = tmp_path
        self.events: list[Event] = []
        self.table([ID, U, V], [{"id": 1, "u": 1, "v": "a"}])

    def table(self, fields: list[Field], rows: list[dict[str, Any]], name: str = "t") -> None:
        self.world.table(name, fields, rows, ("id",))

    def run(self) -> AttemptResult:
        reference = ConnectorReference(type="memory", config={"world": self.name})
        self.events.clear()
        spec = AttemptSpec(
            connection="c",
            source=reference,
            destination=reference,
            choices=self.more.get("choices"),
            default=StreamChoice(mode=self.mode, cursor_field="u"),
            sync_id=new_sync_id(),
            sync_date=now().date(),
            started_at=now(),
            attempt=1,
            work_dir=str(self.path),
            evolution=self.policy,
        )
        assert AttemptSpec.from_json(spec.to_json()) == spec
        return run_attempt(spec, self.events.append, LocalExecutor)

    @property
    def told(self) -> list[tuple[str, str | None, str | None]]:
        return [(e.change, e.before, e.after) for e in self.events if isinstance(e, SchemaChanged)]

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        return sorted((tuple(r.get(c) for c in columns) for r in self.world.visible["t"]), key=str)


def policy(updates: str = "propagate_fully", **contracts: str) -> SchemaPolicy:
    return SchemaPolicy(
        updates=SchemaUpdates(updates), contracts={name: Contract(word) for name, word in contracts.items()}
    )


def test_changes_are_told_once_and_followed(tmp_path: Path) -> None:
    job = Job(tmp_path, policy())
    assert job.run().succeeded
    assert job.told == []
    job.table([ID, U, V, N], [{"id": 2, "u": 2, "v": "b", "n": 5}])
    assert job.run().succeeded
    assert job.told == [("added", None, "n int32")]
    assert job.run().succeeded
    assert job.told == []
    assert job.rows("id", "n") == [(1, None), (2, 5)]


def test_ignored_columns_and_streams_stay_out(tmp_path: Path) -> None:
    job = Job(tmp_path, policy("ignore"))
    assert job.run().succeeded
    job.table([ID, U, V, N], [{"id": 2, "u": 2, "v": "b", "n": 5}])
    job.table([ID, U], [{"id": 1, "u": 1}], name="other")
    for told in ([("stream_added", None, "other"), ("added", None, "n int32")], []):
        result = job.run()
        assert [s.stream.name for s in result.streams] == ["t"]
        assert job.told == told
        job.world.tables["t"].append({"id": 8, "u": 3, "v": "later", "n": 7})
    assert "other" not in job.world.visible
    assert [sorted(r) for r in job.world.visible["t"] if "n" in r] == []
    job.policy = policy()  # from now on they are followed
    job.world.tables["t"].append({"id": 3, "u": 4, "v": "c", "n": 6})
    assert job.run().succeeded
    assert job.rows("id", "n") == [(1, None), (2, None), (3, 6), (8, None)]
    assert "other" in job.world.visible


def test_a_connection_that_is_to_stop_reads_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, policy("disable_connection"))
    assert job.run().succeeded
    job.table([ID, U, V, N], [{"id": 2, "u": 2, "v": "b", "n": 5}])
    for _ in range(2):
        result = job.run()
        assert result.error is not None
        assert result.error.kind is ErrorKind.SCHEMA
        assert "column added: n int32" in result.error.message
        assert job.rows("id") == [(1,)]


def test_contracts_of_single_columns(tmp_path: Path) -> None:
    job = Job(tmp_path, policy(n="freeze", v="quarantine", q="quarantine"))
    job.table([ID, U, N, V], [{"id": 1, "u": 1, "n": 1, "v": "a"}])
    assert job.run().succeeded
    wide, dated = replace(N, type=pa.int64()), replace(V, type=pa.int64())
    q = Field(name="q", type=pa.string(), identity="9.8")
    job.table([ID, U, wide, dated, q], [{"id": 2, "u": 2, "n": 2, "v": 7, "q": None}, {"id": 3, "u": 3, "q": "x"}])
    assert job.run().succeeded
    assert job.rows("id", "n", "v") == [(1, 1, "a"), (2, 2, "7")]
    assert [r.record["id"] for r in job.world.quarantined["t"]] == ["3"]
    job.table([ID, U, wide, dated, q], [{"id": 4, "u": 4, "n": 2**40, "v": 7, "q": None}])
    result = job.run()
    assert result.error is not None
    assert "has a value that is no integer" in result.error.message
    assert len(job.world.visible["t"]) == 2
    job.policy = policy()
    assert job.run().succeeded
    assert job.rows("id", "n")[-1] == (4, 2**40)


def test_a_contract_to_fail_stops_its_stream_alone_until_somebody_accepts(tmp_path: Path) -> None:
    job = Job(tmp_path, policy(n="fail"))
    job.table([ID, U], [{"id": 1, "u": 1}], name="other")
    assert job.run().succeeded
    job.table([ID, U, V, N], [{"id": 2, "u": 2, "v": "b", "n": 5}])
    job.table([ID, U], [{"id": 2, "u": 2}], name="other")
    for _ in range(2):
        result = job.run()
        assert {s.stream.name: s.status for s in result.streams} == {"t": "failed", "other": "succeeded"}
        assert job.told == [("added", None, "n int32")]
    assert len(job.world.visible["other"]) == 2
    assert job.rows("id") == [(1,)]


def test_a_narrowed_column_waits_in_an_increment_and_not_in_a_whole_copy(tmp_path: Path) -> None:
    narrow = replace(U, name="m", identity="9.9", type=pa.int32())
    for mode, status in (("incremental_append", "failed"), ("full_refresh_overwrite", "succeeded")):
        job = Job(tmp_path, policy(), mode=mode)
        job.table([ID, U, replace(narrow, type=pa.int64())], [{"id": 1, "u": 1, "m": 1}])
        assert job.run().succeeded
        job.table([ID, U, narrow], [{"id": 2, "u": 2, "m": 1}])
        assert [s.status for s in job.run().streams] == [status]


def test_streams_that_vanish_stop_alone(tmp_path: Path) -> None:
    job = Job(tmp_path, policy("propagate_columns"), choices=(StreamChoice(name="t"), StreamChoice(name="other")))
    job.table([ID, U], [{"id": 1, "u": 1}], name="other")
    assert job.run().succeeded
    del job.world.tables["t"]
    job.table([ID, U], [{"id": 2, "u": 2}], name="other")
    for _ in range(2):
        result = job.run()
        assert {s.stream.name: s.status for s in result.streams} == {"t": "failed", "other": "succeeded"}
        assert job.told == [("stream_vanished", "t", None)]
    job.policy = policy()
    assert job.run().succeeded
    assert job.rows("id") == [(1,)]


@pytest.mark.parametrize("crash", [False, True])
def test_a_renamed_column_keeps_its_old_values_also_after_a_crash(tmp_path: Path, crash: bool) -> None:
    job = Job(tmp_path, policy(), mode="incremental_deduped_history")
    assert job.run().succeeded
    job.table([ID, U, replace(V, name="w")], [{"id": 2, "u": 2, "w": "b"}])
    if crash:

        def trip(place: str) -> None:
            if place == "commit" and job.world.ledger["c", "t"].token == 2:
                raise SynclineError(ErrorKind.TRANSIENT, "the attempt dies here")

        job.world.trip = trip
        assert not job.run().succeeded
        job.world.trip = lambda place: None
    assert job.run().succeeded
    assert job.rows("id", "w") == [(1, "a"), (2, "b")]
    assert all("v" not in row for row in job.world.visible["t"])
