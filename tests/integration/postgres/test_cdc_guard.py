"""The source is not hurt: retained log is measured and bounded, and what is durable here is forgotten there."""

from __future__ import annotations

import time

import pytest
from tests.integration.postgres.following import Following

from syncline.connectors.postgres.changes.slot import look_at_slot
from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.events import Event, RetainedWal
from syncline.engine.log_telling import LogTeller

SLOT = "syncline_test"
MEGABYTES = "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series({}, {}) AS i"


@pytest.fixture
def follow(db):
    opened: list[Following] = []
    db.execute("CREATE TABLE t (id int PRIMARY KEY, pad text)")

    def make(**more) -> Following:
        opened.append(Following(db, "t", **more).open())
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def measure(f: Following) -> None:
    f.log.station.guard._measure(f.db.session)


def read_to_its_end(reader) -> None:
    while True:
        reader.read(5)


def test_what_is_kept_is_measured_and_told(db, follow):
    f = follow(max_retained_wal="2 MB")
    told: list[Event] = []
    teller = LogTeller(f.log, told.append)
    db.execute(MEGABYTES.format(1, 1200))
    measure(f)
    teller.tell(None, [], [])
    assert f.log.status().retained_bytes > 10**6
    for number in range(2, 12):
        db.execute(MEGABYTES.format(number * 10000, number * 10000 + 1000))
    measure(f)
    time.sleep(1.1)
    teller.tell(None, [], [])
    levels = [(event.level, event.slot, event.budget) for event in told if isinstance(event, RetainedWal)]
    assert levels == [("half", SLOT, 2_000_000), ("over", SLOT, 2_000_000)]
    assert f.log.status().state == "reserved"
    f.catch_up()
    assert len(f.table("t")) == 1200 + 10 * 1001
    slot = look_at_slot(db.session, SLOT)
    assert slot is not None


def test_drop_policy_saves_the_source_and_stops_with_a_plan(db, follow):
    f = follow(max_retained_wal="2 MB", on_budget="drop_slot_and_plan_resnapshot")
    reader = f.reader()
    for number in range(9):  # the guard's own thread measures too
        if look_at_slot(db.session, SLOT) is None:
            assert number > 5
            break
        db.execute(MEGABYTES.format(number * 10000, number * 10000 + 3000))
        measure(f)
    assert look_at_slot(db.session, SLOT) is None
    with pytest.raises(SynclineError) as caught:
        read_to_its_end(reader)
    assert caught.value.kind is ErrorKind.CONFLICT
    assert "the slot was dropped" in caught.value.message
    assert "syncline state reset" in caught.value.hint
    assert f.log.status().state == "dropped"
    f.close()
    with pytest.raises(SynclineError, match="does not exist any more"):
        f.open()


def test_pause_ends_a_run_that_confirms_nothing_and_leaves_the_slot(db, follow):
    f = follow(max_retained_wal="2 MB", on_budget="pause")
    reader = f.reader()
    db.execute(MEGABYTES.format(1, 6000))
    for _ in range(9):  # the first copy, say: nothing was ever confirmed
        measure(f)
    f.catch_up()
    end = f.log.end()
    for number in range(1, 9):
        db.execute(MEGABYTES.format(number * 10000, number * 10000 + 3000))
        measure(f)
    with pytest.raises(SynclineError) as caught:
        read_to_its_end(reader)
    assert caught.value.kind is ErrorKind.RESOURCE
    assert "nothing could be confirmed" in caught.value.message
    slot = look_at_slot(db.session, SLOT)
    assert slot is not None
    assert slot.confirmed <= end
    f.again().catch_up()
    assert len(f.table("t")) == 6000 + 8 * 3001


def test_one_large_transaction_may_take_its_time(db, follow):
    """Nothing of it is confirmed before its end; paused, the next run would begin with the same transaction again."""
    f = follow(max_retained_wal="2 MB", on_budget="pause")
    db.execute(MEGABYTES.format(1, 10))
    f.catch_up()
    reader = f.reader()
    db.execute(MEGABYTES.format(10_000, 50_000))
    for _ in range(8):
        assert reader.read(5) is not None
        measure(f)
    assert f.log.station.spool.error is None
    f.again().catch_up()
    assert len(f.table("t")) == 10 + 40_001


def test_a_run_that_catches_up_is_not_punished_for_having_been_behind(db, follow):
    f = follow(max_retained_wal="1 MiB", on_budget="drop_slot_and_plan_resnapshot")
    db.execute(MEGABYTES.format(1, 9000))
    for _ in range(3):
        measure(f)
    f.catch_up()
    deadline = time.monotonic() + 30
    while "the server still keeps what is confirmed":
        f.catch_up()
        db.execute("CHECKPOINT")
        if look_at_slot(db.session, SLOT).restart >= next(iter(f.positions.values())).lsn - 2**19:
            break
        time.sleep(0.1)
        assert time.monotonic() < deadline
    for _ in range(7):
        measure(f)
    assert look_at_slot(db.session, SLOT) is not None


def test_a_durable_spool_lets_the_source_forget_while_the_destination_is_away(db, follow):
    f = follow(spool={"durable": True}, max_retained_wal="4 MB")
    db.execute(MEGABYTES.format(1, 5000))
    end = f.log.end()
    deadline = time.monotonic() + 30
    while f.log.status().confirmed < end:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    slot = look_at_slot(db.session, SLOT)
    assert slot is not None
    assert slot.confirmed >= end
    f.catch_up()
    assert len(f.table("t")) == 5000


def test_the_slot_is_never_told_more_than_was_confirmed(db, follow):
    f = follow()
    begin = look_at_slot(db.session, SLOT)
    assert begin is not None
    db.execute(MEGABYTES.format(1, 100))
    f.log.end()
    time.sleep(0.5)
    slot = look_at_slot(db.session, SLOT)
    assert slot is not None
    assert slot.confirmed == begin.confirmed
    f.catch_up()
    deadline = time.monotonic() + 10
    while look_at_slot(db.session, SLOT).confirmed <= begin.confirmed:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    position = next(iter(f.positions.values())).lsn
    assert look_at_slot(db.session, SLOT).confirmed <= position
