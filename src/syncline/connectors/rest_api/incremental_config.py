"""How to ask for what is new."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator

from syncline.sdk.config import ConnectorConfig

__all__ = ["Incremental", "span"]

_SPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|w)?[a-z]*\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def span(value: Any) -> Any:
    """Seconds from ``10m``, ``2h``, ``3d``; a number stays what it is. ValueError for what is no time."""
    if not isinstance(value, str):
        return value
    match = _SPAN.fullmatch(value)
    if match is None:
        raise ValueError("write a time such as 10m, 2h or 3d")
    return float(match[1]) * _SECONDS[(match[2] or "s").lower()]


class Incremental(ConnectorConfig):
    """The field that grows with every change, and the parameter that takes its last value. ``{since}`` and ``{until}``
    stand for the bounds in path, params and body."""

    cursor_field: str = Field(description="field of a record (or path inside it) that grows with every change")
    parameter: str | None = Field(
        default=None,
        validation_alias=AliasChoices("parameter", "start_parameter", "since_parameter"),
        description="query parameter that takes the lower bound; none where {since} stands in the request, or where "
        "the API cannot filter: then everything is read and what is old left out",
    )
    end_parameter: str | None = Field(default=None, description="query parameter that takes the upper bound")
    start: str | int | float | None = Field(
        default=None,
        validation_alias=AliasChoices("start", "start_value", "start_date"),
        description="lower bound of the first reading (default: everything)",
    )
    format: Literal["iso", "date", "unix", "unix_ms", "number", "text"] = Field(
        default="iso",
        description="iso: times in ISO 8601. date: days. unix, unix_ms: seconds or milliseconds since 1970. number, "
        "text: values compared as such",
    )
    parameter_format: Literal["iso", "date", "unix", "unix_ms", "number", "text"] | None = Field(
        default=None, description="form in which the bounds are sent, where it is another than the field's"
    )
    lookback: float = Field(
        default=0,
        validation_alias=AliasChoices("lookback", "lookback_window"),
        description="read so much again before the last value (10m, 2h, 3d; a number for numbers)",
    )
    step: float | None = Field(
        default=None, description="ask for at most so long a stretch of time at once (30d); each is a checkpoint"
    )

    @field_validator("lookback", "step", mode="before")
    @classmethod
    def _span(cls, value: Any) -> Any:
        return span(value)

    @field_validator("start", mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        # YAML reads 2020-01-01 as a date.
        if isinstance(value, datetime):
            return (value.replace(tzinfo=UTC) if value.tzinfo is None else value).isoformat()
        return value.isoformat() if isinstance(value, date) else value
