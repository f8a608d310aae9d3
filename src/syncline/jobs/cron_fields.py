"""The fields of a cron expression, read into sets of numbers and rules for days.

Two dialects that differ in more than the number of fields:

    five fields (cron):    minute hour day-of-month month day-of-week       weekdays 0-7, 0 and 7 are Sunday
    six or seven (Quartz): second minute hour day-of-month month day-of-week [year]     weekdays 1-7, 1 is Sunday

Sources: crontab(5) of Debian, and Quartz 2's CronExpression. ``L``, ``W`` and ``#`` are understood in both.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["DayRule", "Field", "cron_error", "parse_days", "parse_numbers", "parse_weekdays"]

_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
#: Monday is 0, as in Python.
_WEEKDAYS = {"MON": 0, "TUE": 1, "WED": 2, "THU": 3, "FRI": 4, "SAT": 5, "SUN": 6}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field's name, bounds and names for numbers."""

    name: str
    low: int
    high: int
    names: Mapping[str, int]


SECOND = Field(name="second", low=0, high=59, names={})
MINUTE = Field(name="minute", low=0, high=59, names={})
HOUR = Field(name="hour", low=0, high=23, names={})
DAY = Field(name="day of month", low=1, high=31, names={})
MONTH = Field(name="month", low=1, high=12, names=_MONTHS)
YEAR = Field(name="year", low=1970, high=2099, names={})
# 7 is Sunday as well, and ranges such as 5-7 reach it.
CRON_WEEKDAY = Field(name="day of week", low=0, high=7, names={n: (d + 1) % 7 for n, d in _WEEKDAYS.items()})
QUARTZ_WEEKDAY = Field(name="day of week", low=1, high=7, names={n: (d + 1) % 7 + 1 for n, d in _WEEKDAYS.items()})


@dataclass(frozen=True, kw_only=True)
class DayRule:
    """One way for a day to match: ``days`` of the month, ``weekdays`` (Monday 0), the day ``from_last`` days before the
    month's last, the working day ``nearest`` to a day of the month (with ``from_last``: to that one), the ``nth`` of a
    weekday (-1: the last)."""

    days: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    from_last: int | None = None
    nearest: int | None = None
    nth: tuple[int, int] | None = None

    def matches(self, day: date) -> bool:
        last = calendar.monthrange(day.year, day.month)[1]
        if self.nth is not None:
            weekday, count = self.nth
            if day.weekday() != weekday:
                return False
            return day.day > last - 7 if count == -1 else (day.day - 1) // 7 + 1 == count
        if self.nearest is not None:
            wanted = last - self.from_last if self.from_last is not None else self.nearest
            return 1 <= wanted <= last and day == _working_day(day.replace(day=wanted), last)
        if self.from_last is not None:
            return day.day == last - self.from_last
        return day.day in self.days or day.weekday() in self.weekdays


def _working_day(day: date, last: int) -> date:
    """The day from Monday to Friday nearest to ``day`` within its month."""
    if day.weekday() == 5:
        return day - timedelta(days=1) if day.day > 1 else day + timedelta(days=2)
    if day.weekday() == 6:
        return day + timedelta(days=1) if day.day < last else day - timedelta(days=2)
    return day


def cron_error(expression: str, problem: str, hint: str = "") -> SynclineError:
    """A ``config`` error about an expression."""
    return SynclineError(
        ErrorKind.CONFIG,
        f"the cron expression {expression!r} {problem}",
        hint=hint or "five fields as in crontab (0 3 * * *), or six or seven as in Quartz (0 0 3 * * ?)",
    )


def parse_numbers(field: Field, text: str) -> frozenset[int]:
    """``*``, numbers, names, ranges (also over the end: FRI-MON), steps, lists. Raises ValueError with the problem."""
    found: set[int] = set()
    for item in text.split(","):
        found |= _item(field, item)
    return frozenset(found)


def _item(field: Field, item: str) -> set[int]:
    body, slash, step_text = item.partition("/")
    step = 1
    if slash:
        if not step_text.isdecimal() or not 1 <= int(step_text) <= max(1, field.high):
            raise ValueError(f"has the step {step_text!r} for {field.name}")
        step = int(step_text)
    if body == "*" or (body == "" and slash):
        first, last = field.low, field.high if field is not CRON_WEEKDAY else 6
    elif "-" in body:
        low, _, high = body.partition("-")
        first, last = _number(field, low), _number(field, high)
    else:
        first = _number(field, body)
        last = field.high if slash else first
    if first <= last:
        return set(range(first, last + 1, step))
    if field is YEAR:
        raise ValueError(f"has years that run backwards: {body}")
    # Over the end: the count of steps goes on in the next round.
    span = field.high - field.low + 1 if field is not CRON_WEEKDAY else 7
    return {(n - field.low) % span + field.low for n in range(first, last + span + 1, step)}


def _number(field: Field, text: str) -> int:
    number = field.names.get(text.upper())
    if number is None:
        if not text.isdecimal():
            raise ValueError(f"has {text!r} for {field.name}")
        number = int(text)
    if not field.low <= number <= field.high:
        raise ValueError(f"has {text} for {field.name}, which goes from {field.low} to {field.high}")
    return number


def parse_days(text: str) -> tuple[DayRule, ...]:
    """The field for days of the month. Raises ValueError."""
    rules: list[DayRule] = []
    plain: set[int] = set()
    for item in text.upper().split(","):
        if item.startswith("L"):
            rest = item[1:]
            weekday = rest.endswith("W")
            rest = rest.removesuffix("W")
            if rest and not (rest.startswith("-") and rest[1:].isdecimal() and int(rest[1:]) <= 30):
                raise ValueError(f"has {item!r} for day of month")
            before = int(rest[1:]) if rest else 0
            rules.append(DayRule(from_last=before, nearest=0 if weekday else None))
        elif item.endswith("W"):
            rules.append(DayRule(nearest=_number(DAY, item[:-1])))
        else:
            plain |= _item(DAY, item)
    if plain:
        rules.append(DayRule(days=frozenset(plain)))
    return tuple(rules)


def parse_weekdays(text: str, *, quartz: bool) -> tuple[DayRule, ...]:
    """The field for days of the week, in the dialect's numbers. Raises ValueError."""
    field = QUARTZ_WEEKDAY if quartz else CRON_WEEKDAY
    rules: list[DayRule] = []
    plain: set[int] = set()
    for item in text.upper().split(","):
        name, hash_sign, count = item.partition("#")
        if hash_sign:
            if count not in {"1", "2", "3", "4", "5"}:
                raise ValueError(f"has {item!r} for day of week: after # comes 1 to 5")
            rules.append(DayRule(nth=(_weekday(_number(field, name), quartz), int(count))))
        elif item == "L":
            plain.add(field.high if quartz else 6)  # Saturday, the last day of their week
        elif item.endswith("L") and item != "L":
            rules.append(DayRule(nth=(_weekday(_number(field, item[:-1]), quartz), -1)))
        else:
            plain |= _item(field, item)
    if plain:
        rules.append(DayRule(weekdays=frozenset(_weekday(n, quartz) for n in plain)))
    return tuple(rules)


def _weekday(number: int, quartz: bool) -> int:
    """Monday 0, from either dialect's number."""
    return (number - 2) % 7 if quartz else (number - 1) % 7
