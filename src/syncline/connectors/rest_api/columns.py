"""A stream's columns: declared, kept from an earlier look, or inferred from a sample and then kept.

whole numbers -> int64 (numeric text beyond it)      fractions -> double      true, false -> bool
texts that are all dates, or all times with a zone -> date32, timestamp      other texts -> string
objects, lists, what is never set, and kinds that disagree -> JSON text
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from syncline.connectors.rest_api.config import StreamConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.sdk.records.json_schema import WHOLE

__all__ = ["KeptColumns", "inferred"]

_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_TIME = re.compile(_DATE.pattern + r"[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})")
_INT64 = range(-(2**63), 2**63)
_EXACT = 2**53


def inferred(records: Iterable[Any], stream: StreamConfig) -> StreamSchema:
    """From records as JSON text, in the order in which fields are first seen. Without any record: what is declared."""
    kinds: dict[str, set[str]] = {}
    for record in records:
        for name, value in msgspec.json.decode(record, type=dict[str, Any]).items():
            kinds.setdefault(name, set()).add(_kind(value))
    if not kinds:
        names = dict.fromkeys(stream.primary_key)
        fields = [Field(name=n, type=pa.string()) for n in names]
        return StreamSchema(fields=tuple(fields) or (Field(name=WHOLE, type=pa.string(), logical="json"),))
    return StreamSchema(fields=tuple(_field(name, found - {"null"}) for name, found in kinds.items()))


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return ("int" if abs(value) <= _EXACT else "long") if value in _INT64 else "huge"
        case float():
            return "float"
        case str() if _DATE.fullmatch(value):
            return "date"
        case str() if _TIME.fullmatch(value):
            return "time"
        case str():
            return "text"
        case _:
            return "json"


def _field(name: str, kinds: set[str]) -> Field:
    types: tuple[tuple[set[str], pa.DataType, str | None], ...] = (
        ({"bool"}, pa.bool_(), None),
        ({"int", "long"}, pa.int64(), None),
        ({"int", "float"}, pa.float64(), None),
        ({"int", "long", "huge", "float"}, pa.string(), "numeric"),
        ({"date"}, pa.date32(), None),
        ({"time"}, pa.timestamp("us", tz="UTC"), None),
        ({"date", "time", "text"}, pa.string(), None),
    )
    for allowed, kind, logical in types:
        if kinds and kinds <= allowed:
            return Field(name=name, type=kind, logical=logical)
    return Field(name=name, type=pa.string(), logical="json")


class KeptColumns:
    """What was inferred, in a file of the connection's folder: a stream's columns stay what they were, whatever a later
    sample holds. Changing the stream's own settings, or removing the file, infers anew."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rest-columns.json"

    def get(self, stream: StreamConfig) -> StreamSchema | None:
        kept = self._load().get(stream.name)
        if kept is None or kept["of"] != _digest(stream):
            return None
        return StreamSchema.from_json(kept["columns"])

    def put(self, stream: StreamConfig, schema: StreamSchema) -> None:
        all_of_them = {**self._load(), stream.name: {"of": _digest(stream), "columns": schema.to_json()}}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps(all_of_them, indent=1), encoding="utf-8")
        new.replace(self.path)

    def _load(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SynclineError(
                ErrorKind.CONFIG, f"the kept columns cannot be read: {self.path}", hint="remove the file to infer anew"
            ) from error


def _digest(stream: StreamConfig) -> str:
    """Of what decides the shape of its records; not of credentials, bounds or page sizes."""
    shape = stream.model_dump(mode="json", include={"path", "records", "explode", "keep", "flatten", "primary_key"})
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]
