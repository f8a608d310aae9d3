"""The supervisor: leads or stands by, starts waiting jobs, watches their attempts, and says what became of them.

One thread, one round about twice a second or when the bell rings. All it knows stands in the store and in the folders
of the attempts; what is in its memory can be lost at any moment:

* A job is claimed (running, with an attempt) before its process is started. A server that dies in between leaves an
  attempt whose folder nobody has entered; the next server locks that folder for good and tries again.
* A process that runs on while no server does is found by its lock and watched from the last line that was counted.
* A process that has ended meanwhile has left its result in its journal, or not; either is the truth.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.listener import Listener, Run, RunEnd
from syncline.jobs.attempt_folder import AttemptFolder
from syncline.jobs.bell import BELL
from syncline.jobs.endings import lost, never_begun, not_started, overdue
from syncline.jobs.leader import Leadership
from syncline.jobs.limits import Limits, Room, startable
from syncline.jobs.order import Order
from syncline.jobs.retention import Retention
from syncline.jobs.retry import RetryPolicy
from syncline.jobs.scheduler import Scheduler
from syncline.jobs.starter import Starter
from syncline.jobs.verdict import Ending, StopReason, judge
from syncline.jobs.watch import Patience, Watch
from syncline.store import attempts, job_events, jobs, stream_states
from syncline.store.database import Database, Transaction
from syncline.store.job_values import Attempt, Job, JobStatus
from syncline.store.values import ConnectionOptions, StreamState

__all__ = ["JobPlan", "Supervisor", "attempt_path"]

_log = logging.getLogger("syncline.server")

#: The longest that a change in the store made by another process goes unnoticed.
ROUND_SECONDS = 0.5
#: A round that would find nothing new is left out, but not for longer than this.
FULL_SECONDS = 3.0
#: Counts of running attempts are written this often at most.
SAVE_SECONDS = 1.0
_LAUNCHERS = 4
#: Jobs that are looked at together for one that may start.
_CLAIMED = 100


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """How a job is to be run, as its connection says now. ``follows``: its attempt follows a log; ``name`` is the
    connection's."""

    options: ConnectionOptions
    follows: bool
    name: str = ""


def attempt_path(home: Path, job: Job, number: int) -> Path:
    """The folder of an attempt. The sync's id keeps it apart from those of another store that used the same home."""
    return home / "jobs" / f"{job.id}-{job.sync_id}" / str(number)


class Supervisor:
    """``plan`` says how a job is to be run and ``order`` makes what its process gets; both read the store, and both
    raise :class:`SynclineError` when the connection is gone or cannot be run. ``order`` is called from other threads
    and may take its time. ``listener`` hears what every attempt says, and how it ends."""

    def __init__(
        self,
        database: Database,
        home: Path,
        *,
        plan: Callable[[Job], JobPlan],
        order: Callable[[Job, Attempt], Order],
        starter: Starter,
        scheduler: Callable[[Leadership], Scheduler],
        retention: Retention,
        slots: int,
        following_slots: int,
        retry: RetryPolicy,
        patience: Patience,
        listener: Listener | None = None,
        stop_with_server: bool = True,
    ) -> None:
        self._listener = listener
        self._database, self._home = database, home
        self._plan, self._order, self._starter = plan, order, starter
        self._retention, self._retry, self._patience = retention, retry, patience
        self._slots, self._following_slots = slots, following_slots
        self._stop_with_server = stop_with_server
        self.leadership = Leadership(database, home)
        self._scheduler = scheduler(self.leadership)
        self._watches: dict[int, Watch] = {}
        self._launches: dict[int, Future[Callable[[], int | None] | None]] = {}
        self._pool = ThreadPoolExecutor(_LAUNCHERS, thread_name_prefix="launch")
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._stopping = threading.Event()
        self._ended = True  # jobs may have ended before we led
        self._waiting = True  # and some may wait
        self._saved_at = 0.0
        self._claim_at = 0.0
        self._seen: tuple[int | None, int] | None = None
        self._full_round_at = 0.0

    @property
    def running(self) -> int:
        """How many attempts are watched."""
        return len(self._watches)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End gracefully: nothing new is started; running attempts are told to end (what they have committed stays, and
        their jobs go on with the next server), or left alone when the server was told so. Blocks half a minute at
        most."""
        self._stopping.set()
        BELL.ring()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._starter.close()
        self.leadership.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            heard = BELL.count
            try:
                self._round()
            except SynclineError as error:
                if error.kind is ErrorKind.CONFLICT and not self._still_leads():
                    _log.warning("%s", error)
                    self._stand_by()
                else:
                    _log.error("the supervisor's round failed and is tried again: %s", error)
                    self._stopping.wait(1.0)
            except Exception:  # noqa: BLE001 - a defect must not end the thread that ends all jobs
                _log.exception("the supervisor's round failed and is tried again")
                self._stopping.wait(1.0)
            BELL.wait(heard, self._pause())
        try:
            self._wind_down()
        except SynclineError as error:
            _log.error("%s", error)

    def _pause(self) -> float:
        if any(watch.stop_reason is not None for watch in self._watches.values()):
            return 0.05
        due = self._scheduler.next_due_at
        if due is None or not self.leadership.leads:
            return ROUND_SECONDS
        return min(ROUND_SECONDS, max(0.01, (due - _now()).total_seconds()))

    def _still_leads(self) -> bool:
        if not self.leadership.leads:
            return False
        try:
            with self.leadership.writing():
                return True
        except SynclineError:
            return False

    def _stand_by(self) -> None:
        """Forget everything: another server watches our attempts now, or has given them up if it cannot see them."""
        self.leadership.lose()
        if self.leadership.led_from_elsewhere():
            for watch in self._watches.values():
                watch.folder.signal(signal.SIGKILL)
        self._watches.clear()
        self._launches.clear()
        self._ended = self._waiting = True

    def _round(self) -> None:
        if self.leadership.keep():
            _log.info("this server leads (token %d)", self.leadership.token)
            self._adopt()
        if not self.leadership.leads:
            if self._watches:
                self._stand_by()
            return
        mark = (self._database.changes(), BELL.count)  # taken before looking, so that nothing falls between
        if self._nothing_new(mark):
            return
        self._finish_launches()
        self._look()
        self._obey()
        self._schedule()
        self._ended = self._waiting = False
        self._claim()
        self._retain()
        self._seen, self._full_round_at = mark, time.monotonic() + FULL_SECONDS

    def _schedule(self) -> None:
        try:
            self._scheduler.tick(_now(), jobs_ended=self._ended)
        except SynclineError:
            raise
        except Exception:  # noqa: BLE001 - a defect there must not keep waiting jobs from starting
            _log.exception("schedules could not be followed; it is tried again")

    def _nothing_new(self, mark: tuple[int | None, int]) -> bool:
        """Whether this round can be left out: nothing runs, nothing is due, and nobody has written since the last."""
        if mark != self._seen or mark[0] is None or self._watches or self._launches or self._ended or self._waiting:
            return False
        due = self._scheduler.next_due_at
        return time.monotonic() < min(self._claim_at, self._full_round_at) and (due is None or _now() < due)

    # What was running before us.

    def _adopt(self) -> None:
        """Take up every attempt that the store believes to be running."""
        with self._database.read() as tx:
            found = [(attempt, jobs.find(tx, attempt.job_id)) for attempt in attempts.running(tx)]
            stray = {job.id for job in jobs.running(tx)} - {attempt.job_id for attempt, _ in found}
        for attempt, job in found:
            assert job is not None
            plan = self._plan_of(job)
            folder = AttemptFolder(attempt_path(self._home, job, attempt.number))
            watch = self._watch(job, attempt, folder, plan)
            if attempt.host != self.leadership.home:
                self._settle(watch, lost(watch.attempt))
                continue
            while watch.read():
                pass
            if folder.process is None and folder.revoke():
                self._settle(watch, never_begun())
                continue
            self._watches[attempt.id] = watch
            with self.leadership.writing() as tx:
                job_events.record(tx, job, "adopted", _now(), attempt=attempt.number)
        for job_id in stray:  # cannot be: claim and attempt are one act. But no job shall run for ever.
            with self.leadership.writing() as tx:
                job = jobs.find(tx, job_id)
                assert job is not None
                error = SynclineError(ErrorKind.INTERNAL, "the job runs without an attempt", hint="start it again")
                jobs.settle(tx, job, JobStatus.FAILED, _now(), error=error)

    def _watch(self, job: Job, attempt: Attempt, folder: AttemptFolder, plan: JobPlan) -> Watch:
        listener, run = self._listener, _run_of(job, attempt.number, plan)
        heard = None if listener is None else lambda event: listener.heard(run, event)
        return Watch(job, attempt, folder, self._patience_for(plan), follows=plan.follows, heard=heard)

    # What runs.

    def _look(self) -> None:
        """Read what attempts say, write it down, and settle those that have ended."""
        told = [watch for watch in self._watches.values() if watch.read()]
        endings = [(watch, ending) for watch in list(self._watches.values()) if (ending := watch.look()) is not None]
        over = {watch.attempt.id for watch, _ in endings}
        pending = [w for w in self._watches.values() if w.changed or w in told]
        if pending and (time.monotonic() - self._saved_at >= SAVE_SECONDS or over):
            with self.leadership.writing() as tx:
                for watch in pending:
                    self._save(tx, watch)
            self._saved_at = time.monotonic()
        for watch, ending in endings:
            self._settle(watch, ending)

    def _save(self, tx: Transaction, watch: Watch) -> None:
        attempts.save_progress(tx, watch.attempt, _now())
        attempts.save_streams(tx, watch.attempt.id, {name: watch.streams[name] for name in watch.changed})
        if watch.attempt.process is None and (process := watch.folder.process) is not None:
            attempts.set_process(tx, watch.attempt.id, process)
            watch.attempt = replace(watch.attempt, process=process)
        watch.changed = set()

    def _settle(self, watch: Watch, ending: Ending) -> None:
        """Write down how an attempt ended and what follows for its job, in one act."""
        at = _now()
        plan = self._plan_of(watch.job)
        policy = replace(self._retry, max_attempts=plan.options.max_attempts)
        with self.leadership.writing() as tx:
            job = jobs.find(tx, watch.job.id, lock=True)
            assert job is not None
            if job.cancel_requested_at is not None and ending.stop is not StopReason.CANCEL:
                ending = replace(ending, stop=StopReason.CANCEL)
            verdict = judge(job, ending, policy, at, follows=watch.follows)
            if job.status is not JobStatus.RUNNING or not attempts.end(
                tx, watch.attempt, verdict.attempt, at, ending.error or verdict.error
            ):
                self._watches.pop(watch.attempt.id, None)  # settled before, by whoever led then
                return
            attempts.save_streams(tx, watch.attempt.id, {name: watch.streams[name] for name in watch.changed})
            if verdict.attempt.value == "failed" and verdict.error is not None:
                job_events.record(
                    tx, job, "attempt_failed", at, attempt=watch.attempt.number, error=verdict.error.to_json()
                )
            jobs.settle(
                tx,
                job,
                verdict.job,
                at,
                error=verdict.error,
                not_before=verdict.not_before,
                failures=verdict.failures,
            )
            if watch.states:
                known = [_state(each, at) for each in watch.states]
                stream_states.save(tx, job.connection_id, known, shared=watch.shared)
        self._watches.pop(watch.attempt.id, None)
        if self._listener is not None:
            final = not verdict.job.active
            status = verdict.job.value if final else verdict.attempt.value
            end = RunEnd(
                status=status,
                final=final,
                error=ending.error or verdict.error,
                seconds=(at - (job.started_at or at)).total_seconds(),
                rows=sum(s.rows_written for s in watch.streams.values()),
                bytes=sum(s.bytes_read for s in watch.streams.values()),
            )
            self._listener.ended(_run_of(job, watch.attempt.number, plan), end)
        self._ended = self._waiting = True
        BELL.ring()  # whoever waits for the job, and our own next round

    # What is asked for.

    def _obey(self) -> None:
        """Stop what somebody wants stopped."""
        with self._database.read() as tx:
            asked = set(jobs.to_cancel(tx))
            unwanted = jobs.unwanted(tx)
        for job in unwanted:
            with self.leadership.writing() as tx:
                reason = "its connection is inactive or deleted"
                if not jobs.cancel_waiting(tx, job, _now(), "server", reason):
                    jobs.ask_to_cancel(tx, job, _now(), "server", reason)
            self._ended = True
        for watch in self._watches.values():
            if watch.job.id in asked and watch.stop_reason is not StopReason.CANCEL:
                watch.stop(StopReason.CANCEL)

    def _retain(self) -> None:
        self._starter.tick()
        if self._retention.is_due():
            self._pool.submit(self._retention.prune_folders, {w.folder.path.parent for w in self._watches.values()})
            with self.leadership.writing() as tx:
                self._retention.prune_store(tx, _now())

    def _claim(self) -> None:
        """Start as many waiting jobs as fit."""
        at = _now()
        with self._database.read() as tx:
            following = jobs.next_ready_at(tx, at)
            pause = math.inf if following is None else max(0.0, (following - at).total_seconds())
            self._claim_at = time.monotonic() + pause
            waiting, room = self._queue(tx, at)
        for job in startable(waiting, room):
            self._start(job)
        # The first of a queue always fits: so this ends, and what stood behind it gets its turn.
        self._waiting = self._waiting or len(waiting) == _CLAIMED

    def _queue(self, tx: Transaction, at: datetime) -> tuple[list[Job], Room]:
        """The head of the queue, without what cannot start anyway: thousands may wait for one slot."""
        limits = Limits(slots=self._slots, following_slots=self._following_slots, of=jobs.limits_of_places(tx))
        room = Room(jobs.running(tx), limits)
        if not room.for_others and not room.for_following:
            return [], room
        wanted = None if room.for_others and room.for_following else room.for_following
        return jobs.ready(tx, at, following=wanted, full=room.full, limit=_CLAIMED), room

    def _start(self, job: Job) -> None:
        plan = self._plan_of(job)
        timeout = plan.options.timeout_seconds
        at = _now()
        with self.leadership.writing() as tx:
            if timeout is not None and job.started_at is not None and (at - job.started_at).total_seconds() > timeout:
                jobs.settle(tx, job, JobStatus.FAILED, at, error=overdue(timeout), failures=job.failures)
                self._ended = True
                return
            started = jobs.start(tx, job, at)
            if started is None:
                return  # cancelled at this moment
            attempt = attempts.insert(tx, started, self.leadership.home, at)
        folder = AttemptFolder(attempt_path(self._home, started, attempt.number))
        watch = self._watch(started, attempt, folder, plan)
        self._watches[attempt.id] = watch
        launch = self._pool.submit(self._launch, watch)
        launch.add_done_callback(lambda _: BELL.ring())
        self._launches[attempt.id] = launch

    def _launch(self, watch: Watch) -> Callable[[], int | None] | None:
        """In a thread of the pool: make the order and start the process."""
        order = self._order(watch.job, watch.attempt)
        if watch.stop_reason is not None or self._stopping.is_set():
            return None
        watch.folder.make()
        return self._starter.start(order, watch.folder)

    def _finish_launches(self) -> None:
        for attempt_id, launch in list(self._launches.items()):
            if not launch.done():
                continue
            del self._launches[attempt_id]
            watch = self._watches.get(attempt_id)
            if watch is None:
                continue
            try:
                watch.exit_code = launch.result()
            except Exception as error:  # noqa: BLE001 - what one connection raises must not hold all others
                if not isinstance(error, SynclineError | OSError):
                    _log.exception("job %d: its attempt could not be made ready", watch.job.id)
                self._settle_unlaunched(watch, not_started(error))

    def _settle_unlaunched(self, watch: Watch, error: SynclineError) -> None:
        if watch.folder.revoke():
            self._settle(watch, Ending(result=None, error=error, stop=watch.stop_reason, committed=False))

    def _plan_of(self, job: Job) -> JobPlan:
        try:
            return self._plan(job)
        except SynclineError:
            # The connection is gone; the job is cancelled in the next round, and until then nothing is special.
            return JobPlan(options=ConnectionOptions(), follows=job.cause == "continuous")

    def _patience_for(self, plan: JobPlan) -> Patience:
        options = plan.options
        return replace(self._patience, no_progress=options.no_progress_seconds, run=options.timeout_seconds)

    # The end.

    def _wind_down(self) -> None:
        """Nothing new; attempts end with us, or are left to the next server."""
        if not self.leadership.leads or not self._stop_with_server:
            return
        deadline = time.monotonic() + self._patience.give_up + 2
        for watch in self._watches.values():
            watch.stop(StopReason.SHUTDOWN)
        while self._watches and time.monotonic() < deadline:
            self.leadership.keep()
            if not self._still_leads():
                return
            self._finish_launches()
            self._look()
            time.sleep(0.05)


def _now() -> datetime:
    return datetime.now(UTC)


def _run_of(job: Job, attempt: int, plan: JobPlan) -> Run:
    return Run(
        connection=plan.name or str(job.connection_id),
        sync_id=job.sync_id,
        attempt=attempt,
        started_at=job.started_at or _now(),
        connection_id=str(job.connection_id),
        workspace=str(job.workspace_id),
        job=job.id,
        kind=job.type.value,
        follows=plan.follows,
    )


def _state(data: dict[str, object], at: datetime) -> StreamState:
    state = data["state"]
    assert state is None or isinstance(state, dict)
    namespace = data["namespace"]
    return StreamState(
        namespace=None if namespace is None else str(namespace), name=str(data["name"]), state=state, updated_at=at
    )
