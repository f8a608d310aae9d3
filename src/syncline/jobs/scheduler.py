"""The scheduler: turns due times and events into pending jobs. Only the leading server's.

One rule covers a busy connection, a server that was down and a burst of events: a due time that finds no job of its own
waits, what comes due meanwhile joins it, and together they become one job as soon as the connection is free. So there
is never an overlap, never a storm, and each due time is answered by exactly one job, which names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from syncline.core.errors import SynclineError
from syncline.engine.stream_run import new_sync_id
from syncline.jobs.known_schedules import KnownSchedules
from syncline.jobs.schedule import due_times, file_interval, fingerprint, first_due, merged
from syncline.store import connections, job_events, jobs, schedule_states
from syncline.store.database import Transaction
from syncline.store.job_values import DueTimes, JobCause, JobStatus, JobType, NewJob, ScheduleState
from syncline.store.values import ScheduledConnection, StoredConnection

__all__ = ["Scheduler"]

#: So many connections are handled in one transaction, that others wait for it no longer than some ten milliseconds.
_BATCH = 200
#: A due time answered later than this was missed: the job says that it catches up.
_LATE = timedelta(seconds=60)
#: Even if a change of a connection was not noticed, it is after this time.
_RECONCILE = timedelta(seconds=30)
#: A connection that follows its log and ended with an error that cannot pass by itself is tried again after this.
_FOLLOW_AGAIN = timedelta(seconds=60)
#: Ends of jobs that nobody told of (one was cancelled while it waited) are noticed after this.
_FOLLOW_EVERY = timedelta(seconds=5)
_ENDINGS = {
    "success": (JobStatus.SUCCEEDED,),
    "failure": (JobStatus.FAILED,),
    "any": (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED),
}


class Scheduler:
    """Used by the supervisor's thread only. ``writing`` gives a transaction of the leader; ``look_for_files`` is asked
    to look at a source in the background and to call :meth:`files_found` with what it found."""

    def __init__(
        self, writing: Callable[[], Any], look_for_files: Callable[[ScheduledConnection], None] | None = None
    ) -> None:
        self._writing = writing
        self._look_for_files = look_for_files
        self._schedules = KnownSchedules()
        self._known: Mapping[UUID, ScheduledConnection] = {}
        self._prints: dict[UUID, str] = {}
        self._stamp: object = None
        self._reconciled_at: datetime | None = None
        self._followed_at: datetime | None = None
        self.next_due_at: datetime | None = None

    def tick(self, at: datetime, *, jobs_ended: bool) -> int:
        """Do what is due by ``at``; returns how many jobs were made. ``jobs_ended``: since the last call."""
        # Most rounds find nothing due: they are one transaction.
        with self._writing() as tx:
            self._reconcile(tx, at)
            if not schedule_states.due(tx, at, 1):
                return self._others(tx, at, jobs_ended=jobs_ended)
        made = 0
        while True:
            with self._writing() as tx:
                due = schedule_states.due(tx, at, _BATCH)
                self._tell_busy(tx, due, at)
                made += self._make(tx, [self._came_due(state, at) for state in due], at)
            if len(due) < _BATCH:
                break
        with self._writing() as tx:
            return made + self._others(tx, at, jobs_ended=jobs_ended)

    def _others(self, tx: Transaction, at: datetime, *, jobs_ended: bool) -> int:
        """What other things than the clock make due, and what waited for its connection to be free."""
        made = 0
        if jobs_ended or self._followed_at is None or at - self._followed_at >= _FOLLOW_EVERY:
            self._followed_at = at
            made += self._make(tx, self._after_others(tx, at), at)
            made += self._make(tx, self._following(tx, at), at)
        made += self._make(tx, schedule_states.ready(tx), at)
        self.next_due_at = schedule_states.next_due_at(tx)
        return made

    def files_found(self, connection_id: UUID, found: str, at: datetime) -> None:
        """What a look at a source's files found, as a text that changes when a file comes or changes; empty when there
        are none."""
        with self._writing() as tx:
            state = schedule_states.find(tx, connection_id)
            if state is None or state.marks.get("files") == found:
                return
            state = replace(state, marks={**state.marks, "files": found})
            if found:
                state = _waits(state, DueTimes(first=at, last=at), "file")
            schedule_states.update_many(tx, [state])

    def _reconcile(self, tx: Transaction, at: datetime) -> None:
        """Take up connections whose schedule is new or has changed, and forget those that have none any more."""
        stamp = schedule_states.stamp(tx)
        fresh = self._reconciled_at is not None and at - self._reconciled_at < _RECONCILE
        if fresh and stamp == self._stamp:
            return
        known = self._schedules.refreshed(tx)
        # The same value as before is the same schedule; its fingerprint need not be taken again.
        self._prints = {
            i: self._prints[i] if self._known.get(i) is each else fingerprint(each.schedule)
            for i, each in known.items()
        }
        self._known = known
        states = schedule_states.fingerprints(tx)
        # An event may wait for a connection that has no schedule.
        gone = [i for i, (_, waits) in states.items() if i not in known and not (waits and _is_active(tx, i))]
        schedule_states.delete(tx, gone)
        new: list[ScheduleState] = []
        changed: list[ScheduleState] = []
        for connection in known.values():
            taken_up = states.get(connection.id)
            if taken_up is None or taken_up[0] != self._prints[connection.id]:
                (new if taken_up is None else changed).append(self._begun(tx, connection, at))
        schedule_states.insert_many(tx, new)
        schedule_states.update_many(tx, changed)
        self._stamp, self._reconciled_at, self._followed_at = stamp, at, None

    def _begun(self, tx: Transaction, connection: ScheduledConnection, at: datetime) -> ScheduleState:
        """The state of a schedule that begins now: what was due before it is nobody's."""
        latest = jobs.latest(tx, connection.id, (JobType.SYNC,))
        try:
            due = first_due(connection.schedule, at, latest.created_at if latest else None)
        except SynclineError:
            due = None  # written by an older version or another hand; nothing can be due by it
        marks: dict[str, Any] = {}
        if connection.schedule.kind == "after":
            parents = _parents(connection)
            marks["jobs"] = {str(k): v for k, v in _ended(tx, connection, parents).items()}
        return ScheduleState(
            connection_id=connection.id,
            fingerprint=fingerprint(connection.schedule),
            next_due_at=due,
            waiting=None,
            waiting_cause=None,
            marks=marks,
            looked_at=None,
        )

    def _came_due(self, state: ScheduleState, at: datetime) -> ScheduleState:
        connection = self._known.get(state.connection_id)
        if connection is None or state.next_due_at is None:
            return replace(state, next_due_at=None)
        try:
            due, following = due_times(connection.schedule, state.next_due_at, at)
        except SynclineError:
            return replace(state, next_due_at=None)  # as in _begun
        if file_interval(connection.schedule) is not None:
            if self._look_for_files is not None:
                self._look_for_files(connection)
            return replace(state, next_due_at=following, looked_at=at)
        cause: JobCause = "catch_up" if at - due.first > _LATE else "schedule"
        return _waits(replace(state, next_due_at=following), due, cause)

    def _tell_busy(self, tx: Transaction, states: Sequence[ScheduleState], at: datetime) -> None:
        """Say of jobs under way that a due time waits for their end: once, however many follow."""
        firsts = {s.connection_id: s.next_due_at for s in states if s.waiting is None and self._by_clock(s)}
        busy = jobs.active_among(tx, list(firsts))
        rows = [
            job_events.row(
                "due_waits",
                at,
                job.connection_id,
                job.workspace_id,
                job_id=job.id,
                data={"type": job.type.value, "due": due.isoformat()},
            )
            for number, job in busy.items()
            if (due := firsts[number]) is not None
        ]
        job_events.add_many(tx, rows)

    def _by_clock(self, state: ScheduleState) -> bool:
        connection = self._known.get(state.connection_id)
        return connection is not None and file_interval(connection.schedule) is None

    def _after_others(self, tx: Transaction, at: datetime) -> list[ScheduleState]:
        """Connections that come after others, which have ended as they should since the last time."""
        found = []
        for connection in self._known.values():
            parents = _parents(connection)
            if not parents:
                continue
            state = schedule_states.find(tx, connection.id)
            if state is None:
                continue
            seen = {UUID(k): v for k, v in state.marks.get("jobs", {}).items()}
            ended = _ended(tx, connection, parents)
            news = [p for p in parents if ended.get(p, 0) > seen.get(p, 0)]
            if not news or ("all" in (connection.schedule.after or {}) and len(news) < len(parents)):
                continue
            marks = {**state.marks, "jobs": {str(k): v for k, v in ended.items()}}
            found.append(_waits(replace(state, marks=marks), DueTimes(first=at, last=at), "after"))
        return found

    def _following(self, tx: Transaction, at: datetime) -> list[ScheduleState]:
        """Connections that follow a log and have no job."""
        found = []
        for connection in self._known.values():
            if connection.schedule.kind != "continuous" or jobs.active_of(tx, connection.id) is not None:
                continue
            last = jobs.latest(tx, connection.id)
            if last is not None and last.status is JobStatus.FAILED and last.ended_at is not None:
                changed = connection.updated_at > last.ended_at
                if not changed and at < last.ended_at + _FOLLOW_AGAIN:
                    continue
            state = schedule_states.find(tx, connection.id)
            if state is not None and state.waiting is None:
                found.append(_waits(state, DueTimes(first=at, last=at), "continuous"))
        return found

    def _make(self, tx: Transaction, states: Sequence[ScheduleState], at: datetime) -> int:
        """Make the jobs of states that wait, as far as their connections are free, and save the states."""
        news = list(self._new_jobs(tx, states))
        numbers = jobs.insert_many(tx, news, at)
        schedule_states.update_many(
            tx,
            [
                replace(state, waiting=None, waiting_cause=None) if state.connection_id in numbers else state
                for state in states
            ],
        )
        return len(numbers)

    def _new_jobs(self, tx: Transaction, states: Iterable[ScheduleState]) -> Iterable[NewJob]:
        for state in states:
            connection = self._known.get(state.connection_id) or _is_active(tx, state.connection_id)
            if connection is None or state.waiting is None:
                continue
            yield NewJob(
                connection_id=connection.id,
                workspace_id=connection.workspace_id,
                source_id=connection.source_id,
                destination_id=connection.destination_id,
                type=JobType.SYNC,
                cause=state.waiting_cause or "schedule",
                caller="scheduler",
                sync_id=new_sync_id(),
                priority=connection.options.priority,
                due=state.waiting,
            )


def _waits(state: ScheduleState, due: DueTimes, cause: JobCause) -> ScheduleState:
    return replace(state, waiting=merged(state.waiting, due), waiting_cause=state.waiting_cause or cause)


def _is_active(tx: Transaction, connection_id: UUID) -> StoredConnection | None:
    found = connections.find(tx, connection_id)
    return found if found is not None and found.deleted_at is None and found.status == "active" else None


def _parents(connection: ScheduledConnection) -> list[UUID]:
    if connection.schedule.kind != "after":
        return []
    after = connection.schedule.after or {}
    return [UUID(str(each)) for each in after.get("all") or after.get("any") or ()]


def _ended(tx: Transaction, connection: ScheduledConnection, parents: Sequence[UUID]) -> dict[UUID, int]:
    wanted = str((connection.schedule.after or {}).get("on", "success"))
    return jobs.last_ended(tx, parents, _ENDINGS.get(wanted, ())) if parents else {}
