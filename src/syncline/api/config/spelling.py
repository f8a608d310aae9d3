"""The same things in the words of Airbyte's two APIs."""

from __future__ import annotations

from collections.abc import Mapping

from syncline.api.errors import ApiError

__all__ = ["CONFIG_TYPES", "NAMESPACES", "SCHEMA_UPDATES", "SYNC_MODES", "join_mode", "split_mode", "translated"]

#: Sync mode -> what the config API says of the source and of the destination.
SYNC_MODES: Mapping[str, tuple[str, str]] = {
    "full_refresh_overwrite": ("full_refresh", "overwrite"),
    "full_refresh_append": ("full_refresh", "append"),
    "full_refresh_overwrite_deduped": ("full_refresh", "overwrite_dedup"),
    "incremental_append": ("incremental", "append"),
    "incremental_deduped_history": ("incremental", "append_dedup"),
}

#: Public -> config, where they differ.
NAMESPACES: Mapping[str, str] = {"source": "source", "destination": "destination", "custom_format": "customformat"}
SCHEMA_UPDATES: Mapping[str, str] = {
    "ignore": "ignore",
    "disable_connection": "disable",
    "propagate_columns": "propagate_columns",
    "propagate_fully": "propagate_fully",
}
CONFIG_TYPES: Mapping[str, str] = {
    "sync": "sync",
    "reset": "reset_connection",
    "clear": "clear",
    "refresh": "refresh",
}

_JOINED = {halves: mode for mode, halves in SYNC_MODES.items()}


def split_mode(mode: str) -> tuple[str, str]:
    """``incremental_append`` -> (``incremental``, ``append``)."""
    return SYNC_MODES[mode]


def join_mode(sync_mode: str, destination_sync_mode: str) -> str:
    """The other way round. 422 for a pair that Airbyte does not have."""
    try:
        return _JOINED[sync_mode, destination_sync_mode]
    except KeyError:
        raise ApiError(
            422, f"There is no sync mode {sync_mode!r} with destination sync mode {destination_sync_mode!r}."
        ) from None


def translated(value: str | None, words: Mapping[str, str], field: str) -> str | None:
    """A word of the config API in the public API's; None stays None. Either spelling is taken. 422 for another."""
    if value is None or value in words:
        return value
    for public, config in words.items():
        if value == config:
            return public
    raise ApiError(422, f"{field} cannot be {value!r}; it is one of {', '.join(words.values())}.")
