"""Types as data: which Arrow type carries each, how a query asks for it, and how its text becomes Arrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Misfit
from syncline.core.schema import Field

__all__ = ["Carrier", "Cell", "carrier_of", "days_of", "field_of", "micros_of", "type_matrix_rows"]

Cell = bytes | None
_NO_DATE = "no day of the calendar"
_NATIVE = re.compile(r"([a-z0-9]+(?: varying)?)(?:\((.*?)\))?((?: unsigned| signed| zerofill)*)", re.DOTALL)
_EPOCH_DAYS = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """How one type travels. ``asked`` is what a query selects, ``{}`` the quoted column; ``kind`` says how text and log
    are understood. ``digits`` are those of a fraction of a second."""

    arrow: pa.DataType
    kind: str
    logical: str | None = None
    asked: str = "{}"
    digits: int = 0

    def array(self, name: str, cells: Sequence[Cell]) -> tuple[pa.Array, list[Misfit]]:
        """The values of a column as the server's text, as Arrow; those that the carrier cannot hold beside it."""
        return _READERS[self.kind](self, name, cells)


def carrier_of(native: str) -> Carrier:
    """The carrier of a column type as information_schema prints it: ``decimal(65,30) unsigned``."""
    found = _NATIVE.match(native.strip())
    name, arguments, rest = (found[1], found[2] or "", found[3]) if found else (native, "", "")
    name = name.lower()
    # ZEROFILL makes a column unsigned.
    unsigned = "unsigned" in rest or "zerofill" in rest
    if name in _INTEGERS:
        signed_type, unsigned_type = _INTEGERS[name]
        return Carrier(arrow=unsigned_type if unsigned else signed_type, kind="cast")
    if name in ("decimal", "numeric"):
        precision, _, scale = (arguments or "10").partition(",")
        digits = int(precision)
        make = pa.decimal128 if digits <= 38 else pa.decimal256
        return Carrier(arrow=make(digits, int(scale or 0)), kind="cast")
    if name in ("float", "double"):
        # The text of a FLOAT has six digits; as a double it is exact.
        return Carrier(arrow=pa.float32() if name == "float" else pa.float64(), kind="float", asked="({} * 1e0)")
    if name == "bit":
        one = arguments in ("", "1")
        return Carrier(arrow=pa.bool_() if one else pa.uint64(), kind="bit" if one else "cast", asked="({} + 0)")
    if name in _TIMES:
        return Carrier(**{**_TIMES[name].__dict__, "digits": int(arguments or 0)})
    if name in _BYTES:
        return Carrier(arrow=pa.binary(), kind="bytes")
    return Carrier(arrow=pa.string(), kind="text", logical=_LOGICAL.get(name))


def field_of(name: str, native: str, *, nullable: bool) -> Field:
    carrier = carrier_of(native)
    return Field(name=name, type=carrier.arrow, nullable=nullable, native=native, logical=carrier.logical)


_INTEGERS = {
    "tinyint": (pa.int8(), pa.uint8()),
    "smallint": (pa.int16(), pa.uint16()),
    "mediumint": (pa.int32(), pa.uint32()),
    "int": (pa.int32(), pa.uint32()),
    "bigint": (pa.int64(), pa.uint64()),
    "year": (pa.int16(), pa.int16()),
}
_TIMES = {
    "date": Carrier(arrow=pa.date32(), kind="date"),
    "datetime": Carrier(arrow=pa.timestamp("us"), kind="datetime"),
    "timestamp": Carrier(arrow=pa.timestamp("us", tz="UTC"), kind="datetime"),
    # From -838:59:59 to 838:59:59: a length of time, whatever its name says.
    "time": Carrier(arrow=pa.string(), kind="text", logical="interval"),
}
_BYTES = frozenset(
    {
        *("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"),
        *("geometry", "point", "linestring", "polygon"),
        *("multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection"),
    }
)
_LOGICAL = {"json": "json", "uuid": "uuid", "enum": "enum", "set": "text", "inet4": "text", "inet6": "text"}


def _cast(carrier: Carrier, name: str, cells: Sequence[Cell]) -> tuple[pa.Array, list[Misfit]]:
    return pa.array(cells, pa.binary()).cast(pa.string()).cast(carrier.arrow), []


def _float(carrier: Carrier, name: str, cells: Sequence[Cell]) -> tuple[pa.Array, list[Misfit]]:
    wide = pa.array(cells, pa.binary()).cast(pa.string()).cast(pa.float64())
    return wide.cast(carrier.arrow, safe=False), []


def _bit(carrier: Carrier, name: str, cells: Sequence[Cell]) -> tuple[pa.Array, list[Misfit]]:
    return pc.equal(pa.array(cells, pa.binary()), b"1"), []


def _bytes(carrier: Carrier, name: str, cells: Sequence[Cell]) -> tuple[pa.Array, list[Misfit]]:
    return pa.array(cells, pa.binary()), []


def _text(carrier: Carrier, name: str, cells: Sequence[Cell]) -> tuple[pa.Array, list[Misfit]]:
    return pa.array(cells, pa.binary()).cast(pa.string()), []


def _date(carrier: Carrier, name: str, cells: Sequence[Cell]) -> tuple[pa.Array, list[Misfit]]:
    return _calendar(carrier, name, cells, days_of)


def _datetime(carrier: Carrier, name: str, cells: Sequence[Cell]) -> tuple[pa.Array, list[Misfit]]:
    return _calendar(carrier, name, cells, micros_of)


def _calendar(
    carrier: Carrier, name: str, cells: Sequence[Cell], one: Callable[[str], int | None]
) -> tuple[pa.Array, list[Misfit]]:
    texts = pa.array(cells, pa.binary()).cast(pa.string())
    if not pc.any(pc.match_substring_regex(texts, r"^0000|-00")).as_py():
        try:
            # A time with a zone is in UTC by the session's setting.
            plain = pa.timestamp("us") if pa.types.is_timestamp(carrier.arrow) else carrier.arrow
            return texts.cast(plain).cast(carrier.arrow), []
        except pa.ArrowInvalid:
            pass  # with ALLOW_INVALID_DATES there may be a 31st of February: one by one
    values: list[int | None] = []
    misfits: list[Misfit] = []
    for row, cell in enumerate(cells):
        text = None if cell is None else cell.decode()
        value = None if text is None else one(text)
        if text is not None and value is None:
            misfits.append(Misfit(row=row, column=name, text=text, reason=_NO_DATE))
        values.append(value)
    return pa.array(values, carrier.arrow), misfits


def days_of(text: str) -> int | None:
    """Days since 1970 of ``2020-02-29``; None for what the calendar does not have."""
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAYS
    except ValueError:
        return None


def micros_of(text: str) -> int | None:
    """Microseconds since 1970 of ``2020-02-29 12:00:00.5``; None for what the calendar does not have."""
    whole, _, fraction = text.partition(".")
    try:
        since = datetime.fromisoformat(whole) - datetime(1970, 1, 1)  # noqa: DTZ001 - as it was written
    except ValueError:
        return None
    return since // timedelta(microseconds=1) + int(fraction.ljust(6, "0") or 0)


_READERS: dict[str, Callable[[Carrier, str, Sequence[Cell]], tuple[pa.Array, list[Misfit]]]] = {
    "bit": _bit,
    "bytes": _bytes,
    "cast": _cast,
    "date": _date,
    "datetime": _datetime,
    "float": _float,
    "text": _text,
}


def type_matrix_rows() -> list[tuple[str, str, str, str]]:
    """What becomes of each type, for the documentation: type, carrier, meaning of a text, remark."""
    zero = "0000-00-00 and other days that no calendar has are kept as text beside the row"
    listed = [
        *((name, "") for name in ("tinyint", "smallint", "mediumint", "int", "bigint")),
        *((f"{name} unsigned", "") for name in ("tinyint", "smallint", "mediumint", "int", "bigint")),
        ("decimal(38,10)", "up to 38 digits"),
        ("decimal(65,30)", "up to 65 digits"),
        ("float", "exact, not the six digits that the server prints"),
        ("double", ""),
        ("bit(1)", ""),
        ("bit(64)", "the bits as a number"),
        ("year", ""),
        ("date", zero),
        ("datetime(6)", f"as written, without a zone; {zero}"),
        ("timestamp(6)", f"UTC; {zero}"),
        ("time(6)", "-838:59:59 to 838:59:59: text, and an interval in Postgres"),
        ("char(10)", "any character set; without the padding, as the server gives it"),
        ("varchar(10)", ""),
        ("longtext", ""),
        ("enum('a')", "the label"),
        ("set('a')", "labels with commas"),
        ("json", "in MariaDB a text that is checked to be JSON"),
        ("uuid", "MariaDB"),
        ("inet6", "MariaDB, also inet4: their text"),
        ("binary(10)", "padded with zero bytes to its length, as the server gives it"),
        ("longblob", ""),
        ("geometry", "four bytes of the reference system, then well-known binary, as the server keeps it"),
    ]
    rows = []
    for native, remark in listed:
        carrier = carrier_of(native)
        rows.append((native, str(carrier.arrow), carrier.logical or "", remark))
    return rows
