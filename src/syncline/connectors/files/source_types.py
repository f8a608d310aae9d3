"""Types of columns across files: how they are widened, and how values are brought into them.

The rules, for every format: integers of any width together are bigint; integers and floating numbers are double (a
number that double cannot hold exactly makes a text column text, and a Parquet cell a misfit); decimals take the greater
scale and precision; anything else that does not agree is text. Structs, maps (as lists of key and value) and lists of
them are JSON text; a column that is sometimes nested and sometimes not is JSON text throughout. A column without any
value is text.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Misfit
from syncline.core.schema import Field
from syncline.sdk.quarantine import value_text
from syncline.sdk.records.json_text import json_text

__all__ = ["JSON", "Kind", "carrier", "field_of", "fit", "union", "widen"]

#: A carrier and what a text carrier means; the type null stands for "no value seen".
Kind = tuple[pa.DataType, str | None]
JSON: Kind = (pa.string(), "json")
_TEXT: Kind = (pa.string(), None)


def carrier(kind: pa.DataType) -> Kind:
    """In what a column of a Parquet file travels."""
    t = pa.types
    if t.is_dictionary(kind):
        return carrier(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return carrier(kind.storage_type)
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        inner, logical = carrier(kind.value_type)
        if logical or t.is_nested(inner):
            return JSON
        return pa.list_(pa.string() if t.is_null(inner) else inner), None
    if t.is_nested(kind):
        return JSON
    if t.is_large_string(kind) or t.is_string_view(kind):
        return _TEXT
    if t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or t.is_binary_view(kind):
        return pa.binary(), None
    if t.is_float16(kind):
        return pa.float32(), None
    if t.is_date64(kind):
        return pa.date32(), None
    if t.is_time(kind):
        return pa.time64("us"), None
    if t.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None), None
    if t.is_duration(kind):
        return pa.int64(), None
    if t.is_decimal(kind) and not t.is_decimal256(kind):
        return pa.decimal128(kind.precision, kind.scale), None
    return kind, None


def widen(a: Kind, b: Kind, *, text: bool = False) -> Kind:
    """The kind that holds both. ``text``: of numbers written as text, where int32 stands for up to 15 digits."""
    t = pa.types
    (one, _), (two, _) = a, b
    if a == b or t.is_null(two):
        return a
    if t.is_null(one):
        return b
    if JSON in (a, b) or t.is_list(one) != t.is_list(two):
        return JSON
    if t.is_list(one):
        inner = widen((one.value_type, None), (two.value_type, None), text=text)
        return (pa.list_(inner[0]), None) if inner[1] is None else JSON
    if t.is_integer(one) and t.is_integer(two):
        return (pa.decimal128(20, 0) if pa.uint64() in (one, two) else pa.int64()), None
    if (t.is_integer(one) or t.is_floating(one)) and (t.is_integer(two) or t.is_floating(two)):
        return _TEXT if text and pa.int64() in (one, two) else (pa.float64(), None)
    if (t.is_integer(one) or t.is_decimal(one)) and (t.is_integer(two) or t.is_decimal(two)):
        left, right = (k if t.is_decimal(k) else pa.decimal128(20, 0) for k in (one, two))
        scale = max(left.scale, right.scale)
        precision = max(left.precision - left.scale, right.precision - right.scale) + scale
        if precision > 76:
            return _TEXT
        return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale), None
    return _TEXT


def union(columns: Iterable[dict[str, Kind]], *, text: bool) -> dict[str, Kind]:
    """All columns of several files, in the order in which they first appear."""
    found: dict[str, Kind] = {}
    for file in columns:
        for name, kind in file.items():
            found[name] = widen(found[name], kind, text=text) if name in found else kind
    return found


def field_of(name: str, kind: Kind) -> Field:
    """The field of a column once all files are seen."""
    arrow, logical = kind
    if pa.types.is_null(arrow):
        arrow = pa.string()
    elif pa.types.is_list(arrow) and pa.types.is_null(arrow.value_type):
        arrow = pa.list_(pa.string())
    return Field(name=name, type=arrow, logical=logical)


def fit(array: pa.Array, field: Field, number: int = 0) -> tuple[pa.Array, list[Misfit]]:
    """Values as ``field`` carries them. One that does not fit is NULL and a :class:`Misfit` with its text; ``number``
    is the row of the first value."""
    if array.type == field.type and field.logical != "json":
        return array, []
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if field.logical == "json":
        plain = _without_maps(array.type)
        values = array if plain == array.type else pc.cast(array, plain)
        return pc.if_else(array.is_null(), pa.scalar(None, pa.string()), json_text(values)), []
    if pa.types.is_duration(array.type):
        array = array.cast(pa.int64())
    pieces, misfits = _cast(array, field, number)
    return (pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)), misfits


def _without_maps(kind: pa.DataType) -> pa.DataType:
    """Maps as lists of their entries: a key need not be text, and may come twice."""
    t = pa.types
    if t.is_map(kind):
        entry = [pa.field("key", _without_maps(kind.key_type)), pa.field("value", _without_maps(kind.item_type))]
        return pa.list_(pa.struct(entry))
    if t.is_struct(kind):
        return pa.struct([pa.field(f.name, _without_maps(f.type)) for f in kind])
    if t.is_list(kind) or t.is_large_list(kind):
        return pa.list_(_without_maps(kind.value_type))
    return kind


def _cast(array: pa.Array, field: Field, number: int) -> tuple[list[pa.Array], list[Misfit]]:
    """Halve what cannot be cast until single values are left: few casts when few values are wrong."""
    try:
        return [pc.cast(array, field.type)], []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        if len(array) == 1:
            kind = f"does not fit {field.type}"
            misfit = Misfit(row=number, column=field.name, text=value_text(array[0]) or "", reason=kind)
            return [pa.nulls(1, field.type)], [misfit]
        if isinstance(error, pa.ArrowNotImplementedError):
            texts = pa.array([value_text(v) for v in array], pa.string())
            if field.type == pa.string():
                return [texts], []
    half = len(array) // 2
    left, wrong_left = _cast(array.slice(0, half), field, number)
    right, wrong_right = _cast(array.slice(half), field, number + half)
    return [*left, *right], [*wrong_left, *wrong_right]
