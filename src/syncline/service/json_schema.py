"""The fields of a stored catalog as a JSON schema with Airbyte's types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["of_fields"]

_NUMBERS = {"halffloat", "float", "double"}


def of_fields(fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``fields`` as ``core.schema.Field.to_json`` writes them. Every field may be null."""
    properties = {field["name"]: _nullable(_logical(field) or _of(field["type"])) for field in fields}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": properties}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": ["null", schema["type"]]} if "type" in schema else schema


def _logical(field: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a text carrier means."""
    if field.get("logical") == "numeric":
        return {"type": "number"}
    if field.get("logical") == "json":
        return {"type": "object", "additionalProperties": True}
    return None


def _of(text: str) -> dict[str, Any]:
    """The type as ``core.schema.arrow_type_to_text`` writes it."""
    if text == "bool":
        return {"type": "boolean"}
    if re.fullmatch(r"u?int\d+", text):
        return {"type": "number", "airbyte_type": "integer"}
    if text in _NUMBERS or text.startswith("decimal"):
        return {"type": "number"}
    if text.startswith("date"):
        return {"type": "string", "format": "date"}
    if text.startswith("timestamp"):
        zone = "with" if "tz=" in text else "without"
        return {"type": "string", "format": "date-time", "airbyte_type": f"timestamp_{zone}_timezone"}
    if text.startswith("time"):
        return {"type": "string", "format": "time", "airbyte_type": "time_without_timezone"}
    if "binary" in text:
        return {"type": "string", "contentEncoding": "base64"}
    if text.startswith("list<"):
        return {"type": "array", "items": _of(text[len("list<") : -1])}
    if text.startswith("struct<"):
        return {"type": "object", "additionalProperties": True}
    return {"type": "string"}
