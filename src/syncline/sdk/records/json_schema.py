"""From a stream's JSON Schema, as an Airbyte catalog has it, to our fields.

    integer -> int64          number -> double         boolean -> bool        string -> string
    date -> date32            date-time -> timestamp[us, UTC], or without a zone where ``airbyte_type`` says so
    objects, arrays, unions and what is not declared -> JSON text

Sources: https://docs.airbyte.com/understanding-airbyte/supported-data-types and the protocol's well-known types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from syncline.core.schema import Field, StreamSchema

__all__ = ["WHOLE", "schema_of"]

#: The column of a stream that declares none: the record as it is.
WHOLE = "data"

_JSON = (pa.string(), "json")
_TEXT = (pa.string(), None)
_ZONED, _LOCAL = (pa.timestamp("us", tz="UTC"), None), (pa.timestamp("us"), None)
_WELL_KNOWN = {
    "String": _TEXT,
    "BinaryData": _TEXT,
    "Date": (pa.date32(), None),
    "TimestampWithTimezone": _ZONED,
    "TimestampWithoutTimezone": _LOCAL,
    "TimeWithTimezone": _TEXT,
    "TimeWithoutTimezone": _TEXT,
    "Number": (pa.float64(), None),
    "Integer": (pa.int64(), None),
    "Boolean": (pa.bool_(), None),
}


def schema_of(json_schema: Mapping[str, Any]) -> StreamSchema:
    """The columns, in the order in which they are declared."""
    properties = json_schema.get("properties") or {}
    if not properties:
        return StreamSchema(fields=(Field(name=WHOLE, type=pa.string(), logical="json"),))
    fields = []
    for name, declared in properties.items():
        kind, logical = _kind(declared if isinstance(declared, Mapping) else {})
        fields.append(Field(name=name, type=kind, logical=logical))
    return StreamSchema(fields=tuple(fields))


def _kind(declared: Mapping[str, Any]) -> tuple[pa.DataType, str | None]:
    if "$ref" in declared:
        return _WELL_KNOWN.get(str(declared["$ref"]).rsplit("/", 1)[-1], _JSON)
    for union in ("oneOf", "anyOf"):
        if union in declared:
            arms = [a for a in declared[union] if isinstance(a, Mapping) and a.get("type") not in ("null", ["null"])]
            return _kind(arms[0]) if len(arms) == 1 else _JSON
    said = declared.get("type")
    types = {said} if isinstance(said, str) else set(said or ())
    types.discard("null")
    special = declared.get("airbyte_type")
    if types == {"integer", "number"}:
        types = {"number"}
    if types == {"string"}:
        return _text_kind(declared.get("format"), special)
    if types == {"boolean"}:
        return pa.bool_(), None
    if types == {"integer"} or (types == {"number"} and special == "integer"):
        return (pa.string(), "numeric") if special == "big_integer" else (pa.int64(), None)
    if types == {"number"}:
        return (pa.string(), "numeric") if special == "big_number" else (pa.float64(), None)
    return _JSON


def _text_kind(form: Any, special: Any) -> tuple[pa.DataType, str | None]:
    if special in ("big_integer", "big_number"):
        return pa.string(), "numeric"
    if form == "date-time":
        return _LOCAL if special == "timestamp_without_timezone" else _ZONED
    if form == "date":
        return pa.date32(), None
    return _TEXT
