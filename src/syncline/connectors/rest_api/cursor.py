"""Values of a cursor: compared as what they mean, sent as the API wants them, kept in the state as text or number."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from syncline.connectors.rest_api.incremental_config import Incremental
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.records.values import Contradiction, instant

__all__ = ["CursorKind", "Value"]

#: Comparable: a time in seconds since 1970, a number, or a text.
Value = float | int | str

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class CursorKind:
    """How one stream's cursor reads and is written. Times are whole microseconds since 1970 inside."""

    config: Incremental

    @property
    def is_time(self) -> bool:
        return self.config.format in ("iso", "date", "unix", "unix_ms")

    def read(self, said: Any) -> Value | None:
        """From a record's decoded value; None for NULL. ValueError for what is no such value."""
        if said is None or said == "":
            return None
        match self.config.format:
            case "iso" | "date":
                if isinstance(said, int | float) and not isinstance(said, bool):
                    raise ValueError("a number where a time is declared: set incremental.format to unix or unix_ms")
                try:
                    return _micros(instant(str(said), zoned=True))
                except Contradiction as error:
                    raise ValueError(str(error)) from None
            case "unix":
                return round(float(said) * 1_000_000)
            case "unix_ms":
                return round(float(said) * 1000)
            case "number":
                return said if isinstance(said, int) else float(said)
            case _:
                return str(said)

    def start(self) -> Value | None:
        """The configured lower bound. Times may be given in ISO 8601 whatever the API's own format is."""
        said = self.config.start
        if said is None:
            return None
        try:
            if self.is_time and isinstance(said, str) and not said.replace(".", "", 1).isdigit():
                return _micros(instant(said, zoned=True))
            return self.read(said)
        except ValueError as error:
            raise SynclineError(
                ErrorKind.CONFIG, f"incremental.start {said!r}: {error}", hint="write it as 2020-01-01 or in the format"
            ) from None

    def written(self, value: Value | None) -> Any:
        """As the API takes it."""
        if value is None:
            return None
        match self.config.parameter_format or self.config.format:
            case "iso":
                moment = _EPOCH + timedelta(microseconds=int(value))
                text = moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds")
                return text.replace("+00:00", "Z")
            case "date":
                return (_EPOCH + timedelta(microseconds=int(value))).date().isoformat()
            case "unix":
                return int(value) // 1_000_000
            case "unix_ms":
                return int(value) // 1000
            case _:
                return value

    def kept(self, value: Value | None) -> Any:
        """As the state holds it: people read it too."""
        if value is None or not self.is_time:
            return value
        return (_EPOCH + timedelta(microseconds=int(value))).isoformat().replace("+00:00", "Z")

    def unkept(self, said: Any) -> Value | None:
        """Back from the state. ``data`` for what no state of ours holds (somebody may have set it)."""
        if said is None:
            return None
        try:
            return _micros(instant(str(said), zoned=True)) if self.is_time else self.read(said)
        except ValueError as error:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the state's cursor {said!r} cannot be read: {error}",
                hint="set it again (syncline state set), or reset the stream",
            ) from None

    def back(self, value: Value | None, by: float) -> Value | None:
        """So much earlier: seconds for times, the number itself for numbers."""
        if value is None or not by or isinstance(value, str):
            return value
        return int(value) - round(by * 1_000_000) if self.is_time else value - by

    def moment(self, at: datetime) -> Value:
        return _micros(at)


def _micros(at: datetime | date) -> int:
    assert isinstance(at, datetime)
    return (at.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
