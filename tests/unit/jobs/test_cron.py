"""When schedules are due: whole years against cronsim, against a search that tries every minute, and known dates."""

from __future__ import annotations

import calendar
import itertools
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.cron import Cron, parse_cron

# Northern and southern summers, changes at midnight, no change. (Lord Howe's half hour is left to the search below: the
# reference leaves out the half hour after it.)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Beirut", "Asia/Kolkata"]
# The table of "Advanced Scheduling Patterns".
TABLE = ["*/15 * * * *", "0 * * * *", "0 3 * * *", "0 9 * * 1-5"]
# What people write besides.
EXPRESSIONS = [
    *TABLE,
    "0 2 * * *",
    "30 2 * * *",
    "15,45 1-3 * * *",
    "0 0 * * *",
    "30 23 * * 0",
    "59 */5 * * *",
    "*/7 2 * * *",
    "0 12 1 * *",
    "0 12 1 * 1",
    "0 0 */2 * 3",
    "5 4 * * sun",
    "0 0 L * *",
    "0 0 * * 5L",
    "10 1 * * 2#2",
    "0 0 29 2 *",
    "* 2 * * *",
]


def due_times(cron: Cron, start: datetime, end: datetime) -> list[datetime]:
    found = []
    moment = cron.after(start)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = cron.after(moment)
    return found


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("expression", TABLE)
def test_a_year_as_debians_cron_has_it(expression: str, zone: str) -> None:
    _as_reference(expression, zone, datetime(2025, 12, 31, 20, 30, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_both_changes_of_the_clock_as_debians_cron_has_them(expression: str, zone: str) -> None:
    for change in _changes(ZoneInfo(zone), 2026) or [datetime(2026, 2, 28, tzinfo=UTC)]:
        _as_reference(expression, zone, change - timedelta(days=3), change + timedelta(days=8))


def _as_reference(expression: str, zone: str, start: datetime, end: datetime) -> None:
    ours = due_times(parse_cron(expression, zone), start, end)
    theirs: list[datetime] = []
    for moment in CronSim(expression.upper(), start.astimezone(ZoneInfo(zone))):
        utc = moment.astimezone(UTC)
        if utc > end:
            break
        # Several times of one left-out hour are one moment; the reference names it once for each.
        if not theirs or theirs[-1] != utc:
            theirs.append(utc)
    assert ours == theirs


@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.integers(0, 365 * 86400),
)
def test_asking_at_any_moment_gives_the_next_of_the_same_times(expression: str, zone: str, second: int) -> None:
    """What is due does not depend on when one asks: also in the middle of an hour that comes twice."""
    cron = parse_cron(expression, zone)
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    expected = next((t for t in due_times(cron, at - timedelta(days=2), at + timedelta(days=2)) if t > at), None)
    found = cron.after(at)
    if expected is not None:
        assert found == expected
    else:
        assert found is None or found > at + timedelta(days=2)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("expression", ["0 0/15 * * * ?", "0 */10 1-3 * * ?", "30 * 2 ? * SUN"])
def test_quartz_over_both_changes_of_the_clock_as_every_second_says(expression: str, zone: str) -> None:
    """Elapsing schedules: every second of the real time whose wall clock matches is due, and no other."""
    cron = parse_cron(expression, zone)
    assert cron.elapsing
    tz = ZoneInfo(zone)
    for change in _changes(tz, 2026):
        start, end = change - timedelta(hours=5), change + timedelta(hours=5)
        expected = []
        moment = start
        while moment < end:
            moment += timedelta(seconds=1)
            wall = moment.astimezone(tz)
            day_fits = cron.weekdays is None or wall.weekday() == 6
            if day_fits and wall.hour in cron.hours and wall.minute in cron.minutes and wall.second in cron.seconds:
                expected.append(moment)
        assert due_times(cron, start, end) == expected


@cache
def _changes(zone: ZoneInfo, year: int) -> list[datetime]:
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(366 * 24)]
    pairs = itertools.pairwise(hours)
    return [b for a, b in pairs if a.astimezone(zone).utcoffset() != b.astimezone(zone).utcoffset()]


def test_fixed_times_of_a_left_out_hour_are_due_once_when_the_clock_is_put_forward() -> None:
    cron = parse_cron("0 5,30,55 2 * * ? Europe/Berlin")
    found = due_times(cron, datetime(2026, 3, 28, 20, tzinfo=UTC), datetime(2026, 3, 29, 20, tzinfo=UTC))
    assert found == [datetime(2026, 3, 29, 1, 0, tzinfo=UTC)]  # 03:00 CEST


def test_fixed_times_of_a_doubled_hour_are_due_the_first_time_only() -> None:
    cron = parse_cron("0 30 2 * * ? Europe/Berlin")
    found = due_times(cron, datetime(2026, 10, 24, 20, tzinfo=UTC), datetime(2026, 10, 25, 20, tzinfo=UTC))
    assert found == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]  # 02:30 CEST, not 02:30 CET


@pytest.mark.parametrize(
    ("expression", "dates"),
    [
        ("0 0 12 L * ?", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("0 0 12 L-3 * ?", ["2026-01-28", "2026-02-25", "2026-03-28"]),
        ("0 0 12 LW * ?", ["2026-01-30", "2026-02-27", "2026-03-31"]),
        ("0 0 12 15W * ?", ["2026-01-15", "2026-02-16", "2026-03-16"]),
        ("0 0 12 1W * ?", ["2026-01-01", "2026-02-02", "2026-03-02"]),
        ("0 0 12 31W * ?", ["2026-01-30", "2026-03-31", "2026-05-29"]),
        ("0 0 12 ? * 6L", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("0 0 12 ? * FRIL", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("0 0 12 ? * 2#1", ["2026-01-05", "2026-02-02", "2026-03-02"]),
        ("0 0 12 ? * MON#5", ["2026-03-30", "2026-06-29", "2026-08-31"]),
        ("0 0 12 ? * L", ["2026-01-03", "2026-01-10", "2026-01-17"]),
        ("0 0 12 ? * 1", ["2026-01-04", "2026-01-11", "2026-01-18"]),
        ("0 0 12 ? * FRI-MON", ["2026-01-02", "2026-01-03", "2026-01-04"]),
        ("0 0 12 1/10 * ?", ["2026-01-01", "2026-01-11", "2026-01-21"]),
        ("0 0 12 29 2 ?", ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ("0 0 12 1 1 ? 2030-2040/5", ["2030-01-01", "2035-01-01", "2040-01-01"]),
        ("0 0 12 1,L * ?", ["2026-01-01", "2026-01-31", "2026-02-01"]),
    ],
)
def test_days_of_quartz(expression: str, dates: list[str]) -> None:
    cron = parse_cron(expression)
    moment: datetime | None = datetime(2025, 12, 31, 13, tzinfo=UTC)
    found = []
    for _ in dates:
        assert moment is not None
        moment = cron.after(moment)
        assert moment is not None
        found.append(moment.date().isoformat())
    assert found == dates


def test_days_of_quartz_against_the_calendar() -> None:
    """Every day of ten years, by rules written with the calendar alone."""

    def nearest_weekday(day: date) -> bool:
        wanted = date(day.year, day.month, 15)
        shift = {5: -1, 6: 1}.get(wanted.weekday(), 0)
        return day == wanted + timedelta(days=shift)

    def last_friday(day: date) -> bool:
        weeks = calendar.monthcalendar(day.year, day.month)
        return day.day == max(week[4] for week in weeks)

    def third_tuesday(day: date) -> bool:
        days = [week[1] for week in calendar.monthcalendar(day.year, day.month) if week[1]]
        return day.day == days[2]

    for expression, rule in (
        ("0 0 0 15W * ?", nearest_weekday),
        ("0 0 0 ? * 6L", last_friday),
        ("0 0 0 ? * 3#3", third_tuesday),
    ):
        days = [date(2026, 1, 1) + timedelta(days=n) for n in range(3652)]
        expected = [d for d in days if rule(d)]
        found = due_times(
            parse_cron(expression), datetime(2025, 12, 31, 12, tzinfo=UTC), datetime(2035, 12, 31, 12, tzinfo=UTC)
        )
        assert [t.date() for t in found] == expected


def test_a_zone_may_follow_the_fields() -> None:
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    assert parse_cron("0 0 3 * * ? UTC").after(moment) == datetime(2026, 7, 1, 3, tzinfo=UTC)
    assert parse_cron("0 0 3 * * ? Europe/Berlin").after(moment) == datetime(2026, 7, 1, 1, tzinfo=UTC)
    assert parse_cron("0 3 * * *", "Europe/Berlin").after(moment) == datetime(2026, 7, 1, 1, tzinfo=UTC)
    assert parse_cron("0 3 * * * Europe/Berlin", "UTC").after(moment) == datetime(2026, 7, 1, 1, tzinfo=UTC)
    assert parse_cron("@daily", "Asia/Kolkata").after(moment) == datetime(2026, 7, 1, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "part"),
    [
        ("", None, "0 fields"),
        ("* * * *", None, "4 fields"),
        ("60 * * * *", None, "minute"),
        ("*/0 * * * *", None, "step"),
        ("a * * * *", None, "'a'"),
        ("0 0 31 2 *", None, "never due"),
        ("0 0 30 2 ?", None, "?"),
        ("0 0 0 30 2 ?", None, "never due"),
        ("0 0 0 1 1 ? 2001", None, "never due"),
        ("0 0 0 ? * ?", None, "must say when"),
        ("0 0 0 1 * MON", None, "restricts both"),
        ("0 0 0 ? * 8", None, "day of week"),
        ("0 0 0 ? * 2#6", None, "1 to 5"),
        ("0 0 0 0W * ?", None, "day of month"),
        ("0 0 3 * * ? Europe/Berlyn", None, "Europe/Berlyn"),
        ("0 3 * * *", "Mars/Olympus", "Mars/Olympus"),
        ("0 3 * * *", "../../etc/passwd", "time zone"),
        ("1-x * * * *", None, "'x'"),
        ("-1 * * * *", None, "minute"),
        ("99999999999999999999 * * * *", None, "minute"),
    ],
)
def test_what_is_refused(expression: str, zone: str | None, part: str) -> None:
    with pytest.raises(SynclineError) as raised:
        parse_cron(expression, zone)
    assert raised.value.kind is ErrorKind.CONFIG
    assert part in raised.value.message
    assert raised.value.hint


@given(st.text(alphabet="0123456789*/,-LW#?@ MONFRI", max_size=30))
def test_nothing_else_than_a_config_error(text: str) -> None:
    try:
        parse_cron(text)
    except SynclineError as error:
        assert error.kind is ErrorKind.CONFIG  # noqa: PT017 - most texts are wrong, some are right
