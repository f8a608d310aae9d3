"""In which text a field's values come from the log, and how such a text would read in a snapshot.

The log gives every value as its type's output function prints it. Most are printed the same everywhere; a snapshot
however asks for some types by a cast (see ``types.py``), which says the same value in other words: an ``inet`` with its
mask, ``money`` as a number. The decoder turns one into the other, so that a row is the same whichever way it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field

__all__ = ["Form", "MalformedValueError", "form_of", "inet_text", "misfit_text", "money_text", "parse_array"]

#: Dimensions of an array in Postgres (MAXDIM).
_MAX_DEPTH = 6

_OPS: dict[pa.DataType, str] = {
    pa.bool_(): "bool",
    pa.int16(): "int2",
    pa.int32(): "int4",
    pa.int64(): "int8",
    pa.float32(): "float4",
    pa.float64(): "float8",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.time64("us"): "time",
    pa.timestamp("us"): "timestamp",
    pa.timestamp("us", tz="UTC"): "timestamptz",
}
_OPS_BY_NATIVE = {"money": "money", "inet": "inet", "oid": "oid8"}
#: array_out puts quotes around items with these, the word NULL and the empty string.
_QUOTED = frozenset('{},"\\ \t\n\v\f\r')


class MalformedValueError(ValueError):
    """A text that is not of its type's form."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a text is (``op``), in how many lists its items lie, the decimals' digits, and what stands between the items
    of an array."""

    op: str
    depth: int = 0
    precision: int = 0
    scale: int = 0
    delimiter: str = ","

    @property
    def reprinted(self) -> bool:
        """Whether an array of these is another text in a snapshot."""
        return self.depth > 0 and (self.op in {"money", "inet"} or self.delimiter != ",")


def form_of(field: Field, delimiter: str | None = None) -> Form:
    """The form of a field that :mod:`..types` has given a carrier. ``delimiter``: of its items, when it is known not to
    be a comma. Raises ``internal`` for a carrier that no Postgres type has."""
    leaf, depth = field.type, 0
    while pa.types.is_list(leaf):
        leaf, depth = leaf.value_type, depth + 1
    native = (field.native or "").split("[", 1)[0]
    if delimiter is None:
        delimiter = ";" if native == "box" else ","
    if pa.types.is_decimal128(leaf) or pa.types.is_decimal256(leaf):
        op = "decimal128" if pa.types.is_decimal128(leaf) else "decimal256"
        if 0 <= leaf.scale <= leaf.precision and depth <= _MAX_DEPTH:
            return Form(op=op, depth=depth, precision=leaf.precision, scale=leaf.scale, delimiter=delimiter)
    known = _OPS.get(leaf)
    if native in _OPS_BY_NATIVE and known in {"text", "int8"}:
        known = _OPS_BY_NATIVE[native]
    if known is None or depth > _MAX_DEPTH or len(delimiter.encode()) != 1:
        raise SynclineError(
            ErrorKind.INTERNAL,
            f"no reader for changes of {field.native} into Arrow's {field.type}",
            hint="report this as a defect",
            where={"column": field.name},
        )
    return Form(op=known, depth=depth, delimiter=delimiter)


def inet_text(text: str) -> str:
    """As ``inet::text`` prints it: a host with its mask."""
    return text if "/" in text else text + ("/128" if ":" in text else "/32")


def money_text(text: str) -> str:
    """``-$1,234.56`` (``lc_monetary`` C) as ``money::numeric::text`` prints it. Raises MalformedValueError."""
    sign, body = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, point, decimals = body[1:].partition(".")
    digits = whole.replace(",", "")
    parts = [digits, decimals] if point else [digits]
    if body[:1] != "$" or not whole[:1].isdigit() or not all(p.isascii() and p.isdigit() for p in parts):
        raise MalformedValueError("a money of an unknown form")
    return f"{sign}{digits}{point}{decimals}"


def misfit_text(form: Form, data: bytes) -> str:
    """A cell that its Arrow type cannot hold, as a snapshot's server prints it (for arrays: cast to text items)."""
    text = data.decode("utf-8", "backslashreplace")
    if not form.reprinted:
        return text
    printer = {"money": money_text, "inet": inet_text}.get(form.op, str)
    bounds = text[: text.index("=") + 1] if text.startswith("[") else ""
    return bounds + _printed(parse_array(text[len(bounds) :], form.delimiter), printer)


def _printed(item: object, printer: object) -> str:
    if isinstance(item, list):
        return "{" + ",".join(_printed(part, printer) for part in item) + "}"
    if item is None:
        return "NULL"
    assert isinstance(item, str)
    assert callable(printer)
    text = str(printer(item))
    if text and text.upper() != "NULL" and not _QUOTED.intersection(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_array(text: str, delimiter: str) -> list[object]:
    """``{…}`` of array_out() as lists of texts, None for NULL. Raises MalformedValueError."""
    if text == "{}":
        return []
    depth = len(text) - len(text.lstrip("{"))
    tokens = _tokens(text, delimiter)
    if not 1 <= depth <= _MAX_DEPTH:
        raise MalformedValueError("an array without brackets")
    whole = _list(tokens, depth)
    if next(tokens, None) is not None:
        raise MalformedValueError("an array that goes on after its end")
    return whole


def _list(tokens: Iterator[tuple[str, str | None]], depth: int, *, opened: bool = False) -> list[object]:
    if not opened and next(tokens, None) != ("{", None):
        raise MalformedValueError("an array without brackets")
    items: list[object] = []
    while True:
        if depth > 1:
            items.append(_list(tokens, depth - 1))
        else:
            kind, item = next(tokens, ("", None))
            if kind not in {"item", "null"}:
                raise MalformedValueError("an array without an item")
            items.append(item)
        kind, _ = next(tokens, ("", None))
        if kind == "}":
            return items
        if kind != "delimiter":
            raise MalformedValueError("an array without its end")


def _tokens(text: str, delimiter: str) -> Iterator[tuple[str, str | None]]:
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        if char in "{}":
            yield char, None
            at += 1
        elif char == delimiter:
            yield "delimiter", None
            at += 1
        elif char == '"':
            item = []
            at += 1
            while at < end and text[at] != '"':
                at += text[at] == "\\"
                if at < end:
                    item.append(text[at])
                at += 1
            if at >= end:
                raise MalformedValueError("an item without its quote")
            yield "item", "".join(item)
            at += 1
        else:
            start = at
            while at < end and text[at] not in ("}", delimiter):
                if text[at] in '{"\\':
                    raise MalformedValueError("an item that should be in quotes")
                at += 1
            item_text = text[start:at]
            yield ("null", None) if item_text == "NULL" else ("item", item_text)
