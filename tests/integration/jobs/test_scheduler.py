"""Due times become jobs: none is lost, none is answered twice, and nothing overlaps, whatever the server was doing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from tests.integration.jobs.conftest import MakeConnections

from syncline.jobs.known_schedules import KnownSchedules
from syncline.jobs.scheduler import Scheduler
from syncline.service.jobs import start_or_wait
from syncline.store import connections, jobs
from syncline.store.database import Database
from syncline.store.job_values import Job, JobFilter, JobStatus
from syncline.store.paging import Page
from syncline.store.values import ConnectionOptions, Schedule, ScheduledConnection, StoredConnection

MINUTELY = Schedule(kind="cron", cron_expression="* * * * *")
MINUTE = timedelta(minutes=1)
#: In the future, so that nothing real is due meanwhile.
START = datetime(2031, 5, 5, 12, 0, 30, tzinfo=UTC)


def all_jobs(database: Database, connection: UUID | None = None) -> list[Job]:
    with database.read() as tx:
        which = JobFilter(connection_ids=() if connection is None else (connection,), descending=False)
        return list(jobs.jobs_listed(tx, which, Page(limit=None)).items)


def end(database: Database, job: Job, at: datetime, status: JobStatus = JobStatus.SUCCEEDED) -> None:
    with database.write() as tx:
        started = jobs.start(tx, job, at)
        assert started is not None
        assert jobs.settle(tx, started, status, at)


def next_due(scheduler: Scheduler) -> datetime | None:
    return scheduler.next_due_at


def end_all(database: Database, at: datetime) -> None:
    for job in all_jobs(database):
        if job.status is JobStatus.PENDING:
            end(database, job, at)


def test_a_due_time_becomes_a_job_and_the_next_one_another(
    database: Database, make_connections: MakeConnections
) -> None:
    (connection,) = make_connections(database, schedule=MINUTELY, options=ConnectionOptions(priority=3))
    scheduler = Scheduler(database.write)
    assert scheduler.tick(START, jobs_ended=True) == 0
    assert scheduler.next_due_at == START + MINUTE / 2
    assert scheduler.tick(START + MINUTE / 2, jobs_ended=False) == 1
    (job,) = all_jobs(database)
    assert (job.connection_id, job.cause, job.priority) == (connection.id, "schedule", 3)
    assert job.due is not None
    assert (job.due.first, job.due.last, job.due.count) == (START + MINUTE / 2, START + MINUTE / 2, 1)
    assert scheduler.tick(START + MINUTE, jobs_ended=False) == 0
    end_all(database, START + MINUTE)
    assert scheduler.tick(START + 2 * MINUTE, jobs_ended=True) == 1


def test_what_was_due_while_no_server_ran_is_caught_up_by_one_job(
    database: Database, make_connections: MakeConnections
) -> None:
    make_connections(database, schedule=MINUTELY)
    assert Scheduler(database.write).tick(START, jobs_ended=True) == 0
    # Three hours later another server starts.
    scheduler = Scheduler(database.write)
    later = START + timedelta(hours=3)
    assert scheduler.tick(later, jobs_ended=True) == 1
    (job,) = all_jobs(database)
    assert job.cause == "catch_up"
    assert job.due is not None
    assert job.due.count == 180
    end_all(database, later)
    assert scheduler.tick(later + MINUTE / 4, jobs_ended=True) == 0


def test_due_times_wait_for_a_busy_connection_and_become_one_job(
    database: Database, make_connections: MakeConnections
) -> None:
    make_connections(database, schedule=MINUTELY)
    scheduler = Scheduler(database.write)
    scheduler.tick(START, jobs_ended=True)
    scheduler.tick(START + MINUTE, jobs_ended=False)
    (running,) = all_jobs(database)
    with database.write() as tx:
        started = jobs.start(tx, running, START + MINUTE)
    assert started is not None
    for n in range(2, 6):
        assert scheduler.tick(START + n * MINUTE, jobs_ended=False) == 0
    with database.write() as tx:
        jobs.settle(tx, started, JobStatus.SUCCEEDED, START + 5 * MINUTE)
    assert scheduler.tick(START + 5.1 * MINUTE, jobs_ended=True) == 1
    job = all_jobs(database)[-1]
    assert job.due is not None
    assert (job.due.first, job.due.last, job.due.count) == (START + 1.5 * MINUTE, START + 4.5 * MINUTE, 4)


@pytest.mark.parametrize("seed", range(3))
def test_every_due_time_is_in_exactly_one_job(
    sqlite_database: Database, make_connections: MakeConnections, seed: int
) -> None:
    """Servers that come and go, jobs that take long, at random: the jobs' due times join without gap or overlap."""
    chance = random.Random(seed)
    (connection,) = make_connections(sqlite_database, schedule=MINUTELY)
    scheduler = Scheduler(sqlite_database.write)
    at = START
    scheduler.tick(at, jobs_ended=True)
    running: list[Job] = []
    for _ in range(300):
        at += timedelta(seconds=chance.choice([1, 20, 61, 400]))
        if chance.random() < 0.2:
            scheduler = Scheduler(sqlite_database.write)  # the server was killed and another one started
        if running and chance.random() < 0.4:
            with sqlite_database.write() as tx:
                jobs.settle(tx, running.pop(), chance.choice([JobStatus.SUCCEEDED, JobStatus.FAILED]), at)
        scheduler.tick(at, jobs_ended=True)
        with sqlite_database.write() as tx:
            running += [started for job in jobs.ready(tx, at) if (started := jobs.start(tx, job, at)) is not None]
    due = [job.due for job in all_jobs(sqlite_database, connection.id)]
    first = START + MINUTE / 2
    count = 0
    for each in due:
        assert each is not None
        assert each.first == first + count * MINUTE
        count += each.count
        assert each.last == first + (count - 1) * MINUTE
    assert count > 100


def test_a_changed_schedule_begins_anew_and_an_inactive_one_ends(
    database: Database, make_connections: MakeConnections
) -> None:
    (connection,) = make_connections(database, schedule=MINUTELY)
    scheduler = Scheduler(database.write)
    scheduler.tick(START, jobs_ended=True)
    with database.write() as tx:
        hourly = Schedule(kind="cron", cron_expression="0 * * * *")
        connections.change(tx, replace(connection, schedule=hourly))
    assert scheduler.tick(START + MINUTE, jobs_ended=False) == 0
    assert next_due(scheduler) == datetime(2031, 5, 5, 13, tzinfo=UTC)
    with database.write() as tx:
        connections.set_status(tx, connection.id, "inactive")
    assert scheduler.tick(START + timedelta(hours=2), jobs_ended=False) == 0
    assert next_due(scheduler) is None
    with database.write() as tx:
        connections.set_status(tx, connection.id, "active")
    # What would have been due while it was inactive is nobody's.
    assert scheduler.tick(START + timedelta(hours=3), jobs_ended=False) == 0
    assert all_jobs(database) == []


def test_a_thousand_connections_that_are_due_together(
    sqlite_database: Database, make_connections: MakeConnections
) -> None:
    make_connections(sqlite_database, 1000, schedule=MINUTELY)
    scheduler = Scheduler(sqlite_database.write)
    scheduler.tick(START, jobs_ended=True)
    assert scheduler.tick(START + MINUTE, jobs_ended=False) == 1000
    found = all_jobs(sqlite_database)
    assert len({job.connection_id for job in found}) == 1000
    assert scheduler.tick(START + MINUTE, jobs_ended=True) == 0


def test_what_has_not_changed_is_not_read_again(database: Database, make_connections: MakeConnections) -> None:
    one, other = make_connections(database, 2, schedule=MINUTELY)
    known = KnownSchedules()
    with database.read() as tx:
        first = known.refreshed(tx)
    with database.write() as tx:
        connections.change(tx, replace(one, schedule=Schedule()))
        connections.change(tx, replace(other, schedule=Schedule(kind="cron", cron_expression="0 0 * * *")))
    with database.read() as tx:
        second = known.refreshed(tx)
        assert second[other.id].schedule.cron_expression == "0 0 * * *"
        assert first[other.id].schedule == MINUTELY
        assert one.id not in second
        assert known.refreshed(tx)[other.id] is second[other.id]


def after(how: str, parents: Sequence[StoredConnection], on: str = "success") -> Schedule:
    return Schedule(kind="after", after={how: [str(p.id) for p in parents], "on": on})


class Chain:
    """Two parents that are started by hand, and a child that comes after them."""

    def __init__(self, database: Database, make: MakeConnections, how: str, on: str = "success") -> None:
        self.database = database
        self.one, self.other = make(database, 2)
        (self.child,) = make(database, schedule=after(how, [self.one, self.other], on))
        self.scheduler = Scheduler(database.write)
        self.at = START
        self.tick()

    def tick(self) -> int:
        self.at += timedelta(seconds=1)
        return self.scheduler.tick(self.at, jobs_ended=True)

    def run(self, connection: StoredConnection, status: JobStatus = JobStatus.SUCCEEDED) -> int:
        """How many jobs of the child that run made."""
        with self.database.write() as tx:
            job = start_or_wait(tx, connection, "api", "test")
        assert job is not None
        end(self.database, job, self.at, status)
        return self.tick()

    def end_child(self) -> None:
        (job,) = [j for j in all_jobs(self.database, self.child.id) if j.status.active]
        end(self.database, job, self.at)
        self.tick()


def test_fan_in_waits_for_all(database: Database, make_connections: MakeConnections) -> None:
    chain = Chain(database, make_connections, "all")
    assert chain.run(chain.one) == 0
    assert chain.run(chain.one) == 0
    assert chain.run(chain.other) == 1
    chain.end_child()
    # The next round needs both again.
    assert chain.run(chain.other) == 0
    assert chain.run(chain.one) == 1
    assert {job.cause for job in all_jobs(database, chain.child.id)} == {"after"}


def test_any_of_them_is_enough_where_it_says_so(database: Database, make_connections: MakeConnections) -> None:
    chain = Chain(database, make_connections, "any")
    assert chain.run(chain.other) == 1
    chain.end_child()
    assert chain.run(chain.one) == 1


def test_a_fallback_comes_after_failure_only(database: Database, make_connections: MakeConnections) -> None:
    chain = Chain(database, make_connections, "any", "failure")
    assert chain.run(chain.one) == 0
    assert chain.run(chain.one, JobStatus.CANCELLED) == 0
    assert chain.run(chain.one, JobStatus.FAILED) == 1


def test_success_after_failure_counts_for_fan_in(database: Database, make_connections: MakeConnections) -> None:
    chain = Chain(database, make_connections, "all")
    assert chain.run(chain.one, JobStatus.FAILED) == 0
    assert chain.run(chain.other) == 0
    assert chain.run(chain.one) == 1


def test_an_end_that_no_server_saw_is_noticed_by_the_next(
    database: Database, make_connections: MakeConnections
) -> None:
    chain = Chain(database, make_connections, "any")
    with database.write() as tx:
        job = start_or_wait(tx, chain.one, "api", "test")
    assert job is not None
    end(database, job, chain.at)
    assert Scheduler(database.write).tick(chain.at + MINUTE, jobs_ended=True) == 1


def test_a_child_that_is_busy_runs_again_when_it_is_free(database: Database, make_connections: MakeConnections) -> None:
    chain = Chain(database, make_connections, "any")
    assert chain.run(chain.one) == 1
    assert chain.run(chain.one) == 0
    assert chain.run(chain.other) == 0
    chain.end_child()
    found = all_jobs(database, chain.child.id)
    assert [job.status for job in found] == [JobStatus.SUCCEEDED, JobStatus.PENDING]
    assert found[1].due is not None
    assert found[1].due.count == 2


def test_a_connection_that_follows_its_log_always_has_a_job(
    database: Database, make_connections: MakeConnections
) -> None:
    make_connections(database, schedule=Schedule(kind="continuous"))
    scheduler = Scheduler(database.write)
    assert scheduler.tick(START, jobs_ended=True) == 1
    (job,) = all_jobs(database)
    assert job.cause == "continuous"
    end(database, job, START)
    assert scheduler.tick(START + timedelta(seconds=1), jobs_ended=True) == 1
    # After an error that does not pass it is not started in a circle.
    end(database, all_jobs(database)[-1], START + timedelta(seconds=2), JobStatus.FAILED)
    assert scheduler.tick(START + timedelta(seconds=3), jobs_ended=True) == 0
    assert scheduler.tick(START + timedelta(seconds=70), jobs_ended=True) == 1


def test_an_arrival_of_files_starts_a_job_and_nothing_new_does_not(
    database: Database, make_connections: MakeConnections
) -> None:
    (connection,) = make_connections(database, schedule=Schedule(kind="after", after={"files": {"every_seconds": 60}}))
    asked: list[ScheduledConnection] = []
    scheduler = Scheduler(database.write, asked.append)
    scheduler.tick(START, jobs_ended=True)
    assert [each.id for each in asked] == [connection.id]
    scheduler.files_found(connection.id, "", START)
    assert scheduler.tick(START, jobs_ended=True) == 0
    scheduler.tick(START + MINUTE, jobs_ended=True)
    assert len(asked) == 2
    scheduler.files_found(connection.id, "one file", START + MINUTE)
    assert scheduler.tick(START + MINUTE, jobs_ended=True) == 1
    end_all(database, START + MINUTE)
    scheduler.files_found(connection.id, "one file", START + 2 * MINUTE)
    assert scheduler.tick(START + 1.5 * MINUTE, jobs_ended=True) == 0
    scheduler.files_found(connection.id, "two files", START + 2 * MINUTE)
    assert scheduler.tick(START + 1.6 * MINUTE, jobs_ended=True) == 1
    assert {job.cause for job in all_jobs(database)} == {"file"}


def test_an_event_waits_for_a_busy_connection_without_a_schedule(
    database: Database, make_connections: MakeConnections
) -> None:
    (connection,) = make_connections(database)
    scheduler = Scheduler(database.write)
    scheduler.tick(START, jobs_ended=True)
    with database.write() as tx:
        assert start_or_wait(tx, connection, "webhook", "test") is not None
        assert start_or_wait(tx, connection, "webhook", "test") is None
        assert start_or_wait(tx, connection, "webhook", "test") is None
    assert scheduler.tick(START + MINUTE, jobs_ended=True) == 0
    end_all(database, START + MINUTE)
    assert scheduler.tick(START + 2 * MINUTE, jobs_ended=True) == 1
    end_all(database, START + 2 * MINUTE)
    assert scheduler.tick(START + 3 * MINUTE, jobs_ended=True) == 0
    assert [job.cause for job in all_jobs(database)] == ["webhook", "webhook"]
