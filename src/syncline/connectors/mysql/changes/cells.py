"""Values of a row as they lie in the log, and as Arrow: one reader for each column of a table's layout.

A column's type in the words of information_schema (its *native* type) comes from the catalog or from the statement that
made the column, because the log alone cannot tell a UUID from sixteen bytes. Both must agree on what the bytes mean.
"""

from __future__ import annotations

import ipaddress
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from syncline.connectors.mysql.changes import layout as types
from syncline.connectors.mysql.changes.charsets import decoder_of
from syncline.connectors.mysql.changes.decimals import decimal_reader
from syncline.connectors.mysql.changes.json_binary import json_text
from syncline.connectors.mysql.changes.layout import PhysicalColumn
from syncline.connectors.mysql.types import Carrier, carrier_of, days_of, micros_of
from syncline.core.batch import Misfit
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["CellReader", "agrees", "cell_reader", "native_of"]

Read = Callable[[bytes, int], tuple[Any, int]]
_NO_DATE = "no day of the calendar"
_INTEGERS = {
    types.TINY: ("tinyint", "<b", "<B", 1),
    types.SHORT: ("smallint", "<h", "<H", 2),
    types.LONG: ("int", "<i", "<I", 4),
    types.LONGLONG: ("bigint", "<q", "<Q", 8),
}
_TIMES = {types.TIMESTAMP2: "timestamp", types.DATETIME2: "datetime", types.TIME2: "time"}


@dataclass(frozen=True, kw_only=True)
class CellReader:
    """``read`` takes a value at a place and gives the place after it; ``build`` makes Arrow of values and None."""

    name: str
    native: str
    carrier: Carrier
    read: Read

    def build(self, values: Sequence[Any]) -> tuple[pa.Array, list[Misfit]]:
        kind = self.carrier.arrow
        if self.carrier.kind in ("date", "datetime"):
            misfits = [
                Misfit(row=row, column=self.name, text=value, reason=_NO_DATE)
                for row, value in enumerate(values)
                if isinstance(value, str)
            ]
            if misfits:
                values = [None if isinstance(value, str) else value for value in values]
            return pa.array(values, kind), misfits
        if pa.types.is_string(kind):
            return pa.array(values, pa.binary()).cast(kind), []
        if pa.types.is_decimal(kind):
            return pa.array(values, pa.string()).cast(kind), []
        return pa.array(values, kind), []


def native_of(column: PhysicalColumn) -> str:
    """What the layout says of a column's type, in the words of information_schema as far as they matter here."""
    unsigned = " unsigned" if column.unsigned else ""
    kind, meta = column.type, column.meta
    if kind in _INTEGERS:
        return _INTEGERS[kind][0] + unsigned
    if kind in _TIMES:
        return f"{_TIMES[kind]}({meta})" if meta else _TIMES[kind]
    if kind == types.NEWDECIMAL:
        return f"decimal({meta & 0xFF},{meta >> 8}){unsigned}"
    if kind == types.BIT:
        return f"bit({(meta >> 8) * 8 + (meta & 0xFF)})"
    if kind in (types.VARCHAR, types.VAR_STRING, types.BLOB) and not column.binary:
        return "longtext"
    if kind == types.STRING:
        return f"binary({meta})" if column.binary else f"char({meta})"
    return {
        types.BLOB: "longblob",
        types.DATE: "date",
        types.DOUBLE: "double" + unsigned,
        types.ENUM: "enum",
        types.FLOAT: "float" + unsigned,
        types.GEOMETRY: "geometry",
        types.INT24: "mediumint" + unsigned,
        types.JSON: "json",
        types.SET: "set",
        types.VARCHAR: "varbinary",
        types.VAR_STRING: "varbinary",
        types.VECTOR: "vector",
        types.YEAR: "year",
    }.get(kind, f"type {kind}")


def agrees(column: PhysicalColumn, native: str) -> bool:
    """Whether a column of this layout can be of this native type."""
    name = native.partition("(")[0].partition(" ")[0].lower()
    if name in ("uuid", "inet6", "inet4"):
        return column.type == types.STRING and column.binary and column.meta == (4 if name == "inet4" else 16)
    if column.type == types.STRING and column.binary:
        return native.lower() == f"binary({column.meta})" or (name == "binary" and column.meta == 1)
    here, there = carrier_of(native_of(column)), carrier_of(native)
    if column.type == types.JSON or name == "json":
        return bool(here.arrow == there.arrow)
    if column.type in (types.ENUM, types.SET):
        return here.logical == there.logical
    texts = (None, "json")
    same_meaning = here.logical == there.logical or (here.logical in texts and there.logical in texts)
    return bool(here.arrow == there.arrow and here.kind == there.kind and here.digits == there.digits and same_meaning)


def cell_reader(column: PhysicalColumn, native: str, collations: Mapping[int, str]) -> CellReader:
    """How a column is read; ``native`` agrees with it. Raises ``schema`` for what cannot be read."""
    carrier = carrier_of(native)
    return CellReader(name=column.name, native=native, carrier=carrier, read=_read(column, native, carrier, collations))


def _read(column: PhysicalColumn, native: str, carrier: Carrier, collations: Mapping[int, str]) -> Read:
    kind, meta = column.type, column.meta
    if kind in _INTEGERS:
        _, signed, unsigned, width = _INTEGERS[kind]
        return _unpacked(unsigned if column.unsigned else signed, width)
    if kind == types.INT24:
        return _medium(signed=not column.unsigned)
    if kind == types.FLOAT:
        return _unpacked("<f", 4)
    if kind == types.DOUBLE:
        return _unpacked("<d", 8)
    if kind == types.YEAR:
        return lambda data, at: (1900 + data[at] if data[at] else 0, at + 1)
    if kind == types.NEWDECIMAL:
        return decimal_reader(meta & 0xFF, meta >> 8)
    if kind == types.BIT:
        return _bit(meta, one=pa.types.is_boolean(carrier.arrow))
    if kind == types.DATE:
        return _date
    if kind == types.DATETIME2:
        return _datetime(meta)
    if kind == types.TIMESTAMP2:
        return _timestamp(meta)
    if kind == types.TIME2:
        return _time(meta)
    if kind in (types.ENUM, types.SET):
        return _labelled(column, collations)
    if kind == types.JSON:
        return _sized(meta, lambda value: json_text(value).encode())
    if kind in (types.BLOB, types.GEOMETRY, types.VECTOR):
        return _sized(meta, bytes if column.binary else _text(column, collations))
    if kind in (types.VARCHAR, types.VAR_STRING):
        return _sized(1 if meta < 256 else 2, bytes if column.binary else _text(column, collations))
    if kind == types.STRING:
        width = 1 if meta < 256 else 2
        return _sized(width, _fixed(native, meta) if column.binary else _text(column, collations))
    raise SynclineError(
        ErrorKind.SCHEMA,
        f"column {column.name} lies in the log as type {kind}, which cannot be read",
        hint="a compressed column, or one of an old format (ALTER TABLE … FORCE renews it): leave it out or copy the "
        "table with full_refresh",
    )


def _unpacked(form: str, width: int) -> Read:
    unpack = struct.Struct(form).unpack_from
    return lambda data, at: (unpack(data, at)[0], at + width)


def _medium(*, signed: bool) -> Read:
    return lambda data, at: (int.from_bytes(data[at : at + 3], "little", signed=signed), at + 3)


def _sized(width: int, made: Callable[[bytes], bytes]) -> Read:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        start = at + width
        end = start + int.from_bytes(data[at:start], "little")
        return made(data[start:end]), end

    return read


def _text(column: PhysicalColumn, collations: Mapping[int, str]) -> Callable[[bytes], bytes]:
    charset = collations.get(column.collation, f"collation {column.collation}")
    made = decoder_of(charset)
    if made is None:
        raise SynclineError(
            ErrorKind.SCHEMA,
            f"column {column.name} has the character set {charset}, which the log's reader does not know",
            hint="leave the column out, convert it to utf8mb4, or copy the table with full_refresh",
        )
    return made


def _fixed(native: str, length: int) -> Callable[[bytes], bytes]:
    """The log leaves trailing zero bytes of BINARY out."""
    name = native.partition("(")[0].lower()
    if name == "uuid":
        return lambda value: str(_uuid(value.ljust(16, b"\0"))).encode()
    if name == "inet6":
        return lambda value: _inet6(value.ljust(16, b"\0")).encode()
    if name == "inet4":
        return lambda value: str(ipaddress.IPv4Address(value.ljust(4, b"\0"))).encode()
    return lambda value: value.ljust(length, b"\0")


def _uuid(value: bytes) -> uuid.UUID:
    """MariaDB keeps the five groups of UUIDs of versions 1 to 5 in reverse order, so that they sort by time; others lie
    as they are. In the turned form the variant stands in byte 6 and the version in byte 8."""
    if value[6] & 0x80 and 0 < value[8] < 0x60:
        value = value[12:16] + value[10:12] + value[8:10] + value[6:8] + value[0:6]
    return uuid.UUID(bytes=value)


def _inet6(value: bytes) -> str:
    address = ipaddress.IPv6Address(value)
    if address.ipv4_mapped is not None:
        return f"::ffff:{address.ipv4_mapped}"
    if value[:12] == bytes(12) and value[12:14] != b"\0\0":  # the old form for an address of version 4
        return f"::{ipaddress.IPv4Address(value[12:])}"
    return str(address)


def _labelled(column: PhysicalColumn, collations: Mapping[int, str]) -> Read:
    made = _text(column, collations) if not column.binary else bytes
    labels = [made(label) for label in column.labels]
    width = column.meta

    if column.type == types.ENUM:
        names = [b"", *labels]  # 0 stands for a value that was refused
        return lambda data, at: (names[int.from_bytes(data[at : at + width], "little")], at + width)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        number = int.from_bytes(data[at : at + width], "little")
        return b",".join(label for i, label in enumerate(labels) if number >> i & 1), at + width

    return read


def _bit(meta: int, *, one: bool) -> Read:
    width = (meta >> 8) + (1 if meta & 0xFF else 0)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        number = int.from_bytes(data[at : at + width], "big")
        return bool(number) if one else number, at + width

    return read


def _date(data: bytes, at: int) -> tuple[int | str, int]:
    number = int.from_bytes(data[at : at + 3], "little")
    text = f"{number >> 9:04d}-{number >> 5 & 15:02d}-{number & 31:02d}"
    days = days_of(text)
    return (text if days is None else days), at + 3


def _datetime(digits: int) -> Read:
    width = (digits + 1) // 2

    def read(data: bytes, at: int) -> tuple[int | str, int]:
        packed = int.from_bytes(data[at : at + 5], "big") - 0x8000000000
        end = at + 5 + width
        micros = int.from_bytes(data[at + 5 : end], "big") * 10 ** (6 - 2 * width) if width else 0
        months, day = packed >> 22, packed >> 17 & 31
        hour, minute, second = packed >> 12 & 31, packed >> 6 & 63, packed & 63
        text = f"{months // 13:04d}-{months % 13:02d}-{day:02d} {hour:02d}:{minute:02d}:{second:02d}"
        found = micros_of(text)
        if found is None:
            return (f"{text}.{micros:06d}"[: 20 + digits] if digits else text), end
        return found + micros, end

    return read


def _timestamp(digits: int) -> Read:
    width = (digits + 1) // 2

    def read(data: bytes, at: int) -> tuple[int | str, int]:
        seconds = int.from_bytes(data[at : at + 4], "big")
        end = at + 4 + width
        micros = int.from_bytes(data[at + 4 : end], "big") * 10 ** (6 - 2 * width) if width else 0
        if not seconds and not micros:  # the zero date; 1970-01-01 00:00:00 itself is out of its range
            return ("0000-00-00 00:00:00" + ("." + "0" * digits if digits else "")), end
        return seconds * 1_000_000 + micros, end

    return read


def _time(digits: int) -> Read:
    width = (digits + 1) // 2
    size = 3 + width

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        # Whole and fraction are one number, so that negative times are its complement.
        packed = int.from_bytes(data[at : at + size], "big") - (0x800000 << 8 * width)
        sign = "-" if packed < 0 else ""
        whole, fraction = divmod(abs(packed), 1 << 8 * width)
        text = f"{sign}{whole >> 12 & 1023:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}"
        if digits:
            text += f".{fraction * 10 ** (6 - 2 * width):06d}"[: digits + 1]
        return text.encode(), at + size

    return read
