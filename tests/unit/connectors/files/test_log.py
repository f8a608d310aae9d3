"""The log of manifests: its end is found, it stays short, and nobody puts an entry into the past."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from syncline.core.checkpoint import Phase, StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.log import ManifestLog, new_entry_id, read_manifest
from syncline.sdk.files.manifest import EntryKind, LogEntry, Manifest, ManifestFile
from syncline.sdk.files.store import StagedObject

STREAM = StreamName(namespace="public", name="orders")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def log_of(store: Any) -> ManifestLog:
    return ManifestLog(store, "c", STREAM)


def file(number: int) -> ManifestFile:
    staged = StagedObject(key=f"k{number}", upload=f"u{number}", size=10, parts=("a",))
    return ManifestFile(key=f"k{number}", rows=1, bytes=10, generation=1, partition="p", staged=staged)


def commit(before: Manifest, *files: ManifestFile, write: WriteMode = WriteMode.APPEND, **more: Any) -> LogEntry:
    plan = ReadPlan(id="plan", partitions=(Partition(id="p", bounds={"a": 1}),), end={})
    checkpoint = before.checkpoint.next(phase=Phase.READING, plan=plan)
    return LogEntry(
        kind=EntryKind.COMMIT,
        id=new_entry_id(),
        token=before.token,
        checkpoint=checkpoint,
        write=write,
        added=files,
        **more,
    )


def entries(store: LocalStore) -> list[int]:
    return [int(i.key[-25:-5]) for i in store.list("_syncline/c/public.orders/log/")]


def test_an_unknown_stream_has_no_manifest(store: LocalStore) -> None:
    assert read_manifest(store, "c", STREAM) is None
    assert not any(store.root.iterdir())


def test_whole_and_partial_entries_tell_the_same(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncline.sdk.files.log._SMALL", 5)
    log = log_of(store)
    now = log.claim()
    kept = []
    for number in range(120):
        now = log.append(now, commit(now, file(number), published=number > 0, columns={"a": "int64"}))
        kept.append(now)
        if number in (0, 3, 7, 49, 50, 51, 52, 100, 119):
            assert log_of(store).read() == now
    bodies = [json.loads((store.root / i.key).read_text()) for i in store.list("_syncline/c/public.orders/log/")]
    whole = [b["number"] for b in bodies if "manifest" in b]
    assert len(whole) < 15, "most entries are changes"
    assert max(b - a for a, b in itertools.pairwise(whole)) <= 50
    assert all(b["change"]["checkpoint"]["plan"] is None for b in bodies if "change" in b), "plans are not repeated"
    assert len(now.live) == 119
    assert [f.key for f in now.pending] == ["k119"]
    assert now.live[0].staged is None


def test_the_log_stays_short(store: LocalStore) -> None:
    log = log_of(store)
    now = log.claim()
    for _ in range(400):
        now = log.append(now, commit(now))
        log.prune(above=50)
    assert len(entries(store)) <= 52
    assert log_of(store).read() == now


def test_a_stale_or_lost_or_wrong_hint_does_not_matter(store: LocalStore) -> None:
    log = log_of(store)
    now = log.claim()
    for _ in range(60):
        now = log.append(now, commit(now))
    log.prune(above=50)
    hint = store.root / "_syncline/c/public.orders/hint.json"
    assert json.loads(hint.read_text()) == {"number": 61}
    for text in ('{"number": 3}', '{"number": 61}', '{"number": 999}', '{"number": -1}', "", "[]", '{"number": "x"}'):
        hint.write_text(text)
        assert log_of(store).read() == now, text
    hint.unlink()
    assert log_of(store).read() == now


def test_of_two_writers_one_is_refused(store: LocalStore) -> None:
    one = log_of(store)
    mine = one.claim()
    two = log_of(store)
    theirs = two.claim()
    assert (mine.token, theirs.token) == (1, 2)
    with pytest.raises(SynclineError) as caught:
        one.append(mine, commit(mine))
    assert caught.value.kind is ErrorKind.CONFLICT
    assert "its token is 2, ours 1" in str(caught.value)
    two.append(theirs, commit(theirs))


def test_many_claim_at_once(store: LocalStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        tokens = list(pool.map(lambda _: log_of(store).claim().token, range(12)))
    assert len(set(tokens)) == 12
    assert log_of(store).read().token == max(tokens)


def test_a_sleeper_does_not_fill_a_number_that_was_pruned(store: LocalStore) -> None:
    sleeper = log_of(store)
    before = sleeper.claim()
    log = log_of(store)
    now = log.claim()
    for _ in range(120):
        now = log.append(now, commit(now))
        log.prune(above=50)
    assert 2 not in entries(store)  # the number that the sleeper would take is free again
    with pytest.raises(SynclineError) as caught:
        sleeper.append(before, commit(before, file(1)))
    assert caught.value.kind is ErrorKind.CONFLICT
    assert log_of(store).read() == now
    now = log.append(now, commit(now))
    assert log_of(store).claim().token == 3


class LosesAnswers:
    """A store that does what it is told and then says that it did not: the second try meets the first one's object."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._store.put_if_absent(key, data)
        return self._store.put_if_absent(key, data)


def test_a_lost_answer_is_no_conflict(store: LocalStore) -> None:
    log = log_of(LosesAnswers(store))
    now = log.claim()
    now = log.append(now, commit(now, file(1)))
    assert log_of(store).read() == now


def test_a_hole_is_told(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncline.sdk.files.log._SMALL", 0)
    log = log_of(store)
    now = log.claim()
    for _ in range(5):
        now = log.append(now, commit(now, file(1)))
    (store.root / "_syncline/c/public.orders/log/00000000000000000004.json").unlink()
    with pytest.raises(SynclineError, match="has gaps"):
        log_of(store).read()


def test_an_entry_of_a_newer_version_is_refused(store: LocalStore) -> None:
    log_of(store).claim()
    path = store.root / "_syncline/c/public.orders/log/00000000000000000001.json"
    path.write_text(path.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(SynclineError, match="newer version"):
        read_manifest(store, "c", STREAM)


def test_parts_of_a_given_up_generation_are_forgotten() -> None:
    now = Manifest(token=1)
    now = now.after(commit(now, file(1), write=WriteMode.REPLACE))
    assert [f.key for f in now.hidden] == ["k1"]
    now = now.after(commit(now, file(2), write=WriteMode.REPLACE))
    assert [f.key for f in now.hidden] == ["k1", "k2"]
    reset = LogEntry(
        kind=EntryKind.COMMIT, id="x", token=1, checkpoint=StreamCheckpoint(sequence=9), write=WriteMode.REPLACE
    )
    assert now.after(reset).hidden == ()
    other = ReadPlan(id="other", partitions=(), end={})
    entry = commit(now, file(3), write=WriteMode.REPLACE)
    assert entry.checkpoint is not None
    anew = LogEntry(
        kind=EntryKind.COMMIT,
        id="y",
        token=1,
        checkpoint=StreamCheckpoint(generation=2, plan=other, phase=Phase.READING),
        write=WriteMode.REPLACE,
    )
    assert now.after(anew).hidden == ()
