"""What every source must do, whatever it reads from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import SelectedStream, Stream, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.findings import Severity
from syncline.sdk.reference import ConnectorReference, open_source
from syncline.sdk.source import Source

__all__ = ["Rows", "SourceConformance", "SourceDriver", "sample_rows"]

Rows = list[tuple[int, str | None]]


class SourceDriver(Protocol):
    """How the suite reaches one source. The stream has at least an integer ``id`` and a text ``name``; ``stream`` is
    its name as ``discover`` gives it. ``cursor_field`` is None for a source-defined cursor."""

    stream: str
    cursor_field: str | None

    def reference(self) -> ConnectorReference:
        """The configuration of this test's own system."""
        ...

    def fill(self, rows: Rows) -> None:
        """Make the stream with these rows."""
        ...

    def add(self, rows: Rows) -> None:
        """Add rows later than all before, by the source's cursor."""
        ...


def sample_rows(ids: Sequence[int]) -> Rows:
    """A row for each id, with names that are easily spoiled."""
    names: tuple[str | None, ...] = (None, "", "plain", 'quo"ted, line\nbreak', "ünï\\N")
    return [(i, names[i % 5]) for i in ids]


class SourceConformance:
    """Subclass it in ``tests/conformance/test_NAME.py`` and define the ``driver`` fixture."""

    @pytest.fixture
    def source(self, driver: SourceDriver, tmp_path: Path) -> Iterator[Source]:
        driver.fill(sample_rows(range(2000)))
        context = ConnectorContext(connection="conformance", work_dir=tmp_path / "work", concurrency=2)
        with closing(open_source(driver.reference(), context)) as opened:
            yield opened

    def _select(self, driver: SourceDriver, source: Source, mode: SyncMode) -> SelectedStream:
        stream: Stream = next(s for s in source.discover().streams if s.name.name == driver.stream)
        cursor = driver.cursor_field if mode.incremental else None
        return SelectedStream(stream=stream, sync_mode=mode, cursor_field=cursor, primary_key=stream.primary_key)

    def _read(self, source: Source, selected: SelectedStream, plan: ReadPlan) -> Rows:
        assert ReadPlan.from_json(plan.to_json()) == plan, "a plan is plain JSON"
        return [row for p in plan.partitions for row in self._partition(source, selected, p)]

    def _partition(self, source: Source, selected: SelectedStream, partition: Partition) -> Rows:
        found: Rows = []
        for batch in source.read(selected, partition):
            assert batch.data.schema.equals(selected.stream.schema.arrow()), "batches have the agreed schema"
            batch.data.validate(full=True)
            ids, names = batch.data.column("id").to_pylist(), batch.data.column("name").to_pylist()
            found += list(zip(ids, names, strict=True))
        return found

    def test_check_finds_no_error(self, source: Source) -> None:
        assert [f for f in source.check() if f.severity is Severity.ERROR] == []

    def test_discover_is_stable_and_plain(self, source: Source) -> None:
        catalog = source.discover()
        assert catalog == source.discover()
        assert [s.name for s in catalog.streams] == sorted(s.name for s in catalog.streams)
        for stream in catalog.streams:
            assert Stream.from_json(stream.to_json()) == stream

    def test_a_snapshot_has_each_row_once(self, driver: SourceDriver, source: Source) -> None:
        selected = self._select(driver, source, SyncMode.FULL_REFRESH_OVERWRITE)
        assert sorted(self._read(source, selected, source.snapshot(selected)), key=str) == sorted(
            sample_rows(range(2000)), key=str
        )

    def test_a_partition_can_be_read_again(self, driver: SourceDriver, source: Source) -> None:
        selected = self._select(driver, source, SyncMode.FULL_REFRESH_OVERWRITE)
        partition = source.snapshot(selected).partitions[0]
        assert sorted(self._partition(source, selected, partition), key=str) == sorted(
            self._partition(source, selected, partition), key=str
        )

    def test_a_reader_can_stop_early(self, driver: SourceDriver, source: Source) -> None:
        selected = self._select(driver, source, SyncMode.FULL_REFRESH_OVERWRITE)
        plan = source.snapshot(selected)
        batches = cast(Any, source.read(selected, plan.partitions[0]))
        next(batches)
        batches.close()
        assert len(self._read(source, selected, plan)) == 2000

    def test_incremental_reads_what_is_new_and_only_that(self, driver: SourceDriver, source: Source) -> None:
        selected = self._select(driver, source, SyncMode.INCREMENTAL_APPEND)
        first = source.snapshot(selected)
        assert len(self._read(source, selected, first)) == 2000
        nothing = source.read_since(selected, first.end)
        assert self._read(source, selected, nothing) == []
        driver.add(sample_rows(range(2000, 2003)))
        second = source.read_since(selected, nothing.end)
        assert sorted(self._read(source, selected, second), key=str) == sorted(sample_rows(range(2000, 2003)), key=str)
        assert self._read(source, selected, source.read_since(selected, second.end)) == []
        source.acknowledge(selected, second.end)
        source.acknowledge(selected, second.end)

    def test_an_empty_stream_is_read_to_its_end(self, driver: SourceDriver, tmp_path: Path) -> None:
        driver.fill([])
        context = ConnectorContext(connection="conformance", work_dir=tmp_path / "work")
        with closing(open_source(driver.reference(), context)) as source:
            selected = self._select(driver, source, SyncMode.FULL_REFRESH_OVERWRITE)
            assert self._read(source, selected, source.snapshot(selected)) == []
