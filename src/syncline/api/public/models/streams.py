"""What a source offers, as the public API has it."""

from __future__ import annotations

from syncline.api.wire import WireModel

__all__ = ["StreamProperties"]


class StreamProperties(WireModel):
    """One stream that a source offers, as one of a bare list."""

    stream_name: str
    #: So spelled by Airbyte.
    streamnamespace: str | None = None
    sync_modes: list[str]
    default_cursor_field: list[str]
    source_defined_cursor_field: bool
    source_defined_primary_key: list[list[str]]
    property_fields: list[list[str]]
