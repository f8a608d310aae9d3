"""Cron expressions with time zones: when is a schedule due next?

Daylight saving is treated as Debian's cron does (:class:`Cron` says how), for both dialects. Tested over whole years
against cronsim, which simulates that cron, and against a search that tries every second.
"""

from __future__ import annotations

import bisect
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.jobs import cron_fields as fields
from syncline.jobs.cron_fields import DayRule, cron_error, parse_days, parse_numbers, parse_weekdays

__all__ = ["Cron", "parse_cron", "time_zone_named"]

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
#: A 29 February that is a given weekday comes once in 28 years, and 1900 and 2100 are no leap years: 40 at most.
_YEARS_AHEAD = 41


@dataclass(frozen=True, kw_only=True)
class Cron:
    """A schedule. Made by :func:`parse_cron`.

    ``days`` and ``weekdays`` are rules, None when the field is unrestricted; ``both`` says that a day must match both
    (cron: when one of the fields starts with ``*``), else one is enough. ``elapsing``: minute or hour starts with
    ``*``. Such a schedule follows the elapsed time: an hour that comes twice is run through twice, one that is left out
    is left out. Every other schedule is of fixed times: those of a left-out hour are due once, at the moment the clock
    is put forward, and those of a doubled hour only the first time.
    """

    expression: str
    zone: tzinfo
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[DayRule, ...] | None
    months: frozenset[int]
    weekdays: tuple[DayRule, ...] | None
    years: frozenset[int] | None
    both: bool
    elapsing: bool

    def after(self, moment: datetime) -> datetime | None:
        """The first due time later than ``moment`` (aware), in UTC; None when there is none any more."""
        local = moment.astimezone(self.zone)
        wall = local.replace(tzinfo=None, fold=0)
        if self.elapsing and local.fold == 0 and self._is_doubled(wall):
            return self._in_doubled(wall)
        fold = local.fold if self.elapsing else 0
        found = self._wall_after(wall, wall.year)
        while found is not None:
            instant = self._instant(found, fold if fold and self._is_doubled(found) else 0)
            if instant is not None and instant > moment:
                return instant
            found = self._wall_after(found, wall.year)
        return None

    def _in_doubled(self, wall: datetime) -> datetime | None:
        """The next due time when it is the first passage of an hour that will come again."""
        change = self._change_near(wall)
        again = (change.astimezone(self.zone)).replace(tzinfo=None, fold=0)
        found = self._wall_after(wall, wall.year)
        if found is not None and self._is_doubled(found) and self._change_near(found) == change:
            return self._instant(found, 0)
        # The first passage has no more: those of the second come before anything later.
        repeated = self._wall_after(again - timedelta(seconds=1), wall.year)
        if repeated is None:
            return None
        return self._instant(repeated, int(self._is_doubled(repeated) and self._change_near(repeated) == change))

    def _instant(self, wall: datetime, fold: int) -> datetime | None:
        """The moment of a wall clock time; of one that is left out: the change of the clock, or None if elapsing."""
        instant = wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
        if instant.astimezone(self.zone).replace(tzinfo=None, fold=0) == wall:
            return instant
        return None if self.elapsing else self._change_near(wall)

    def _is_doubled(self, wall: datetime) -> bool:
        first = wall.replace(tzinfo=self.zone, fold=0).utcoffset()
        second = wall.replace(tzinfo=self.zone, fold=1).utcoffset()
        assert first is not None
        assert second is not None
        return first > second

    def _change_near(self, wall: datetime) -> datetime:
        """The moment at which the clock is put on or back, for a wall clock time that is left out or comes twice."""
        one = wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        other = wall.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        low, high = min(one, other), max(one, other)
        new = high.astimezone(self.zone).utcoffset()
        while high - low > timedelta(seconds=1):
            middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
            if middle.astimezone(self.zone).utcoffset() == new:
                high = middle
            else:
                low = middle
        return high.replace(microsecond=0)

    def _wall_after(self, wall: datetime, began: int) -> datetime | None:
        """The first matching wall clock time later than ``wall``; gives up some decades after the year it began."""
        start = wall.replace(microsecond=0) + timedelta(seconds=1)
        day: date | None = start.date()
        clock: time | None = start.time()
        while day is not None:
            day = self._day_from(day, began)
            if day is None:
                return None
            found = self._time_from(clock if day == start.date() and clock is not None else time(0))
            if found is not None:
                return datetime.combine(day, found)
            clock = None
            day = day + timedelta(days=1)
        return None

    def _day_from(self, day: date, began: int) -> date | None:
        last = min(began + _YEARS_AHEAD, max(self.years)) if self.years is not None else began + _YEARS_AHEAD
        while day.year <= last:
            if self.years is not None and day.year not in self.years:
                day = date(day.year + 1, 1, 1)
            elif day.month not in self.months:
                day = date(day.year + (day.month == 12), day.month % 12 + 1, 1)
            elif self._day_matches(day):
                return day
            else:
                day += timedelta(days=1)
        return None

    def _day_matches(self, day: date) -> bool:
        in_month = self.days is None or any(rule.matches(day) for rule in self.days)
        in_week = self.weekdays is None or any(rule.matches(day) for rule in self.weekdays)
        if self.days is None or self.weekdays is None or self.both:
            return in_month and in_week
        return in_month or in_week

    def _time_from(self, start: time) -> time | None:
        hour, minute, second = start.hour, start.minute, start.second
        at = bisect.bisect_left(self.hours, hour)
        if at == len(self.hours):
            return None
        if self.hours[at] > hour:
            return time(self.hours[at], self.minutes[0], self.seconds[0])
        in_hour = bisect.bisect_left(self.minutes, minute)
        if in_hour < len(self.minutes):
            if self.minutes[in_hour] > minute:
                return time(hour, self.minutes[in_hour], self.seconds[0])
            in_minute = bisect.bisect_left(self.seconds, second)
            if in_minute < len(self.seconds):
                return time(hour, minute, self.seconds[in_minute])
            if in_hour + 1 < len(self.minutes):
                return time(hour, self.minutes[in_hour + 1], self.seconds[0])
        if at + 1 < len(self.hours):
            return time(self.hours[at + 1], self.minutes[0], self.seconds[0])
        return None


@lru_cache(maxsize=4096)
def parse_cron(expression: str, time_zone: str | None = None) -> Cron:
    """Read an expression of five fields (cron) or six or seven (Quartz), or a name such as ``@daily``. A time zone may
    follow the fields, as in ``0 0 3 * * ? Europe/Berlin``; without one ``time_zone`` holds, then UTC.

    ``config`` error for anything malformed, an unknown time zone and an expression that is never due."""
    words = expression.split()
    if words and words[0].lower() in _ALIASES:
        words[0:1] = _ALIASES[words[0].lower()].split()
    zone_name = time_zone or "UTC"
    if len(words) > 5 and _is_zone(words[-1]):
        zone_name = words.pop()
    zone = time_zone_named(zone_name)
    if len(words) not in (5, 6, 7):
        raise cron_error(expression, f"has {len(words)} fields")
    try:
        cron = _cron(expression, zone, words)
    except ValueError as error:
        raise cron_error(expression, str(error)) from None
    if cron.after(datetime.now(UTC)) is None:
        raise cron_error(expression, "is never due", hint="see which days its month and year fields leave")
    return cron


def _cron(expression: str, zone: tzinfo, words: list[str]) -> Cron:
    quartz = len(words) > 5
    second, minute, hour, day, month, weekday = words[:6] if quartz else ["0", *words]
    if quartz:
        day, weekday = _one_day_field(day, weekday)
    elif "?" in (day, weekday):
        raise ValueError("has a ? in five fields; ? belongs to Quartz's six or seven")
    return Cron(
        expression=expression,
        zone=zone,
        seconds=tuple(sorted(parse_numbers(fields.SECOND, second))),
        minutes=tuple(sorted(parse_numbers(fields.MINUTE, minute))),
        hours=tuple(sorted(parse_numbers(fields.HOUR, hour))),
        days=None if day in ("*", "?") else parse_days(day),
        months=parse_numbers(fields.MONTH, month),
        weekdays=None if weekday in ("*", "?") else parse_weekdays(weekday, quartz=quartz),
        years=parse_numbers(fields.YEAR, words[6]) if len(words) == 7 and words[6] != "*" else None,
        both=quartz or day.startswith("*") or weekday.startswith("*"),
        elapsing=minute.startswith("*") or hour.startswith("*"),
    )


def _one_day_field(day: str, weekday: str) -> tuple[str, str]:
    """Quartz wants ``?`` in one of the two; ``*`` there means the same and is taken as well."""
    if day == weekday == "?":
        raise ValueError("has ? for both day of month and day of week; one of them must say when")
    if all(each not in ("*", "?") for each in (day, weekday)):
        raise ValueError("restricts both day of month and day of week; Quartz wants ? in one of them")
    return day, weekday


def _is_zone(word: str) -> bool:
    """Whether the last word can only be a time zone: no field holds a slash behind letters, or is UTC."""
    upper = word.upper()
    if upper in ("UTC", "GMT", "Z"):
        return True
    return word[:1].isalpha() and upper[:3] not in {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"} and upper != "L"


def time_zone_named(name: str) -> tzinfo:
    """The zone of the IANA database; ``config`` error with the nearest name when there is none."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(name, sorted(zoneinfo.available_timezones()))
        raise SynclineError(
            ErrorKind.CONFIG,
            f"there is no time zone {name!r}",
            hint=f"did you mean {near!r}?" if near else "use a name of the IANA database, such as Europe/Berlin",
        ) from None
