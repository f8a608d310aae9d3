"""Due times of every kind of schedule, how missed ones are counted, and which jobs fit into the limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from syncline.core.errors import SynclineError
from syncline.jobs.limits import Limits, Room, startable
from syncline.jobs.schedule import due_times, fingerprint, first_due, interval_of, merged, next_due
from syncline.store.job_values import DueTimes, Job, JobStatus, JobType
from syncline.store.values import Schedule

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_a_cron_schedule_begins_with_its_next_time() -> None:
    schedule = Schedule(kind="cron", cron_expression="0 0/15 * * * ?")
    assert first_due(schedule, NOON, None) == NOON + 15 * MINUTE
    assert next_due(schedule, NOON + 15 * MINUTE) == NOON + 30 * MINUTE


def test_an_interval_begins_at_once_or_one_interval_after_the_last_job() -> None:
    schedule = Schedule(kind="basic", units=2, time_unit="hours")
    assert first_due(schedule, NOON, None) == NOON
    assert first_due(schedule, NOON, NOON - 30 * MINUTE) == NOON + 90 * MINUTE
    assert first_due(schedule, NOON, NOON - timedelta(days=3)) == NOON


@pytest.mark.parametrize(
    ("units", "unit", "following"),
    [
        (90, "minutes", datetime(2026, 11, 21, 13, 30, tzinfo=UTC)),
        (3, "days", datetime(2026, 11, 24, 12, tzinfo=UTC)),
        (2, "weeks", datetime(2026, 12, 5, 12, tzinfo=UTC)),
        (3, "months", datetime(2027, 2, 21, 12, tzinfo=UTC)),
    ],
)
def test_intervals(units: int, unit: str, following: datetime) -> None:
    assert next_due(Schedule(kind="basic", units=units, time_unit=unit), NOON) == following


def test_a_month_after_the_31st_is_the_last_day() -> None:
    schedule = Schedule(kind="basic", units=1, time_unit="months")
    assert next_due(schedule, datetime(2027, 1, 31, tzinfo=UTC)) == datetime(2027, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    "schedule",
    [
        *(Schedule(kind="basic", units=52_560_000, time_unit=unit) for unit in ("days", "weeks", "months")),
        Schedule(kind="after", after={"files": {"every_seconds": 1e300}}),
    ],
)
def test_an_interval_beyond_the_calendar_is_never_due_again_and_no_error(schedule: Schedule) -> None:
    """One connection's schedule must not stop those of all others."""
    assert next_due(schedule, NOON) is None
    assert due_times(schedule, NOON, NOON + MINUTE) == (DueTimes(first=NOON, last=NOON, count=1), None)
    assert interval_of(schedule) is None
    if schedule.kind == "basic":
        assert first_due(schedule, NOON, NOON) is None


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(SynclineError, match="fortnights"):
        next_due(Schedule(kind="basic", units=1, time_unit="fortnights"), NOON)


def test_missed_times_are_counted_and_become_one() -> None:
    schedule = Schedule(kind="cron", cron_expression="* * * * *")
    due, following = due_times(schedule, NOON, NOON + 59.5 * MINUTE)
    assert due == DueTimes(first=NOON, last=NOON + 59 * MINUTE, count=60)
    assert following == NOON + 60 * MINUTE


def test_a_time_that_is_just_due_counts() -> None:
    due, following = due_times(Schedule(kind="cron", cron_expression="* * * * *"), NOON, NOON + MINUTE)
    assert due.count == 2
    assert following == NOON + 2 * MINUTE


def test_waiting_times_are_joined() -> None:
    one = DueTimes(first=NOON, last=NOON + MINUTE, count=2)
    other = DueTimes(first=NOON + 5 * MINUTE, last=NOON + 5 * MINUTE)
    assert merged(one, other) == DueTimes(first=NOON, last=NOON + 5 * MINUTE, count=3)
    assert merged(None, other) == other


def test_schedules_that_others_make_due() -> None:
    for schedule in (
        Schedule(),
        Schedule(kind="continuous"),
        Schedule(kind="after", after={"all": [str(uuid4())]}),
    ):
        assert first_due(schedule, NOON, None) is None
    files = Schedule(kind="after", after={"files": {"every_seconds": 10}})
    assert first_due(files, NOON, None) == NOON
    assert next_due(files, NOON) == NOON + timedelta(seconds=10)


def test_a_fingerprint_is_of_the_schedule() -> None:
    one = Schedule(kind="cron", cron_expression="0 3 * * *")
    assert fingerprint(one) == fingerprint(Schedule(kind="cron", cron_expression="0 3 * * *"))
    assert fingerprint(one) != fingerprint(Schedule(kind="cron", cron_expression="0 4 * * *"))
    assert fingerprint(one) != fingerprint(Schedule(kind="cron", cron_expression="0 3 * * *", time_zone="Asia/Tokyo"))


WORKSPACE, SOURCE, DESTINATION = uuid4(), uuid4(), uuid4()


def job(number: int, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": number,
        "type": JobType.SYNC,
        "status": JobStatus.PENDING,
        "connection_id": uuid4(),
        "workspace_id": WORKSPACE,
        "source_id": uuid4(),
        "destination_id": uuid4(),
        "cause": "api",
        "caller": "test",
        "priority": 0,
        "sync_id": str(number),
        "streams": None,
        "retain": False,
        "due": None,
        "created_at": NOON,
        "updated_at": NOON,
        "started_at": None,
        "ended_at": None,
        "not_before": None,
        "cancel_requested_at": None,
        "attempts": 0,
        "failures": 0,
        "rows_synced": 0,
        "bytes_synced": 0,
        "error": None,
    }
    return Job(**{**values, **changes})


def numbers(waiting: list[Job], running: list[Job], slots: int = 10, of: dict[UUID, int] | None = None) -> list[int]:
    room = Room(running, Limits(slots=slots, following_slots=1, of=of or {}))
    return [j.id for j in startable(waiting, room)]


def test_slots_bound_all_jobs_together() -> None:
    assert numbers([job(1), job(2), job(3)], [job(4)], slots=3) == [1, 2]
    assert numbers([job(1)], [job(2), job(3)], slots=2) == []


def test_a_source_that_is_full_keeps_only_its_own_waiting() -> None:
    waiting = [job(1, source_id=SOURCE), job(2, source_id=SOURCE), job(3)]
    assert numbers(waiting, [], of={SOURCE: 1}) == [1, 3]
    assert numbers(waiting, [job(4, source_id=SOURCE)], of={SOURCE: 1}) == [3]


def test_limits_of_workspace_and_destination_hold_together() -> None:
    waiting = [job(1, destination_id=DESTINATION), job(2, destination_id=DESTINATION), job(3), job(4)]
    assert numbers(waiting, [], of={DESTINATION: 1, WORKSPACE: 2}) == [1, 3]


def test_jobs_that_never_end_have_slots_of_their_own() -> None:
    follows = [job(1, cause="continuous"), job(2, cause="continuous"), job(3)]
    assert numbers(follows, [], slots=1) == [1, 3]


def test_the_room_says_what_is_full_before_anybody_asks_for_it() -> None:
    limits = Limits(slots=2, following_slots=1, of={SOURCE: 1, DESTINATION: 2})
    room = Room([job(1, source_id=SOURCE, destination_id=DESTINATION)], limits)
    assert [room.for_others, room.for_following] == [True, True]
    assert room.full == {SOURCE}
    assert room.take(job(2, destination_id=DESTINATION))
    assert [room.for_others, room.for_following] == [False, True]
    assert room.full == {SOURCE, DESTINATION}
    assert room.take(job(3, cause="continuous"))
    assert [room.for_others, room.for_following] == [False, False]
