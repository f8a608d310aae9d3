"""The one place that puts a server together: store, services, supervisor and scheduler. The HTTP side is handed the
same store by whoever starts both."""

from __future__ import annotations

from dataclasses import dataclass

from syncline.engine.listener import Listeners
from syncline.jobs.leader import Leadership
from syncline.jobs.retention import Retention
from syncline.jobs.retry import RetryPolicy
from syncline.jobs.scheduler import Scheduler
from syncline.jobs.starter import Starter
from syncline.jobs.supervisor import Supervisor
from syncline.jobs.watch import Patience
from syncline.service.alarm import Alarm
from syncline.service.arrivals import FileLooks
from syncline.service.control import Control
from syncline.service.kept_tokens import TokenKeeper
from syncline.service.metrics import metrics_of
from syncline.service.running import order_for, plan_for
from syncline.service.schema_events import SchemaKeeper
from syncline.service.verdicts import VerdictKeeper

__all__ = ["Machinery", "make_machinery"]


@dataclass(frozen=True, kw_only=True)
class Machinery:
    """What runs behind the APIs."""

    supervisor: Supervisor
    alarm: Alarm

    def start(self) -> None:
        self.supervisor.start()
        self.alarm.start()

    def stop(self) -> None:
        """Ends running attempts, or leaves them, as the server was told; half a minute at most."""
        self.supervisor.stop()
        self.alarm.stop()


def make_machinery(control: Control) -> Machinery:
    """The part that runs jobs and tells of them, over an open store. The caller starts it, and stops it before closing
    ``control``."""
    settings, jobs = control.settings, control.settings.jobs
    starter = Starter(warm=jobs.warm)
    log_bytes = int(jobs.attempt_log_mb * 1e6)

    def scheduler(leadership: Leadership) -> Scheduler:
        looks = FileLooks(control, starter)
        made = Scheduler(leadership.writing, looks.look)
        looks.tell = made.files_found
        return made

    alarm = Alarm(control, lambda: supervisor.leadership.leads, settings.public_url)
    supervisor = Supervisor(
        control.database,
        settings.home,
        plan=lambda job: plan_for(control, job),
        order=lambda job, attempt: order_for(control, job, attempt, log_bytes=log_bytes),
        starter=starter,
        scheduler=scheduler,
        retention=Retention(
            settings.home, log_days=jobs.log_days, log_bytes=int(jobs.log_mb * 1e6), job_days=jobs.job_days
        ),
        slots=jobs.slots,
        following_slots=jobs.following_slots,
        retry=RetryPolicy(base_seconds=jobs.retry_seconds, ceiling_seconds=jobs.retry_ceiling_seconds),
        patience=Patience(silence=jobs.attempt_lease_seconds),
        listener=Listeners(
            (TokenKeeper(control), metrics_of(control), alarm, VerdictKeeper(control), SchemaKeeper(control))
        ),
        stop_with_server=jobs.on_stop == "stop",
    )
    return Machinery(supervisor=supervisor, alarm=alarm)
