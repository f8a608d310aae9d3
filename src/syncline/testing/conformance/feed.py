"""What every fed source must do, whatever feeds it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pytest

from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream, Stream, StreamName, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.feed import FedBatch, FedDone, FedState, ReadsFeed
from syncline.sdk.findings import Severity
from syncline.sdk.reference import ConnectorReference, open_source
from syncline.sdk.source import Source
from syncline.testing.conformance.source import Rows, sample_rows

__all__ = ["FeedConformance", "FeedDriver"]


class FeedDriver(Protocol):
    """How the suite reaches one fed source. The stream has at least an integer ``id`` and a text ``name``, and can be
    read incrementally. ``gaps`` names tests of the suite that do not hold, each with the reason; one that holds after
    all is a failure."""

    stream: str
    gaps: Mapping[str, str]

    def reference(self) -> ConnectorReference:
        """The configuration of this test's own system."""
        ...

    def fill(self, rows: Rows) -> None:
        """Make the stream with these rows."""
        ...

    def add(self, rows: Rows) -> None:
        """Add rows later than all before, by the source's cursor."""
        ...

    def break_after(self, rows: int) -> None:
        """The source fails once, for good, after about so many rows of the next reading."""
        ...


class Fed:
    """What one feed gave: rows behind each state, and how the stream ended."""

    def __init__(self) -> None:
        self.rows: Rows = []
        self.kept: Rows = []  #: what lies before the newest state
        self.state: Any = None
        self.done: FedDone | None = None
        self.error: SynclineError | None = None


class FeedConformance:
    """Subclass it in ``tests/conformance/test_NAME.py`` and define the ``driver`` fixture."""

    @pytest.fixture(autouse=True)
    def _declared_gaps(self, request: pytest.FixtureRequest, driver: FeedDriver) -> None:
        reason = driver.gaps.get(request.node.originalname)
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "work"

    def _open(self, driver: FeedDriver, folder: Path) -> Source:
        return open_source(driver.reference(), ConnectorContext(connection="conformance", work_dir=folder))

    def _select(self, driver: FeedDriver, source: Source, mode: SyncMode) -> SelectedStream:
        stream: Stream = next(s for s in source.discover().streams if s.name.name == driver.stream)
        cursor = stream.cursor_fields[0] if mode.incremental and stream.cursor_fields else None
        return SelectedStream(stream=stream, sync_mode=mode, cursor_field=cursor, primary_key=stream.primary_key)

    def _feed(self, source: Source, selected: SelectedStream, state: Any = None, *, at_most: int | None = None) -> Fed:
        assert isinstance(source, ReadsFeed)
        found = Fed()
        positions: dict[StreamName, Any] = {} if state is None else {selected.name: state}
        counted = 0
        with closing(source.feed([selected], positions, None)) as feed:
            try:
                for message in feed:
                    match message:
                        case FedBatch():
                            assert message.batch.data.schema.equals(selected.stream.schema.arrow()), "the agreed schema"
                            message.batch.data.validate(full=True)
                            data = message.batch.data
                            ids, names = data.column("id").to_pylist(), data.column("name").to_pylist()
                            found.rows += list(zip(ids, names, strict=True))
                            counted += message.batch.rows
                            if at_most is not None and len(found.rows) >= at_most:
                                break
                        case FedState():
                            assert json.loads(json.dumps(message.position)) == message.position, "a state is plain JSON"
                            if message.records is not None:
                                assert message.records <= counted, "it gave what it says"
                                counted = 0
                            found.state, found.kept = message.position, list(found.rows)
                        case FedDone():
                            found.done = message
                        case _:
                            pass
            except SynclineError as error:
                found.error = error
        return found

    def _all(self, source: Source, selected: SelectedStream, state: Any = None) -> Fed:
        found = self._feed(source, selected, state)
        assert found.error is None
        assert found.done is not None
        assert found.done.error is None
        return found

    @pytest.fixture
    def source(self, driver: FeedDriver, folder: Path) -> Iterator[Source]:
        driver.fill(sample_rows(range(2000)))
        with closing(self._open(driver, folder)) as opened:
            yield opened

    def test_check_finds_no_error(self, source: Source) -> None:
        assert [f for f in source.check() if f.severity is Severity.ERROR] == []

    def test_discover_is_stable_and_plain(self, driver: FeedDriver, source: Source, folder: Path) -> None:
        catalog = source.discover()
        assert catalog == source.discover()
        assert [s.name for s in catalog.streams] == sorted(s.name for s in catalog.streams)
        for stream in catalog.streams:
            assert Stream.from_json(stream.to_json()) == stream
        with closing(self._open(driver, folder)) as other:
            assert other.discover() == catalog

    def test_a_full_reading_has_each_row_once(self, driver: FeedDriver, source: Source) -> None:
        found = self._all(source, self._select(driver, source, SyncMode.FULL_REFRESH_OVERWRITE))
        assert sorted(found.rows, key=str) == sorted(sample_rows(range(2000)), key=str)

    def test_a_reader_can_stop_early(self, driver: FeedDriver, source: Source) -> None:
        selected = self._select(driver, source, SyncMode.FULL_REFRESH_OVERWRITE)
        assert self._feed(source, selected, at_most=1).rows
        assert len(self._all(source, selected).rows) == 2000

    def test_incremental_reads_what_is_new_and_only_that(self, driver: FeedDriver, source: Source) -> None:
        selected = self._select(driver, source, SyncMode.INCREMENTAL_APPEND)
        first = self._all(source, selected)
        assert len(first.rows) == 2000
        assert first.kept == first.rows, "the last state covers everything"
        nothing = self._all(source, selected, first.state)
        assert nothing.rows == []
        driver.add(sample_rows(range(2000, 2003)))
        state = first.state if nothing.state is None else nothing.state
        second = self._all(source, selected, state)
        assert sorted(second.rows, key=str) == sorted(sample_rows(range(2000, 2003)), key=str)
        assert self._all(source, selected, second.state).rows == []

    def test_a_broken_reading_goes_on_from_its_state(self, driver: FeedDriver, source: Source, folder: Path) -> None:
        selected = self._select(driver, source, SyncMode.INCREMENTAL_APPEND)
        driver.break_after(900)
        first = self._feed(source, selected)
        failed = first.error or (first.done.error if first.done is not None else None)
        assert failed is not None, "a stream that was not read to its end is no success"
        assert first.kept, "a state covers what came before"
        with closing(self._open(driver, folder)) as other:
            second = self._all(other, selected, first.state)
        assert sorted(first.kept + second.rows, key=str) == sorted(sample_rows(range(2000)), key=str)

    def test_an_empty_stream_is_read_to_its_end(self, driver: FeedDriver, folder: Path) -> None:
        driver.fill([])
        with closing(self._open(driver, folder)) as source:
            assert self._all(source, self._select(driver, source, SyncMode.FULL_REFRESH_OVERWRITE)).rows == []
