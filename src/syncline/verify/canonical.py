"""The canonical text of a value, of a row and of a set of rows: the specification, and its reference in plain Python.

Both ends of a comparison write each row as one text, in their own way (a Postgres server in SQL, DuckDB in SQL), and
compare hashes of it. The texts are equal exactly if the values are. This module is the third, slow and independent
writing; the other two are tested against it with ``syncline.testing.canonical_vectors``.

*Cells.* A cell is the text of one value by its kind. NULL is the empty text; no value of any kind has an empty text.

==========  ==========================================================================================================
kind        text of a value
==========  ==========================================================================================================
bool        ``t`` or ``f``
int         decimal, ``-`` before negative ones, no leading zeros
numeric     decimal without exponent; zeros at the end of the fraction, and then the point, are dropped; zero is ``0``;
            ``NaN``, ``Infinity``, ``-Infinity``
float       the 16 hex digits of the IEEE 754 double, most significant first (a single is widened, which is exact); -0
            is not 0; every NaN is ``7ff8000000000000``
text        number of bytes in UTF-8, ``:``, the text itself. Every type without a kind of its own is the text that its
            source prints
json        as text. What one end keeps as ``jsonb``, which reorders keys, both ends write as ``jsonb`` prints it
bytes       two hex digits per byte, after ``x``
date        days since 1970-01-01, or ``infinity``, ``-infinity``
time        microseconds since midnight; 24:00 is 86400000000
timestamp   microseconds since 1970-01-01 00:00 (UTC where there is a zone), or ``infinity``, ``-infinity``; nanoseconds
            are three decimals, written as numeric is
uuid        32 hex digits in groups of 8-4-4-4-12
list        number of items, ``[``, the items' cells with ``,`` between, ``]``; lists nest. A Postgres array whose
            subscripts do not begin with 1 has ``@`` and its bounds as ``array_dims`` prints them before it
struct      ``{``, the fields' cells in order with ``,`` between, ``}``
==========  ==========================================================================================================

Letters in hex are small. Because texts carry their length and no other cell holds a separator, no two different rows
have the same text.

*Rows.* A row's text is its cells in the order of the columns with ``|`` between; its hash is the MD5 of that text in
UTF-8, as a 128-bit number, most significant byte first. *Sets.* The sum of a set of rows is the sum of their hashes
modulo 2^128, next to their number. A sum, because an exclusive-or would not see a row that came twice more.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

__all__ = ["Kind", "arrow_cells", "cell", "jsonb_text", "kind_of", "row_hash", "row_text", "split_cells", "sum_hashes"]

_MODULUS = 1 << 128
_NAN = "7ff8000000000000"
_ENDLESS = ("infinity", "-infinity")
_EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a column is written: a name of the table above; ``item`` of a list, ``fields`` (name, kind) of a struct.
    ``single``: floats have four bytes, which matters where an end keeps them as text."""

    name: str
    item: Kind | None = None
    fields: tuple[tuple[str, Kind], ...] = ()
    single: bool = False

    def __str__(self) -> str:
        if self.item is not None:
            return f"list<{self.item}>"
        if self.name == "struct":
            return "struct<" + ", ".join(f"{name}: {kind}" for name, kind in self.fields) + ">"
        return self.name


def kind_of(carrier: pa.DataType, logical: str | None) -> Kind | None:
    """The kind of a column from the Arrow type that carries it and what that text means; None when there is none."""
    is_ = pa.types
    if is_.is_list(carrier) or is_.is_large_list(carrier) or is_.is_fixed_size_list(carrier):
        item = kind_of(carrier.value_type, logical)
        return None if item is None else Kind(name="list", item=item)
    if is_.is_struct(carrier):
        fields = [(field.name, kind_of(field.type, None)) for field in carrier]
        known = tuple((name, kind) for name, kind in fields if kind is not None)
        return Kind(name="struct", fields=known) if known and len(known) == len(fields) else None
    if is_.is_string(carrier) or is_.is_large_string(carrier):
        return Kind(name=logical if logical in ("numeric", "json", "uuid") else "text")
    if is_.is_floating(carrier):
        return Kind(name="float", single=not is_.is_float64(carrier))
    for test, name in (
        (is_.is_boolean, "bool"),
        (is_.is_integer, "int"),
        (is_.is_decimal, "numeric"),
        (is_.is_date, "date"),
        (is_.is_time, "time"),
        (is_.is_timestamp, "timestamp"),
        (is_.is_binary, "bytes"),
        (is_.is_large_binary, "bytes"),
        (is_.is_fixed_size_binary, "bytes"),
        (is_.is_null, "text"),
    ):
        if test(carrier):
            return Kind(name=name)
    return None


def cell(value: Any, kind: Kind) -> str | None:
    """The canonical text of one Python value, None for NULL.

    Dates and times may be Python's, the unit counts of the table above as int, or the words for infinity; numerics
    ``Decimal``, int or text; structs mappings by field name.
    """
    return None if value is None else _CELLS[kind.name](value, kind)


def row_text(cells: Iterable[str | None]) -> str:
    """A row's text of its cells."""
    return "|".join(c or "" for c in cells)


def row_hash(text: str) -> int:
    """A row's hash, below 2^128."""
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest(), "big")


def sum_hashes(hashes: Iterable[int]) -> int:
    """The sum of a set of rows, below 2^128."""
    return sum(hashes) % _MODULUS


def arrow_cells(column: pa.Array | pa.ChunkedArray, kind: Kind) -> list[str | None]:
    """The cells of an Arrow column. One Python object per value: for tests and examples, not for tables."""
    return [cell(_plain(scalar), kind) for scalar in column]


def split_cells(text: str, kinds: Sequence[Kind]) -> list[str | None]:
    """A row's text, taken apart again. ValueError for text that :func:`row_text` never wrote."""
    data = text.encode()
    cells: list[str | None] = []
    at = 0
    for number, kind in enumerate(kinds):
        if number:
            if data[at : at + 1] != b"|":
                raise ValueError(f"no separator at byte {at}")
            at += 1
        end = _end_of_cell(data, at, kind)
        cells.append(data[at:end].decode() or None)
        at = end
    if at != len(data):
        raise ValueError(f"text goes on after byte {at}")
    return cells


def jsonb_text(text: str) -> str:
    """JSON as Postgres prints a ``jsonb``: keys by length, then bytes; of equal ones the last; exact numbers."""
    return _jsonb(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _bool(value: Any, kind: Kind) -> str:
    return "t" if value else "f"


def _int(value: Any, kind: Kind) -> str:
    return str(int(value))


def _numeric(value: Any, kind: Kind) -> str:
    number = Decimal(value)
    if number.is_nan():
        return "NaN"
    if number.is_infinite():
        return "Infinity" if number > 0 else "-Infinity"
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _float(value: Any, kind: Kind) -> str:
    return _NAN if math.isnan(value) else struct.pack(">d", value).hex()


def _text(value: Any, kind: Kind) -> str:
    return f"{len(value.encode())}:{value}"


def _bytes(value: Any, kind: Kind) -> str:
    return "x" + bytes(value).hex()


def _date(value: Any, kind: Kind) -> str:
    if isinstance(value, str) and value in _ENDLESS:
        return value
    return str(value.toordinal() - _EPOCH_DAY if isinstance(value, date) else int(value))


def _time(value: Any, kind: Kind) -> str:
    if isinstance(value, time):
        value = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return str(int(value))


def _timestamp(value: Any, kind: Kind) -> str:
    if isinstance(value, str) and value in _ENDLESS:
        return value
    if isinstance(value, datetime):
        past = (value if value.tzinfo else value.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        value = (past.days * 86400 + past.seconds) * 1_000_000 + past.microseconds
    return _numeric(value, kind)


def _uuid(value: Any, kind: Kind) -> str:
    return str(value).lower()


def _list(value: Any, kind: Kind) -> str:
    assert kind.item is not None
    return f"{len(value)}[{','.join(cell(v, kind.item) or '' for v in value)}]"


def _struct(value: Mapping[str, Any], kind: Kind) -> str:
    return "{" + ",".join(cell(value[name], inner) or "" for name, inner in kind.fields) + "}"


_CELLS = {
    "bool": _bool,
    "int": _int,
    "numeric": _numeric,
    "float": _float,
    "text": _text,
    "json": _text,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "uuid": _uuid,
    "list": _list,
    "struct": _struct,
}


def _plain(scalar: pa.Scalar) -> Any:
    """An Arrow scalar as a value for :func:`cell`. Times by their unit counts: Python's own types end at 9999."""
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        per_unit = {"s": Decimal(1_000_000), "ms": Decimal(1_000), "us": Decimal(1), "ns": Decimal("0.001")}
        return scalar.value * per_unit[kind.unit]
    if pa.types.is_date(kind):
        return scalar.value if pa.types.is_date32(kind) else scalar.value // 86_400_000
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_plain(item) for item in scalar.values]
    if pa.types.is_struct(kind):
        return {field.name: _plain(scalar[field.name]) for field in kind}
    return scalar.as_py()


def _end_of_cell(data: bytes, at: int, kind: Kind) -> int:
    """The position after the cell that begins at ``at``."""
    if data[at : at + 1] in (b"", b"|", b",", b"]", b"}"):
        return at
    if kind.name in ("text", "json"):
        colon = data.index(b":", at)
        return colon + 1 + int(data[at:colon])
    if kind.name == "list":
        assert kind.item is not None
        if data[at : at + 1] == b"@":
            at = data.index(b"@", at + 1) + 1
        opening = data.index(b"[", at)
        return _end_of_items(data, opening + 1, [kind.item] * int(data[at:opening]))
    if kind.name == "struct":
        return _end_of_items(data, at + 1, [inner for _, inner in kind.fields])
    while at < len(data) and data[at : at + 1] not in (b"|", b",", b"]", b"}"):
        at += 1
    return at


def _end_of_items(data: bytes, at: int, kinds: Sequence[Kind]) -> int:
    for number, kind in enumerate(kinds):
        at = _end_of_cell(data, at + bool(number), kind)
    return at + 1


def _jsonb(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{_jsonb(key)}: {_jsonb(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_jsonb(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.removeprefix("-") if value.is_zero() else text
    return {None: "null", True: "true", False: "false"}[value]
