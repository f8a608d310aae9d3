"""Fields and schemas: what a stream's rows look like, as plain data that can be written as JSON.

The *carrier* is the Arrow type in which a value travels; ``native`` is the type in the source's own words and
``logical`` says what a text carrier means, so that a destination can choose a better column type than text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Field", "StreamSchema", "arrow_type_from_text", "arrow_type_to_text"]

_SIMPLE: dict[str, pa.DataType] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "halffloat": pa.float16(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "large_string": pa.large_string(),
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
    "date32[day]": pa.date32(),
    "date64[ms]": pa.date64(),
    "time32[s]": pa.time32("s"),
    "time32[ms]": pa.time32("ms"),
    "time64[us]": pa.time64("us"),
    "time64[ns]": pa.time64("ns"),
    "duration[us]": pa.duration("us"),
    "month_day_nano_interval": pa.month_day_nano_interval(),
}


def arrow_type_to_text(kind: pa.DataType) -> str:
    """The Arrow type as text that :func:`arrow_type_from_text` reads back: ``decimal128(15, 2)``, ``list<string>``."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{arrow_type_to_text(kind.value_type)}>"
    if pa.types.is_struct(kind):
        inner = ";".join(f"{f.name}:{arrow_type_to_text(f.type)}" for f in kind)
        return f"struct<{inner}>"
    return str(kind)


def arrow_type_from_text(text: str) -> pa.DataType:
    """Inverse of :func:`arrow_type_to_text`. Raises ``internal`` for text it never wrote."""
    if text in _SIMPLE:
        return _SIMPLE[text]
    if m := re.fullmatch(r"decimal(128|256)\((\d+), (-?\d+)\)", text):
        make = pa.decimal128 if m[1] == "128" else pa.decimal256
        return make(int(m[2]), int(m[3]))
    if m := re.fullmatch(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]", text):
        return pa.timestamp(m[1], tz=m[2])
    if m := re.fullmatch(r"fixed_size_binary\[(\d+)\]", text):
        return pa.binary(int(m[1]))
    if m := re.fullmatch(r"list<(.+)>", text):
        return pa.list_(arrow_type_from_text(m[1]))
    if m := re.fullmatch(r"struct<(.*)>", text):
        return pa.struct([_struct_field(part) for part in _split_top(m[1])])
    raise SynclineError(ErrorKind.INTERNAL, f"Arrow type {text!r} has no text form here")


def _struct_field(text: str) -> pa.Field:
    name, _, kind = text.partition(":")
    return pa.field(name, arrow_type_from_text(kind))


def _split_top(text: str) -> list[str]:
    """Split at ``;`` outside of ``<…>``."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "<") - (char == ">")
        if char == ";" and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]] if text else []


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column.

    ``type`` is the Arrow carrier. ``native`` is the type as the source prints it (``numeric(15,2)``,
    ``character varying(20)``), meaningful together with the stream's ``dialect``. ``logical`` qualifies a text carrier:
    ``json``, ``uuid``, ``numeric`` (exact decimal text), ``interval``, ``xml``, ``enum``, ``text`` for other native
    text. ``identity`` is what the source knows the column by when it is renamed (Postgres: table and number), None when
    it has no such thing; fields that differ in it alone are equal.
    """

    name: str
    type: pa.DataType
    nullable: bool = True
    native: str | None = None
    logical: str | None = None
    identity: str | None = field(default=None, compare=False)

    def arrow(self) -> pa.Field:
        return pa.field(self.name, self.type, nullable=True)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.name, "type": arrow_type_to_text(self.type)}
        if not self.nullable:
            out["nullable"] = False
        if self.native is not None:
            out["native"] = self.native
        if self.logical is not None:
            out["logical"] = self.logical
        if self.identity is not None:
            out["identity"] = self.identity
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        return cls(
            name=data["name"],
            type=arrow_type_from_text(data["type"]),
            nullable=data.get("nullable", True),
            native=data.get("native"),
            logical=data.get("logical"),
            identity=data.get("identity"),
        )


@dataclass(frozen=True, kw_only=True)
class StreamSchema:
    """The ordered fields of a stream; names are unique."""

    fields: tuple[Field, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.fields)

    def field(self, name: str) -> Field:
        """The field of that name; KeyError when there is none."""
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(name)

    def arrow(self) -> pa.Schema:
        """The Arrow schema of this stream's batches; every Arrow field is nullable."""
        return pa.schema([f.arrow() for f in self.fields])

    def select(self, names: tuple[str, ...]) -> StreamSchema:
        return replace(self, fields=tuple(f for f in self.fields if f.name in names))

    def extended(self, *fields: Field) -> StreamSchema:
        return replace(self, fields=(*self.fields, *fields))

    def to_json(self) -> list[dict[str, Any]]:
        return [f.to_json() for f in self.fields]

    @classmethod
    def from_json(cls, data: list[Mapping[str, Any]]) -> StreamSchema:
        return cls(fields=tuple(Field.from_json(f) for f in data))
