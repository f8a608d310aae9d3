"""When a connection's schedule is due: pure functions of the schedule and the time."""

from __future__ import annotations

import calendar
import functools
import hashlib
import json
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.cron import parse_cron
from syncline.store.job_values import DueTimes
from syncline.store.values import Schedule

__all__ = ["due_times", "file_interval", "fingerprint", "first_due", "interval_of", "merged", "next_due"]

#: Due times that are counted one by one; after a longer absence the count says "at least".
_COUNTED = 100_000
_UNITS = ("minutes", "hours", "days", "weeks")


def fingerprint(schedule: Schedule) -> str:
    """Changes when the schedule does."""
    return hashlib.sha256(json.dumps(schedule.to_json(), sort_keys=True).encode()).hexdigest()[:24]


def first_due(schedule: Schedule, at: datetime, last_job_at: datetime | None) -> datetime | None:
    """When a schedule that was just set is due. Cron: its next time. An interval: at once, or one interval after the
    connection's last job. Continuous and files: at once. None for one that other things make due."""
    if schedule.kind == "cron":
        return next_due(schedule, at)
    if schedule.kind == "basic":
        following = at if last_job_at is None else _plus_interval(schedule, last_job_at)
        return None if following is None else max(at, following)
    if schedule.kind == "after" and file_interval(schedule) is not None:
        return at
    return None


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """The first due time later than ``after``; for an interval, ``after`` is the last due time. None when there is none
    before the calendar's end."""
    if schedule.kind == "cron":
        return parse_cron(schedule.cron_expression or "", schedule.time_zone).after(after)
    if schedule.kind == "basic":
        return _plus_interval(schedule, after)
    interval = file_interval(schedule)
    return None if interval is None else _later(after, seconds=interval)


def due_times(schedule: Schedule, first: datetime, at: datetime) -> tuple[DueTimes, datetime | None]:
    """All due times from ``first``, which is due, up to ``at``; and the next one."""
    last, count = first, 1
    following = next_due(schedule, first)
    while following is not None and following <= at:
        last, count = following, count + 1
        following = (
            next_due(schedule, at) if count >= _COUNTED and schedule.kind == "cron" else next_due(schedule, last)
        )
    return DueTimes(first=first, last=last, count=count), following


def interval_of(schedule: Schedule) -> float | None:
    """The longest time between two due times, in seconds, of the next two weeks' or so; None for a schedule that other
    things make due. For asking whether a connection is late, so weekends of a weekday schedule count."""
    return _interval(
        schedule.kind, schedule.cron_expression or "", schedule.time_zone, schedule.units or 0, schedule.time_unit or ""
    )


@functools.lru_cache(maxsize=4096)
def _interval(kind: str, cron: str, time_zone: str, units: int, time_unit: str) -> float | None:
    if kind == "basic":
        start = datetime(2024, 1, 1, tzinfo=UTC)
        schedule = Schedule(kind="basic", units=units, time_unit=time_unit)
        following = _plus_interval(schedule, start)
        return None if following is None else (following - start).total_seconds()
    if kind != "cron":
        return None
    parsed = parse_cron(cron, time_zone)
    moment = first = datetime.now(UTC)
    longest = 0.0
    for _ in range(100):
        following = parsed.after(moment)
        if following is None or following - first > timedelta(days=800):
            break
        if moment is not first:
            longest = max(longest, (following - moment).total_seconds())
        moment = following
    return longest or None


def merged(one: DueTimes | None, other: DueTimes) -> DueTimes:
    """Due times that become one job."""
    if one is None:
        return other
    return DueTimes(first=min(one.first, other.first), last=max(one.last, other.last), count=one.count + other.count)


def file_interval(schedule: Schedule) -> float | None:
    """How often to look for files, in seconds, where a file's arrival makes the schedule due; else None."""
    files: Any = (schedule.after or {}).get("files") if schedule.kind == "after" else None
    if files is None:
        return None
    return float(files.get("every_seconds", 60)) if isinstance(files, dict) else 60.0


def _plus_interval(schedule: Schedule, moment: datetime) -> datetime | None:
    units, unit = schedule.units or 0, schedule.time_unit or ""
    if units < 1:
        raise SynclineError(ErrorKind.CONFIG, f"an interval of {units} {unit}", hint="give one unit at least")
    if unit == "months":
        month = moment.month - 1 + units
        year, month = moment.year + month // 12, month % 12 + 1
        if year > MAXYEAR:
            return None
        return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))
    if unit not in _UNITS:
        raise SynclineError(
            ErrorKind.CONFIG, f"unknown unit {unit!r}", hint="use minutes, hours, days, weeks or months"
        )
    return _later(moment, **{unit: units})


def _later(moment: datetime, **span: float) -> datetime | None:
    """None beyond the calendar's end. No connection's schedule may raise anything here: the scheduler would fail for
    all others too."""
    try:
        return moment + timedelta(**span)
    except OverflowError:
        return None
