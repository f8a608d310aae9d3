"""Keys and cursors as values: their literals, and the order of several columns in SQL.

A value is kept as text in plans and positions; how it is written into SQL follows from its column's type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from syncline.connectors.mysql.sql import quoted, text_literal
from syncline.connectors.mysql.types import carrier_of
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field

__all__ = ["asked", "at_or_after", "below", "equal_to", "kept", "literal", "orderable", "same_key"]

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def orderable(field: Field) -> bool:
    """Whether a comparison with a literal orders values of this column as ORDER BY does. (An enumeration is ordered by
    its numbers and compared by its labels; a float's text is not the value.)"""
    carrier = carrier_of(field.native or "")
    return carrier.kind in ("cast", "date", "datetime", "bytes") or (
        carrier.kind == "text" and field.logical in (None, "uuid")
    )


def literal(field: Field, value: str) -> str:
    """A value kept as text, in SQL."""
    kind = carrier_of(field.native or "").kind
    if kind == "cast":
        if not _NUMBER.fullmatch(value):
            raise SynclineError(ErrorKind.INTERNAL, f"{value!r} is no number, for column {field.name}")
        return value
    if kind == "bytes":
        return f"X'{bytes.fromhex(value).hex()}'"
    return text_literal(value)


def kept(field: Field, cell: bytes | None) -> str | None:
    """A value that the server gave, as text to keep."""
    if cell is None:
        return None
    return cell.hex() if carrier_of(field.native or "").kind == "bytes" else cell.decode()


def asked(field: Field) -> str:
    """How a query asks for a value to keep."""
    return carrier_of(field.native or "").asked.format(quoted(field.name))


def at_or_after(key: Sequence[Field], values: Sequence[str]) -> str:
    """Rows whose key is the given one or comes after it."""
    return _compared(key, values, ">", ">=")


def below(key: Sequence[Field], values: Sequence[str]) -> str:
    """Rows whose key comes before the given one."""
    return _compared(key, values, "<", "<")


def _compared(key: Sequence[Field], values: Sequence[str], strict: str, last: str) -> str:
    """Written out column by column: the server uses the index for this form, and not for a comparison of rows."""
    arms = []
    for at in range(len(key)):
        parts = [f"{quoted(f.name)} = {literal(f, v)}" for f, v in zip(key[:at], values[:at], strict=True)]
        sign = last if at == len(key) - 1 else strict
        parts.append(f"{quoted(key[at].name)} {sign} {literal(key[at], values[at])}")
        arms.append("(" + " AND ".join(parts) + ")")
    return "(" + " OR ".join(arms) + ")"


def equal_to(field: Field, value: str) -> str:
    return f"{quoted(field.name)} = {literal(field, value)}"


def same_key(key: Sequence[Field], found: Sequence[Sequence[str]]) -> str:
    """Rows whose key is one of these."""
    if not found:
        return "FALSE"
    names = ", ".join(quoted(f.name) for f in key)
    rows = ", ".join("(" + ", ".join(literal(f, v) for f, v in zip(key, row, strict=True)) + ")" for row in found)
    return f"({names}) IN ({rows})"
