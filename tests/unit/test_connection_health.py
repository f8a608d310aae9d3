"""What a connection is called on a page of all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from syncline.service.overview import Health, expected_every, follows_log, health
from syncline.store.job_values import JobStatus, JobType
from syncline.store.run_history import Run
from syncline.store.values import Schedule, StoredConnection

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def run(status: str, ago: timedelta = HOUR, rows: int = 0) -> Run:
    ended = None if JobStatus(status).active else NOW - ago + timedelta(minutes=1)
    return Run(
        id=1,
        connection_id=uuid4(),
        type=JobType.SYNC,
        status=JobStatus(status),
        created_at=NOW - ago,
        started_at=NOW - ago,
        ended_at=ended,
        updated_at=NOW,
        rows=rows,
        size=0,
        attempts=1,
        error=None,
    )


def connection(kind: str = "manual", status: str = "active") -> StoredConnection:
    return StoredConnection(
        id=uuid4(),
        key="k",
        workspace_id=uuid4(),
        source_id=uuid4(),
        destination_id=uuid4(),
        name="c",
        status=status,  # type: ignore[arg-type]
        schedule=Schedule(kind=kind),  # type: ignore[arg-type]
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    ("runs", "data_age", "expected", "found"),
    [
        ([], None, None, Health.NEVER),
        ([run("running")], None, None, Health.RUNNING),
        ([run("succeeded")], HOUR, None, Health.FRESH),
        ([run("failed")], 2 * HOUR, None, Health.FAILING),
        ([run("running"), run("failed")], 2 * HOUR, None, Health.RUNNING),
        ([run("incomplete"), run("succeeded")], HOUR, None, Health.RETRYING),
        ([run("cancelled"), run("succeeded")], HOUR, None, Health.FRESH),
        ([run("succeeded")], HOUR, HOUR, Health.FRESH),
        ([run("succeeded")], 3 * HOUR, HOUR, Health.LATE),
        # It has just become due, and a run takes a while.
        ([run("running"), run("succeeded")], HOUR + timedelta(minutes=10), HOUR, Health.FRESH),
    ],
)
def test_health(runs: list[Run], data_age: timedelta | None, expected: timedelta | None, found: Health) -> None:
    data_from = None if data_age is None else NOW - data_age
    assert health(connection(), runs, data_from, expected, NOW) is found


def test_paused_is_paused_whatever_happened() -> None:
    assert health(connection(status="inactive"), [run("failed")], None, None, NOW) is Health.PAUSED


def test_one_that_follows_a_log_is_fresh_while_it_runs() -> None:
    assert health(connection("continuous"), [run("running", rows=5)], None, HOUR, NOW) is Health.FRESH
    assert health(connection("continuous"), [run("running")], None, HOUR, NOW) is Health.RUNNING
    assert health(connection("continuous"), [run("failed", rows=5)], NOW - HOUR, HOUR, NOW) is Health.FAILING


@pytest.mark.parametrize(
    ("schedule", "hours"),
    [
        (Schedule(kind="manual"), None),
        (Schedule(kind="basic", units=2, time_unit="hours"), 2),
        (Schedule(kind="cron", cron_expression="0 3 * * *"), 24),
        (Schedule(kind="cron", cron_expression="0 9 * * 1-5"), 72),
    ],
)
def test_a_schedule_promises_its_longest_pause(schedule: Schedule, hours: int | None) -> None:
    assert expected_every(schedule) == (None if hours is None else timedelta(hours=hours))


def test_the_log_is_asked_for_in_either_word() -> None:
    assert follows_log({"replication_method": {"method": "CDC"}})
    assert follows_log({"replication_method": "cdc"})
    assert not follows_log({"replication_method": {"method": "Standard"}})
    assert not follows_log({})
