"""The rules: pure functions of what is known of a connection and of the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from syncline.alerts.config import AlertRules, RuleName
from syncline.alerts.facts import Facts

__all__ = ["Finding", "judge"]

#: What was over a limit is fine again below this part of it, so that what swings around the limit is one alert.
_BACK_BELOW = 0.8


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule says now. ``bad``, ``good``, or ``once``: worth a message, and over with it. ``sentence`` says what
    is so, ``hint`` what to do next."""

    state: Literal["bad", "good", "once"]
    sentence: str = ""
    hint: str = ""
    after_seconds: float = 0.0


_GOOD = Finding(state="good")


def judge(rules: AlertRules, facts: Facts, now: datetime) -> Mapping[RuleName, Finding]:
    """What each rule says; a rule that is off says ``good``, one that has nothing to go by is left out: its alert
    stays as it is."""
    found: dict[RuleName, Finding] = {}
    for name in get_args(RuleName):
        if not getattr(rules, name).enabled:
            found[name] = _GOOD
        elif (finding := _RULES[name](rules, facts, now)) is not None:
            found[name] = finding
    return found


def _failure(_: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    end = facts.last_end
    if end is None or end.status == "cancelled":
        return None
    if end.status == "succeeded":
        return _GOOD
    error = end.error
    if error is None:
        return Finding(state="bad", sentence="the sync failed", hint="look at the job's log")
    return Finding(
        state="bad", sentence=f"the sync failed ({error.kind.value}): {error.message}", hint=error.hint or ""
    )


def _sync_duration(rules: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    limit = rules.sync_duration.max_minutes * 60
    if facts.running_since is not None:
        seconds = (now - facts.running_since).total_seconds()
        if seconds <= limit:
            return None  # not over yet: how it ends will tell
        still = "has been running for"
    elif facts.last_seconds is not None:
        seconds, still = facts.last_seconds, "took"
    else:
        return None
    if seconds <= limit:
        return _GOOD
    return Finding(
        state="bad",
        sentence=f"the sync {still} {_minutes(seconds)}, more than {_minutes(limit)}",
        hint="see which stream takes the time; raise concurrency, read incrementally, or raise sync_duration",
    )


def _rows_synced(rules: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    if facts.last_end is None or facts.last_end.status != "succeeded":
        return None
    least = rules.rows_synced.min
    if facts.rows >= least:
        return _GOOD
    return Finding(
        state="bad",
        sentence=f"the sync wrote {facts.rows:,} rows, fewer than {least:,}",
        hint="is the source still written to, and is the cursor column still set?",
    )


def _file_size(rules: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    if facts.running_since is not None or not facts.files:
        return None
    least, most = rules.file_size.min_mb * 1e6, rules.file_size.max_mb * 1e6
    mean, largest = sum(facts.files) / len(facts.files), max(facts.files)
    if largest > most:
        return Finding(
            state="bad",
            sentence=f"a file of {largest / 1e6:,.0f} MB was written, more than {most / 1e6:,.0f} MB",
            hint="lower the destination's target file size",
        )
    if mean < least:
        return Finding(
            state="bad",
            sentence=f"files of {mean / 1e6:,.1f} MB on average were written, less than {least / 1e6:,.0f} MB",
            hint="sync less often or partition by fewer values, so that files grow",
        )
    return _GOOD


def _lag(rules: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    if facts.lag_seconds is None:
        return None
    limit = rules.lag.max_seconds
    if facts.lag_seconds > limit:
        return Finding(
            state="bad",
            sentence=f"the destination is {_minutes(facts.lag_seconds)} behind the source, more than {_minutes(limit)}",
            hint="look at the destination's load and at `syncline lag`; a large transaction at the source passes",
            after_seconds=rules.lag.for_seconds,
        )
    return _GOOD if facts.lag_seconds <= limit * _BACK_BELOW else None


def _retained_wal(rules: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    if facts.retained_bytes is None:
        return None
    limit = rules.retained_wal.max_gb * 1e9
    if facts.retained_bytes > limit:
        return Finding(
            state="bad",
            sentence=f"the source keeps {facts.retained_bytes / 1e9:.1f} GB of its log for us, more than "
            f"{limit / 1e9:.1f} GB",
            hint="let the connection run, or remove it with `syncline forget` so that its slot goes",
        )
    return _GOOD if facts.retained_bytes <= limit * _BACK_BELOW else None


def _schema_change(_: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    if not facts.schema_changes:
        return None
    shown = facts.schema_changes[:10]
    more = f" and {len(facts.schema_changes) - 10} more" if len(facts.schema_changes) > 10 else ""
    return Finding(
        state="once",
        sentence="the source's schema changed: " + "; ".join(shown) + more,
        hint="see that what reads the destination can do with it",
    )


def _freshness(rules: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    limit = rules.freshness.max_minutes
    if limit is None:
        if facts.expected_every is None:
            return _GOOD
        limit = (2 * facts.expected_every + 600) / 60
    if facts.last_success_at is None:
        return None
    age = (now - facts.last_success_at).total_seconds()
    if age <= limit * 60:
        return _GOOD
    return Finding(
        state="bad",
        sentence=f"no successful sync for {_minutes(age)}, expected within {_minutes(limit * 60)}",
        hint="look at the connection's last jobs and its schedule",
    )


def _quarantine(rules: AlertRules, facts: Facts, now: datetime) -> Finding | None:
    if facts.running_since is not None or facts.last_end is None:
        return None
    if facts.quarantined <= rules.quarantine.max_rows:
        return _GOOD
    return Finding(
        state="bad",
        sentence="one row was put into quarantine"
        if facts.quarantined == 1
        else f"{facts.quarantined:,} rows were put into quarantine",
        hint="see them with `syncline quarantine list`",
    )


_RULES: Mapping[RuleName, Callable[[AlertRules, Facts, datetime], Finding | None]] = {
    "failure": _failure,
    "sync_duration": _sync_duration,
    "rows_synced": _rows_synced,
    "file_size": _file_size,
    "lag": _lag,
    "retained_wal": _retained_wal,
    "schema_change": _schema_change,
    "freshness": _freshness,
    "quarantine": _quarantine,
}


def _minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
