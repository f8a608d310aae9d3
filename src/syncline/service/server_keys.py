"""Keys of a connection in the project file that only a server heeds: when it runs, its limits, its tags."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from syncline.service.errors import invalid
from syncline.store.values import Schedule

__all__ = ["AfterBlock", "ServerKeys", "schedule_text", "schedule_without_after"]

_EVERY = re.compile(r"every (\d{1,6}) (minute|hour|day|week|month)s?", re.IGNORECASE)


class AfterBlock(BaseModel):
    """Other connections of the file, or files, whose end or arrival starts this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    all: tuple[str, ...] | None = Field(default=None, description="connections that must all have ended")
    any: tuple[str, ...] | None = Field(default=None, description="connections of which one must have ended")
    on: Literal["success", "failure", "any"] | None = Field(default=None, description="success (default), failure, any")
    files: dict[str, Any] | None = Field(default=None, description="start when files arrive, see server/schedules.md")


class ServerKeys(BaseModel):
    """Read by ``syncline apply``; ``syncline sync`` runs a connection at once, whatever they say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schedule: str | None = Field(
        default=None, description='cron expression, "every 3 hours", continuous, or manual; used by the server'
    )
    time_zone: str | None = Field(default=None, description="zone of the cron expression (default: UTC)")
    after: AfterBlock | None = Field(default=None, description="runs when other connections have ended, on the server")
    enabled: bool = Field(default=True, description="false: the server neither schedules nor starts it")
    tags: tuple[str, ...] = Field(default=(), description="words that the server lists connections by")
    priority: int = Field(default=0, ge=-1000, le=1000, description="higher ones leave the server's queue first")
    timeout_seconds: float | None = Field(default=None, gt=0, description="the server ends a longer run")
    no_progress_seconds: float = Field(default=600.0, gt=0, description="the server ends a run that does nothing")
    max_attempts: int = Field(default=3, ge=1, le=100, description="tries of one run on the server")

    prefix: str = Field(default="", description="before the names of tables, as Airbyte has it; on the server only")
    namespace_definition: Literal["source", "destination", "custom_format"] = Field(
        default="destination", description="Airbyte's choice of schemas at the destination; on the server only"
    )
    namespace_format: str | None = Field(default=None, description="with custom_format: ${SOURCE_NAMESPACE} and text")

    @field_validator("after", mode="before")
    @classmethod
    def _names_or_block(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"all": [value]}
        return {"all": value} if isinstance(value, list) else value


def schedule_without_after(keys: ServerKeys) -> Schedule:
    """When the connection runs, but for ``after``, whose names are not ids yet. Raises ``config``."""
    if keys.schedule is not None and keys.after is not None:
        raise invalid("schedule", "stands beside after", hint="keep one of them")
    text = (keys.schedule or "manual").strip()
    if keys.time_zone is not None and (text in ("manual", "continuous") or _EVERY.fullmatch(text)):
        raise invalid("time_zone", "says nothing without a cron expression", hint="remove it")
    if text in ("manual", "continuous"):
        return Schedule(kind=cast(Any, text))
    every = _EVERY.fullmatch(text)
    if every is not None:
        return Schedule(kind="basic", units=int(every[1]), time_unit=cast(Any, every[2].lower() + "s"))
    return Schedule(kind="cron", cron_expression=text, time_zone=keys.time_zone)


def schedule_text(schedule: Schedule) -> str | None:
    """As the file says it; None for a connection that runs when it is asked to, or after others."""
    if schedule.kind == "cron":
        return schedule.cron_expression
    if schedule.kind == "basic":
        unit = str(schedule.time_unit)
        return f"every {schedule.units} {unit.removesuffix('s') if schedule.units == 1 else unit}"
    return "continuous" if schedule.kind == "continuous" else None
