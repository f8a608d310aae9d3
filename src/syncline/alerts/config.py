"""The `alerts:` of a project file, and of a workspace or connection on the server: the same words in both."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

__all__ = ["AlertRules", "QuietHours", "RuleName"]

RuleName = Literal[
    "failure",
    "sync_duration",
    "rows_synced",
    "file_size",
    "lag",
    "retained_wal",
    "schema_change",
    "freshness",
    "quarantine",
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Model):
    enabled: bool = True


class SyncDuration(Rule):
    """A run that takes longer, told while it still runs."""

    max_minutes: float = Field(default=30, gt=0)


class RowsSynced(Rule):
    """A run that succeeded with fewer rows. Off until asked for: most increments are small."""

    enabled: bool = False
    min: int = Field(default=1000, ge=0)


class FileSize(Rule):
    """Files of a run whose mean is smaller, or one of which is larger. Off until asked for: small tables make small
    files."""

    enabled: bool = False
    min_mb: float = Field(default=10, ge=0)
    max_mb: float = Field(default=1000, gt=0)


class Lag(Rule):
    """A followed log that is further behind, for ``for_seconds`` without a break. Over when below four fifths."""

    max_seconds: float = Field(default=300, gt=0)
    for_seconds: float = Field(default=60, ge=0)


class RetainedWal(Rule):
    """Log that the source keeps for us. Over when below four fifths."""

    max_gb: float = Field(default=4, gt=0)


class Freshness(Rule):
    """No success for longer: ``max_minutes``, or (None) two intervals of the schedule and ten minutes."""

    max_minutes: float | None = Field(default=None, gt=0)


class Quarantine(Rule):
    """A run that put more rows aside."""

    max_rows: int = Field(default=0, ge=0)


def _switch(value: Any) -> Any:
    """``failure: true`` is short for ``failure: {enabled: true}``; a rule with settings is on."""
    if isinstance(value, bool):
        return {"enabled": value}
    if isinstance(value, dict) and "enabled" not in value:
        return {"enabled": True, **value}
    return value


class AlertRules(_Model):
    """What people are told of. ``repeat_hours``: an alert that stays open is told again."""

    failure: Annotated[Rule, BeforeValidator(_switch)] = Rule()
    sync_duration: Annotated[SyncDuration, BeforeValidator(_switch)] = SyncDuration()
    rows_synced: Annotated[RowsSynced, BeforeValidator(_switch)] = RowsSynced()
    file_size: Annotated[FileSize, BeforeValidator(_switch)] = FileSize()
    lag: Annotated[Lag, BeforeValidator(_switch)] = Lag()
    retained_wal: Annotated[RetainedWal, BeforeValidator(_switch)] = RetainedWal()
    schema_change: Annotated[Rule, BeforeValidator(_switch)] = Rule()
    freshness: Annotated[Freshness, BeforeValidator(_switch)] = Freshness()
    quarantine: Annotated[Quarantine, BeforeValidator(_switch)] = Quarantine()
    repeat_hours: float = Field(default=24, gt=0, le=87_600)  # ten years: what no clock can add must not come in

    def overridden(self, by: dict[str, Any]) -> AlertRules:
        """These, with what ``by`` says in their place, rule by rule."""
        return AlertRules.model_validate({**self.model_dump(), **by})


_CLOCK = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)$")


class QuietHours(_Model):
    """Messages wait until these hours are over, every day; what was resolved meanwhile is not told at all. ``start``
    may be later than ``end``: over midnight. ``except``: rules that are told at once all the same."""

    start: str
    end: str
    time_zone: str = "UTC"
    except_rules: list[RuleName] = Field(default_factory=list, alias="except")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @field_validator("start", "end")
    @classmethod
    def _is_clock(cls, value: str) -> str:
        if not _CLOCK.match(value):
            raise ValueError(f"{value!r} is no time of day: write it as 22:00")
        return value

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {value!r}: write it as Europe/Berlin") from None
        return value

    def until(self, moment: datetime) -> datetime | None:
        """When the quiet hours that ``moment`` (aware) is in are over; None outside of them."""
        here = moment.astimezone(ZoneInfo(self.time_zone))
        start, end = time.fromisoformat(self.start), time.fromisoformat(self.end)
        clock = here.time()
        within = start <= clock < end if start < end else clock >= start or clock < end
        if start == end or not within:
            return None
        day = here.date() + timedelta(days=1 if clock >= end else 0)
        return datetime.combine(day, end, tzinfo=here.tzinfo).astimezone(moment.tzinfo)
