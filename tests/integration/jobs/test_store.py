"""Jobs in the store: one active job a connection however close the race, whole pages, a lease with one holder."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.jobs.leader import LEASE_SECONDS, Leadership
from syncline.store import attempts, job_events, jobs, leases
from syncline.store.database import Database
from syncline.store.job_values import (
    AttemptStatus,
    Job,
    JobFilter,
    JobStatus,
    JobType,
    NewJob,
    StreamStatus,
)
from syncline.store.paging import Page
from syncline.store.schema import now


def new(connection: UUID, **changes: object) -> NewJob:
    values: dict[str, object] = {
        "connection_id": connection,
        "workspace_id": UUID(int=1),
        "source_id": UUID(int=2),
        "destination_id": UUID(int=3),
        "type": JobType.SYNC,
        "cause": "api",
        "caller": "test",
        "sync_id": uuid4().hex,
    }
    return NewJob(**{**values, **changes})  # type: ignore[arg-type]


def add(database: Database, connection: UUID | None = None, **changes: object) -> Job:
    with database.write() as tx:
        job = jobs.insert(tx, new(connection or uuid4(), **changes), now())
    assert job is not None
    return job


def end(database: Database, job: Job, status: JobStatus = JobStatus.SUCCEEDED) -> Job:
    with database.write() as tx:
        started = jobs.start(tx, job, now()) if job.status is not JobStatus.RUNNING else job
        assert started is not None
        assert jobs.settle(tx, started, status, now())
        found = jobs.find(tx, job.id)
    assert found is not None
    return found


def test_of_many_who_ask_at_once_one_gets_a_job(database: Database) -> None:
    connection = uuid4()
    got: list[Job | None] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        with database.write() as tx:
            got.append(jobs.insert(tx, new(connection), now()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len([job for job in got if job is not None]) == 1
    (made,) = [job for job in got if job is not None]
    end(database, made)
    assert add(database, connection).id > made.id


def test_of_many_who_start_a_job_at_once_one_does(database: Database) -> None:
    job = add(database)
    started: list[Job | None] = []
    barrier = threading.Barrier(6)

    def claim() -> None:
        barrier.wait()
        with database.write() as tx:
            started.append(jobs.start(tx, job, now()))

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([each for each in started if each is not None]) == 1
    with database.read() as tx:
        found = jobs.find(tx, job.id)
    assert found is not None
    assert (found.status, found.attempts) == (JobStatus.RUNNING, 1)


def test_a_job_that_was_cancelled_is_not_started_and_one_that_started_is_not_cancelled_as_waiting(
    database: Database,
) -> None:
    waiting, running = add(database), add(database)
    with database.write() as tx:
        assert jobs.cancel_waiting(tx, waiting, now(), "me")
        assert jobs.start(tx, waiting, now()) is None
        started = jobs.start(tx, running, now())
        assert started is not None
        assert not jobs.cancel_waiting(tx, running, now(), "me")
        assert jobs.ask_to_cancel(tx, started, now(), "me")
        assert not jobs.ask_to_cancel(tx, started, now(), "me")
        assert jobs.to_cancel(tx) == [running.id]


def test_what_is_settled_stays_settled(database: Database) -> None:
    job = end(database, add(database), JobStatus.FAILED)
    with database.write() as tx:
        assert not jobs.settle(tx, Job(**{**vars(job), "status": JobStatus.RUNNING}), JobStatus.SUCCEEDED, now())
        assert jobs.find(tx, job.id) == job


def test_the_queue_is_by_priority_then_age_and_waits_for_its_time(database: Database) -> None:
    first, second, urgent, later = add(database), add(database), add(database, priority=5), add(database)
    at = now()
    with database.write() as tx:
        started = jobs.start(tx, later, at)
        assert started is not None
        jobs.settle(tx, started, JobStatus.INCOMPLETE, at, not_before=at + timedelta(seconds=60), failures=1)
        assert [job.id for job in jobs.ready(tx, at)] == [urgent.id, first.id, second.id]
        assert jobs.next_ready_at(tx, at) == at + timedelta(seconds=60)
        after = at + timedelta(seconds=61)
        assert [job.id for job in jobs.ready(tx, after)] == [urgent.id, first.id, second.id, later.id]


def test_the_head_of_the_queue_is_of_those_that_can_start(database: Database) -> None:
    first, second, third = add(database), add(database), add(database, cause="continuous")
    at = now()
    with database.read() as tx:
        assert [job.id for job in jobs.ready(tx, at, limit=2)] == [first.id, second.id]
        assert [job.id for job in jobs.ready(tx, at, following=True)] == [third.id]
        assert [job.id for job in jobs.ready(tx, at, following=False)] == [first.id, second.id]
        for full in (first.workspace_id, first.source_id, first.destination_id):
            assert first.id not in [job.id for job in jobs.ready(tx, at, full=[full])]
        assert [job.id for job in jobs.ready(tx, at, full=[uuid4()], limit=1)] == [first.id]


def test_attempts_keep_their_streams_and_the_job_their_sums(database: Database) -> None:
    job = add(database)
    with database.write() as tx:
        started = jobs.start(tx, job, now())
        assert started is not None
        attempt = attempts.insert(tx, started, "here", now())
        name = StreamName(namespace="public", name="with.dot")
        status = StreamStatus(stream=name, status="running", rows_read=5, rows_written=3, bytes_read=50)
        attempts.save_streams(tx, attempt.id, {str(name): status})
        attempts.save_streams(tx, attempt.id, {str(name): StreamStatus(**{**vars(status), "rows_written": 4})})
        progress = {**vars(attempt), "rows_written": 4, "bytes_read": 50, "journal_offset": 99}
        attempts.save_progress(tx, attempt.__class__(**progress), now())
        found = jobs.find(tx, job.id)
        (running,) = attempts.running(tx)
    assert found is not None
    assert (found.rows_synced, found.bytes_synced) == (4, 50)
    assert running.journal_offset == 99
    (stream,) = running.streams
    assert (stream.stream, stream.rows_written) == (name, 4)
    with database.write() as tx:
        error = SynclineError(ErrorKind.TRANSIENT, "broken", hint="wait")
        assert attempts.end(tx, running, AttemptStatus.FAILED, now(), error)
        assert not attempts.end(tx, running, AttemptStatus.SUCCEEDED, now())
        (ended,) = attempts.of_jobs(tx, [job.id])[job.id]
    assert ended.status is AttemptStatus.FAILED
    assert ended.error is not None
    assert ended.error.kind is ErrorKind.TRANSIENT


@pytest.mark.parametrize("descending", [True, False])
def test_pages_hold_every_job_once_and_in_order(database: Database, descending: bool) -> None:
    made = [end(database, add(database)).id for _ in range(23)]
    which = JobFilter(workspace_ids=(UUID(int=1),), descending=descending)
    seen: list[int] = []
    with database.read() as tx:
        for offset in range(0, 30, 5):
            page = jobs.jobs_listed(tx, which, Page(limit=5, offset=offset))
            seen += [job.id for job in page.items]
            assert page.more == (offset + 5 < 23)
        assert jobs.count(tx, which) == 23
    assert seen == sorted(made, reverse=descending)


def test_filters_restrict(database: Database) -> None:
    connection = uuid4()
    old = end(database, add(database, connection))
    failed = end(database, add(database, connection, type=JobType.CLEAR), JobStatus.FAILED)
    active = add(database, connection)
    with database.read() as tx:

        def numbers(**changes: object) -> list[int]:
            found = jobs.jobs_listed(tx, JobFilter(**changes), Page())  # type: ignore[arg-type]
            return [job.id for job in found.items]

        assert numbers(connection_ids=(connection,)) == [active.id, failed.id, old.id]
        assert numbers(connection_ids=(uuid4(),)) == []
        assert numbers(types=(JobType.CLEAR,)) == [failed.id]
        assert numbers(statuses=(JobStatus.PENDING, JobStatus.FAILED)) == [active.id, failed.id]
        assert numbers(created_from=failed.created_at) == [active.id, failed.id]
        assert numbers(updated_to=old.updated_at) == [old.id]
        assert jobs.active_of(tx, connection) == active
        assert jobs.latest(tx, connection) == active
        assert jobs.latest(tx, connection, (JobType.CLEAR,)) == failed
        assert jobs.last_ended(tx, [connection], (JobStatus.SUCCEEDED,)) == {connection: old.id}


def test_events_tell_a_jobs_story_in_order(database: Database) -> None:
    job = end(database, add(database))
    other = add(database)
    with database.read() as tx:
        story = job_events.after(tx, 0, job_id=job.id)
        assert [event.kind for event in story] == ["created", "started", "succeeded"]
        assert [event.job_id for event in job_events.after(tx, story[-1].id)] == [other.id]
        assert job_events.newest(tx) == story[-1].id + 1


def test_old_jobs_are_forgotten_but_not_a_connections_newest(database: Database) -> None:
    one, other = uuid4(), uuid4()
    first = end(database, add(database, one))
    last = end(database, add(database, one))
    only = end(database, add(database, other))
    with database.write() as tx:
        assert jobs.prune(tx, now() + timedelta(days=1)) == 1
        assert [jobs.find(tx, n) is None for n in (first.id, last.id, only.id)] == [True, False, False]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_leads_and_the_other_takes_over_after_the_lease(database: Database, tmp_path: Path) -> None:
    clock = Clock()
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    one, other = (Leadership(database, home, clock) for home in homes)
    assert one.keep()
    assert not other.keep()
    for _ in range(20):  # signs of life keep it, however long
        clock.now += LEASE_SECONDS / 3
        one.keep()
        assert not other.keep()
    clock.now += LEASE_SECONDS * 0.9
    assert not other.keep()
    clock.now += LEASE_SECONDS * 0.2
    assert other.keep()
    # The first one wakes up: it writes nothing any more, and stands by.
    with pytest.raises(SynclineError, match="another server"), one.writing() as tx:
        jobs.insert(tx, new(uuid4()), now())
    with database.read() as tx:
        assert jobs.count(tx, JobFilter()) == 0
    assert not one.keep()
    assert not one.leads
    assert one.led_from_elsewhere()
    with other.writing() as tx:
        assert jobs.insert(tx, new(uuid4()), now()) is not None
    other.close()  # gives it back: nobody needs to wait
    assert one.keep()
    one.close()


def test_a_server_of_the_same_home_that_is_gone_is_not_waited_for(database: Database, tmp_path: Path) -> None:
    import os

    one = Leadership(database, tmp_path)
    assert one.keep()
    other = Leadership(database, tmp_path)
    assert not other.keep()
    os.close(one._lock)  # what the end of a process does, however it comes
    assert other.keep()
    other.close()


def test_of_many_servers_that_start_at_once_one_leads(database: Database, tmp_path: Path) -> None:
    tokens: Counter[bool] = Counter()
    barrier = threading.Barrier(5)
    made: list[Leadership] = []

    def run(number: int) -> None:
        home = tmp_path / str(number)
        home.mkdir()
        leadership = Leadership(database, home)
        made.append(leadership)
        barrier.wait()
        tokens[leadership.keep()] += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokens[True] == 1
    with database.read() as tx:
        found = leases.find(tx)
    assert found is not None
    assert found.token == 1
    for leadership in made:
        leadership.close()
