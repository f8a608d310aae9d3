"""MySQL's binary JSON, as it lies in its log, as JSON text. (MariaDB keeps JSON as text.)"""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from syncline.connectors.mysql.changes.decimals import decimal_reader
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["json_text"]

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = 0, 1, 2, 3, 4
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING, _OPAQUE = 5, 6, 7, 8, 9, 10, 11, 12, 15
_LITERALS: dict[int, Any] = {0: None, 1: True, 2: False}
_NUMBERS = {
    _INT16: "<h",
    _UINT16: "<H",
    _INT32: "<i",
    _UINT32: "<I",
    _INT64: "<q",
    _UINT64: "<Q",
    _DOUBLE: "<d",
}
_DECIMAL, _DATE, _TIME, _DATETIME, _TIMESTAMP = 246, 10, 11, 12, 7


class _Number(float):
    """A decimal: printed with its own digits."""

    def __new__(cls, text: str) -> _Number:
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text


def json_text(data: bytes) -> str:
    """As the server prints it: ``{"a": 1}``. An empty value (of a row written without a check) is JSON's null."""
    if not data:
        return "null"
    try:
        return json.dumps(_value(data[0], data[1:]), ensure_ascii=False)
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise SynclineError(ErrorKind.DATA, f"a JSON value of the log cannot be read: {error}") from error


def _value(kind: int, data: bytes) -> Any:
    match kind:
        case 0 | 1 | 2 | 3:
            large = kind in (_LARGE_OBJECT, _LARGE_ARRAY)
            return _container(data, large=large, keyed=kind in (_SMALL_OBJECT, _LARGE_OBJECT))
        case 4:
            return _LITERALS[data[0]]
        case 12:
            size, at = _variable(data)
            return data[at : at + size].decode()
        case 15:
            size, at = _variable(data[1:])
            return _opaque(data[0], data[1 + at : 1 + at + size])
    return struct.unpack_from(_NUMBERS[kind], data)[0]


def _container(data: bytes, *, large: bool, keyed: bool) -> Any:
    width = 4 if large else 2
    count = int.from_bytes(data[:width], "little")
    at = 2 * width
    keys: list[str] = []
    for _ in range(count if keyed else 0):
        offset = int.from_bytes(data[at : at + width], "little")
        length = int.from_bytes(data[at + width : at + width + 2], "little")
        keys.append(data[offset : offset + length].decode())
        at += width + 2
    values = []
    for _ in range(count):
        kind = data[at]
        inline = kind in (_LITERAL, _INT16, _UINT16) or (large and kind in (_INT32, _UINT32))
        place = at + 1 if inline else int.from_bytes(data[at + 1 : at + 1 + width], "little")
        values.append(_value(kind, data[place:]))
        at += 1 + width
    return dict(zip(keys, values, strict=True)) if keyed else values


def _variable(data: bytes) -> tuple[int, int]:
    size = shift = at = 0
    while True:
        byte = data[at]
        size |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return size, at


def _opaque(kind: int, data: bytes) -> Any:
    if kind == _DECIMAL:
        return _Number(decimal_reader(data[0], data[1])(data, 2)[0])
    if kind in (_DATE, _DATETIME, _TIMESTAMP, _TIME):
        return _moment(kind, struct.unpack_from("<q", data)[0])
    return f"base64:type{kind}:{base64.b64encode(data).decode()}"


def _moment(kind: int, packed: int) -> str:
    micros, whole = packed & 0xFFFFFF, packed >> 24
    if kind == _TIME:
        sign = "-" if packed < 0 else ""
        packed = abs(packed)
        micros, whole = packed & 0xFFFFFF, packed >> 24
        return f"{sign}{whole >> 12 & 1023:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}.{micros:06d}"
    months, day = whole >> 22, whole >> 17 & 31
    date = f"{months // 13:04d}-{months % 13:02d}-{day:02d}"
    if kind == _DATE:
        return date
    return f"{date} {whole >> 12 & 31:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}.{micros:06d}"
