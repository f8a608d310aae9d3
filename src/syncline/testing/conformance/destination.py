"""What every destination must do, whatever it keeps its rows in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pytest

from syncline.core.batch import Batch, Misfit
from syncline.core.checkpoint import LedgerEntry, Phase, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination
from syncline.sdk.findings import Severity
from syncline.sdk.reference import ConnectorReference, open_destination

__all__ = ["DestinationConformance", "DestinationDriver"]

STREAM = StreamName(namespace="shop", name="items")
FIELDS = (
    Field(name="id", type=pa.int64(), nullable=False),
    Field(name="name", type=pa.string()),
    Field(name="amount", type=pa.decimal128(12, 2)),
    Field(name="seen_at", type=pa.timestamp("us", tz="UTC")),
)
Row = tuple[Any, ...]


class DestinationDriver(Protocol):
    """How the suite reaches one destination. ``gaps``: test name -> why the destination cannot."""

    gaps: dict[str, str]

    def reference(self) -> ConnectorReference:
        """The configuration of a fresh, empty system; the same system at every call within one test."""
        ...

    def rows(self, columns: Sequence[str]) -> list[Row] | None:
        """What a reader sees of the stream ``shop.items``, without the connector's help: values as Python objects,
        columns missing there as None; None when there is nothing at all."""
        ...

    def quarantined(self) -> int:
        """How many rows lie in quarantine, without the connector's help."""
        ...


def made_rows(ids: Sequence[int], version: str = "") -> list[Row]:
    """Rows with some awkward values."""
    names: tuple[str | None, ...] = (None, "", "plain", 'quo"ted, line\nbreak', "ünï\\N")
    return [
        (
            i,
            f"{version}{names[i % 5]}" if names[i % 5] is not None else None,
            Decimal(i) / 4,
            datetime(2026, 1, 1, 0, 0, i % 60, 123456, tzinfo=UTC),
        )
        for i in ids
    ]


class Flow:
    """One attempt on one stream, by hand: what the engine does, step by step."""

    def __init__(self, driver: DestinationDriver, folder: Path, fields: Sequence[Field] = FIELDS) -> None:
        context = ConnectorContext(connection="conformance", work_dir=folder, concurrency=2)
        self.destination: Destination = open_destination(driver.reference(), context)
        self.fields = tuple(fields)
        self.entry: LedgerEntry = self.destination.fence("conformance", STREAM)
        self.checkpoint = self.entry.checkpoint
        self.token = self.entry.token
        self._begun = False

    def close(self) -> None:
        self.destination.close()

    def target(self, write: WriteMode, generation: int, *, dedupe: bool = False) -> StreamTarget:
        keyed = write is WriteMode.MERGE or dedupe
        return StreamTarget(
            connection="conformance",
            stream=STREAM,
            schema=StreamSchema(fields=self.fields),
            write=write,
            generation=generation,
            sync_id="sync1",
            sync_date=date(2026, 1, 2),
            primary_key=("id",) if keyed else (),
            cursor_field="seen_at" if keyed else None,
            dedupe=dedupe,
        )

    def begin(self, write: WriteMode, partitions: int = 2, *, dedupe: bool = False) -> list[Staged]:
        """Commit a plan and prepare for it. Each plan after the first is an attempt of its own: one plan, one token."""
        if self._begun:
            self.token = self.destination.fence("conformance", STREAM).token
        self._begun = True
        generation = self.checkpoint.generation + (write is WriteMode.REPLACE)
        self.now = self.target(write, generation, dedupe=dedupe)
        parts = tuple(Partition(id=f"p{i}", bounds={"i": i}) for i in range(partitions))
        plan = ReadPlan(id=f"plan{self.checkpoint.sequence}", partitions=parts, end={"cursor": "end"})
        self.advance(phase=Phase.READING, plan=plan, write=write, done=frozenset(), generation=generation)
        return self.destination.prepare(self.now, self.checkpoint, self.token)

    def advance(self, staged: Sequence[Staged] = (), *, publish: bool = False, **changes: Any) -> None:
        following = self.checkpoint.next(schema=self.now.schema, **changes)
        self.destination.commit(self.now, list(staged), following, self.token, publish=publish)
        self.checkpoint = following

    def stage(self, partition: str, rows: Sequence[Row], misfits: Sequence[Misfit] = ()) -> Staged:
        writer = self.destination.writer(self.now, partition, self.token)
        schema = StreamSchema(fields=self.fields).arrow()
        for start in range(0, max(1, len(rows)), 3):
            part = rows[start : start + 3]
            arrays = [pa.array([r[i] for r in part], type=f.type) for i, f in enumerate(schema)]
            own = tuple(
                Misfit(row=m.row - start, column=m.column, text=m.text, reason=m.reason)
                for m in misfits
                if start <= m.row < start + 3
            )
            if part:
                writer.write(Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema), misfits=own))
        staged = writer.seal()
        assert staged.rows + staged.quarantined == len(rows)
        return Staged.from_json(staged.to_json())

    def commit(self, *staged: Staged) -> None:
        self.advance(staged, done=self.checkpoint.done | {s.partition for s in staged})

    def publish(self) -> None:
        self.advance(
            publish=True, phase=Phase.IDLE, plan=None, write=None, done=frozenset(), position={"cursor": "end"}
        )

    def load(self, write: WriteMode, rows: Sequence[Row], *, dedupe: bool = False) -> None:
        """A whole plan of two partitions."""
        self.begin(write, dedupe=dedupe)
        half = len(rows) // 2
        self.commit(self.stage("p0", rows[:half]))
        self.commit(self.stage("p1", rows[half:]))
        self.publish()


def _names() -> list[str]:
    return [f.name for f in FIELDS]


def _sorted(rows: Sequence[Row] | None) -> list[Row]:
    assert rows is not None, "the stream is not there at all"
    return sorted(rows, key=lambda r: (r[0], str(r[1:])))


class DestinationConformance:
    """Subclass it in ``tests/conformance/test_NAME.py`` and define the ``driver`` fixture."""

    @pytest.fixture(autouse=True)
    def _declared_gaps(self, driver: DestinationDriver, request: pytest.FixtureRequest) -> None:
        name = request.node.originalname or request.node.name
        if name in driver.gaps:
            failures = (SynclineError, AssertionError, pytest.fail.Exception)
            request.applymarker(pytest.mark.xfail(reason=driver.gaps[name], strict=True, raises=failures))

    @pytest.fixture
    def flow(self, driver: DestinationDriver, tmp_path: Path) -> Iterator[Flow]:
        with closing(Flow(driver, tmp_path / "work")) as opened:
            yield opened

    def test_a_fresh_system_passes_its_check(self, driver: DestinationDriver, tmp_path: Path) -> None:
        context = ConnectorContext(connection="conformance", work_dir=tmp_path / "work")
        with closing(open_destination(driver.reference(), context)) as destination:
            assert [f for f in destination.check() if f.severity is Severity.ERROR] == []

    def test_the_ledger_of_an_unknown_stream_is_empty(self, driver: DestinationDriver, tmp_path: Path) -> None:
        context = ConnectorContext(connection="conformance", work_dir=tmp_path / "work")
        with closing(open_destination(driver.reference(), context)) as destination:
            assert destination.committed("conformance", STREAM) is None
            entry = destination.fence("conformance", STREAM)
            assert (entry.token, entry.checkpoint) == (1, StreamCheckpoint())

    def test_each_fence_gives_the_next_token(self, driver: DestinationDriver, flow: Flow, tmp_path: Path) -> None:
        with closing(Flow(driver, tmp_path / "other")) as second:
            assert second.token == flow.token + 1
            entry = second.destination.committed("conformance", STREAM)
            assert entry is not None
            assert entry.token == second.token

    def test_replace_is_invisible_until_published(self, driver: DestinationDriver, flow: Flow) -> None:
        flow.load(WriteMode.REPLACE, made_rows(range(10)))
        assert _sorted(driver.rows(_names())) == made_rows(range(10))
        flow.begin(WriteMode.REPLACE)
        flow.commit(flow.stage("p0", made_rows(range(20, 24))))
        flow.commit(flow.stage("p1", made_rows(range(24, 27))))
        assert _sorted(driver.rows(_names())) == made_rows(range(10)), "the old data must stay until the new is whole"
        flow.publish()
        assert _sorted(driver.rows(_names())) == made_rows(range(20, 27))

    def test_append_adds(self, driver: DestinationDriver, flow: Flow) -> None:
        flow.load(WriteMode.APPEND, made_rows(range(4)))
        flow.load(WriteMode.APPEND, made_rows(range(4)))
        assert _sorted(driver.rows(_names())) == _sorted(made_rows(range(4)) * 2)

    def test_merge_replaces_by_key(self, driver: DestinationDriver, flow: Flow) -> None:
        if SyncMode.INCREMENTAL_DEDUPED_HISTORY not in flow.destination.traits.modes:
            assert flow.destination.traits.refusals[SyncMode.INCREMENTAL_DEDUPED_HISTORY]
            pytest.skip("refuses deduped history, and says why")
        flow.load(WriteMode.REPLACE, made_rows(range(10)), dedupe=True)
        changed = made_rows([3, 4, 50], "new ")
        flow.load(WriteMode.MERGE, changed)
        expected = {r[0]: r for r in [*made_rows(range(10)), *changed]}
        assert _sorted(driver.rows(_names())) == _sorted(list(expected.values()))

    def test_a_deduped_replace_keeps_the_newest_of_each_key(self, driver: DestinationDriver, flow: Flow) -> None:
        if SyncMode.FULL_REFRESH_OVERWRITE_DEDUPED not in flow.destination.traits.modes:
            assert flow.destination.traits.refusals[SyncMode.FULL_REFRESH_OVERWRITE_DEDUPED]
            pytest.skip("refuses deduped overwrite, and says why")
        old, new = made_rows([1, 2, 3]), [(2, "newest", Decimal("9.00"), datetime(2027, 1, 1, tzinfo=UTC))]
        flow.load(WriteMode.REPLACE, [*new, *old], dedupe=True)
        assert _sorted(driver.rows(_names())) == _sorted([old[0], new[0], old[2]])

    def test_an_empty_stream_is_there_and_empty(self, driver: DestinationDriver, flow: Flow) -> None:
        flow.load(WriteMode.REPLACE, made_rows(range(3)))
        flow.begin(WriteMode.REPLACE, partitions=0)
        flow.publish()
        assert not driver.rows(_names())
        entry = flow.destination.committed("conformance", STREAM)
        assert entry is not None
        assert entry.checkpoint.phase is Phase.IDLE

    def test_what_was_not_committed_is_not_there(self, driver: DestinationDriver, flow: Flow, tmp_path: Path) -> None:
        """A stage of a dead attempt is garbage, or comes back from ``prepare`` for the same plan; never both."""
        flow.begin(WriteMode.REPLACE)
        flow.commit(flow.stage("p0", made_rows(range(3))))
        flow.stage("p1", made_rows(range(3, 6)))
        with closing(Flow(driver, tmp_path / "second")) as second:
            assert second.checkpoint == flow.checkpoint
            second.now = second.target(WriteMode.REPLACE, second.checkpoint.generation)
            recovered = second.destination.prepare(second.now, second.checkpoint, second.token)
            assert [s.partition for s in recovered] in ([], ["p1"])
            second.commit(*(recovered or [second.stage("p1", made_rows(range(3, 6)))]))
            second.publish()
        assert _sorted(driver.rows(_names())) == made_rows(range(6))

    def test_an_older_token_is_refused(self, driver: DestinationDriver, flow: Flow, tmp_path: Path) -> None:
        flow.begin(WriteMode.APPEND)
        staged = flow.stage("p0", made_rows(range(3)))
        with closing(Flow(driver, tmp_path / "second")) as second:
            with pytest.raises(SynclineError) as caught:
                flow.commit(staged)
            assert caught.value.kind is ErrorKind.CONFLICT
            second.now = second.target(WriteMode.APPEND, second.checkpoint.generation)
            recovered = second.destination.prepare(second.now, second.checkpoint, second.token)
            second.commit(*(recovered or [second.stage("p0", made_rows(range(3)))]))
            second.publish()
        assert _sorted(driver.rows(_names())) == made_rows(range(3))

    def test_a_sequence_is_taken_once(self, flow: Flow) -> None:
        flow.begin(WriteMode.APPEND)
        before = flow.checkpoint
        flow.advance()
        flow.checkpoint = before
        with pytest.raises(SynclineError) as caught:
            flow.advance()
        assert caught.value.kind is ErrorKind.CONFLICT

    def test_an_aborted_writer_leaves_nothing(self, driver: DestinationDriver, flow: Flow) -> None:
        flow.begin(WriteMode.APPEND)
        writer = flow.destination.writer(flow.now, "p0", flow.token)
        schema = flow.now.schema.arrow()
        writer.write(Batch(data=pa.RecordBatch.from_pylist([{"id": 1}], schema=schema)))
        writer.abort()
        writer.abort()
        flow.commit(flow.stage("p0", made_rows(range(2))))
        flow.publish()
        assert _sorted(driver.rows(_names())) == made_rows(range(2))

    def test_a_misfit_goes_beside_and_is_counted(self, driver: DestinationDriver, flow: Flow) -> None:
        flow.begin(WriteMode.REPLACE, partitions=1)
        rows = made_rows(range(7))
        rows[4] = (4, "nan", None, rows[4][3])
        staged = flow.stage("p0", rows, [Misfit(row=4, column="amount", text="NaN", reason="not a number")])
        assert (staged.rows, staged.quarantined) == (6, 1)
        assert driver.quarantined() == 0, "quarantine is committed with the data, not before"
        flow.commit(staged)
        flow.publish()
        assert _sorted(driver.rows(_names())) == _sorted([r for r in rows if r[0] != 4])
        assert driver.quarantined() == 1

    def test_an_added_column_appears_and_a_dropped_one_stays(
        self, driver: DestinationDriver, flow: Flow, tmp_path: Path
    ) -> None:
        flow.load(WriteMode.APPEND, made_rows(range(2)))
        changed = (FIELDS[0], FIELDS[2], FIELDS[3], Field(name="extra", type=pa.string()))
        with closing(Flow(driver, tmp_path / "second", changed)) as second:
            rows = [(9, Decimal("1.50"), datetime(2026, 1, 1, tzinfo=UTC), "x")]
            second.load(WriteMode.APPEND, rows)
        seen = _sorted(driver.rows([*_names(), "extra"]))
        assert seen == [*[(*r, None) for r in made_rows(range(2))], (9, None, Decimal("1.50"), rows[0][2], "x")]

    def test_an_unsafe_retype_stops_the_stream(self, driver: DestinationDriver, flow: Flow, tmp_path: Path) -> None:
        flow.load(WriteMode.APPEND, made_rows(range(2)))
        retyped = (FIELDS[0], Field(name="name", type=pa.bool_()), FIELDS[2], FIELDS[3])
        with closing(Flow(driver, tmp_path / "second", retyped)) as second:
            with pytest.raises(SynclineError) as caught:
                second.begin(WriteMode.APPEND)
            assert caught.value.kind is ErrorKind.SCHEMA
            assert caught.value.hint
        assert _sorted(driver.rows(_names())) == made_rows(range(2))

    def test_state_moves_without_data(self, driver: DestinationDriver, flow: Flow) -> None:
        flow.load(WriteMode.APPEND, made_rows(range(2)))
        flow.advance(position={"cursor": "elsewhere"})
        entry = flow.destination.committed("conformance", STREAM)
        assert entry is not None
        assert entry.checkpoint == flow.checkpoint
        assert entry.checkpoint.position == {"cursor": "elsewhere"}
        assert _sorted(driver.rows(_names())) == made_rows(range(2))
