"""What is read once is given whole to each taker, and the slow do not hold the quick."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.fanout import recording as module
from syncline.engine.fanout.recording import Item, Recording

#: Nine files of a recording, each so small that nobody waits for a disk.
MANY, KIB = 300, 1 << 10


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEGMENT_BYTES", 32 * KIB)
    monkeypatch.setattr(module, "_AHEAD_BYTES", 64 * KIB)


def _item(number: int, rows: int = 1) -> Item:
    return {"n": number}, pa.record_batch({"v": pa.array(range(number, number + rows), pa.int64())})


def _large(number: int) -> Item:
    return _item(number, rows=128)  # 1 KiB, and what says so


def _numbers(items: Iterator[Item]) -> list[int]:
    return [int(header["n"]) for header, _ in items]


def test_each_taker_gets_everything_and_the_source_is_read_once(tmp_path: Path) -> None:
    reads = []

    def read() -> Iterator[Item]:
        reads.append(1)
        yield from (_item(n) for n in range(50))
        yield {"n": 50}, None

    recording = Recording(tmp_path / "1", read)
    first = list(recording.items())
    second = list(recording.items())
    assert [(h, None if d is None else d.to_pydict()) for h, d in first] == [
        (h, None if d is None else d.to_pydict()) for h, d in second
    ]
    assert _numbers(iter(first)) == list(range(51))
    assert reads == [1]
    recording.drop()
    assert not (tmp_path / "1").exists()


def test_a_taker_that_stops_holds_nobody(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "1", lambda: (_large(n) for n in range(MANY)))
    slow = recording.items()
    next(slow)
    assert _numbers(recording.items()) == list(range(MANY))
    cast(Any, slow).close()
    recording.drop()


def test_a_taker_that_dies_does_not_end_the_reading_of_others(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "1", lambda: (_item(n) for n in range(1000)))
    leader, other = recording.items(), recording.items()
    next(leader)
    next(other)
    cast(Any, leader).close()
    assert len(_numbers(other)) == 999
    recording.drop()


def test_nobody_left_ends_the_reading(tmp_path: Path) -> None:
    ended = threading.Event()

    def read() -> Iterator[Item]:
        try:
            yield from (_large(n) for n in range(100_000))
        finally:
            ended.set()

    recording = Recording(tmp_path / "1", read)
    with closing(cast(Any, recording.items())) as items:
        next(items)
    assert ended.wait(30), "it went on for nobody"
    assert not recording.usable
    recording.drop()


def test_an_error_comes_after_all_that_was_read_to_each_taker(tmp_path: Path) -> None:
    def read() -> Iterator[Item]:
        yield _item(1)
        raise SynclineError(ErrorKind.UNREACHABLE, "the source went away")

    recording = Recording(tmp_path / "1", read)
    takers = [recording.items(), recording.items()]
    for taker in takers:
        assert next(taker)[0] == {"n": 1}
    for taker in takers:
        with pytest.raises(SynclineError, match="went away") as caught:
            next(taker)
        assert caught.value.kind is ErrorKind.UNREACHABLE
    assert not recording.usable
    recording.drop()


def test_over_the_budget_the_slow_one_is_told_to_read_by_itself(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "1", lambda: (_large(n) for n in range(MANY)))
    slow, quick = recording.items(), recording.items()
    next(slow)
    assert len(_numbers(quick)) == MANY
    before = recording.bytes
    assert recording.give_up(100 * KIB) >= 100 * KIB
    assert recording.bytes <= before - (100 * KIB)
    assert not recording.usable, "somebody new would miss its beginning"
    with pytest.raises(SynclineError, match="too slow") as caught:
        _numbers(slow)
    assert caught.value.policy.retry
    recording.drop()


def test_files_that_all_have_passed_go_once_nobody_else_is_expected(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "1", lambda: (_large(n) for n in range(MANY)))
    items = recording.items()
    for _ in range(MANY - 1):
        next(items)
    kept = recording.bytes
    assert kept > 200 * KIB
    recording.expect_nobody()
    assert recording.bytes < 100 * KIB, "they stay"
    assert len(_numbers(items)) == 1
    recording.drop()
