"""Rules about rows, on Arrow columns: which rows break them. No Python object per row.

A NULL keeps every rule but ``not_null``. A value that its carrier cannot hold (NaN in a decimal, an infinite timestamp)
is no NULL; it breaks every rule that would compare it, since it cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.schema import Field, arrow_type_to_text
from syncline.quality.gate import Gate
from syncline.quality.rules import gate_error

__all__ = ["Judge", "judge_of"]

#: Rows that break the rule; may hold NULL where the value is NULL.
Judge = Callable[[pa.Array], pa.Array]


def judge_of(gate: Gate, field: Field) -> Judge:
    """The rule ready for one column. Raises ``config`` when it means nothing for the column's type."""
    return _MAKERS[gate.rule](gate, field)


def _not_null(gate: Gate, field: Field) -> Judge:
    return lambda column: column.is_null()


def _null(gate: Gate, field: Field) -> Judge:
    return lambda column: column.is_valid()


def _in_set(gate: Gate, field: Field) -> Judge:
    values = _values(gate, field)

    def inside(column: pa.Array) -> pa.Array:
        return pc.is_in(_comparable(column, field), value_set=values)

    if gate.rule == "not_in_set":
        return lambda column: pc.if_else(column.is_null(), False, inside(column))
    return lambda column: pc.if_else(column.is_null(), False, pc.invert(inside(column)))


def _regex(gate: Gate, field: Field) -> Judge:
    text = _as_text(gate, field)
    pattern = gate.options["pattern"]
    if gate.rule == "not_regex":
        return lambda column: pc.match_substring_regex(text(column), pattern)
    return lambda column: pc.invert(pc.match_substring_regex(text(column), pattern))


def _length(gate: Gate, field: Field) -> Judge:
    text = _as_text(gate, field)
    low, high = gate.options.get("min"), gate.options.get("max")

    def judge(column: pa.Array) -> pa.Array:
        length = pc.utf8_length(text(column))
        kept = pa.array([True] * len(column)) if low is None else pc.greater_equal(length, low)
        return pc.invert(kept if high is None else pc.and_(kept, pc.less_equal(length, high)))

    return judge


_COMPARISONS = {"min": pc.greater_equal, "above": pc.greater, "max": pc.less_equal, "below": pc.less}


def _range(gate: Gate, field: Field) -> Judge:
    bounds = [(_COMPARISONS[k], _bound(gate, field, v)) for k, v in gate.options.items() if v is not None]
    probe = _comparable(pa.array([], field.type), field)
    try:
        for compare, bound in bounds:
            compare(probe, bound)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _unfit(gate, field, "cannot be compared with its bounds") from None

    def judge(column: pa.Array) -> pa.Array:
        column = _comparable(column, field)
        kept = bounds[0][0](column, bounds[0][1])
        for compare, bound in bounds[1:]:
            kept = pc.and_(kept, compare(column, bound))
        return pc.invert(kept)

    return judge


_MAKERS: Mapping[str, Callable[[Gate, Field], Judge]] = {
    "not_null": _not_null,
    "null": _null,
    "in_set": _in_set,
    "not_in_set": _in_set,
    "regex": _regex,
    "not_regex": _regex,
    "range": _range,
    "length": _length,
}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _comparable(column: pa.Array, field: Field) -> pa.Array:
    """Exact decimal text as numbers (of 64 bits), for comparing; everything else as it is."""
    if _is_text(field.type) and field.logical == "numeric":
        return pc.cast(column, pa.float64())
    return column


def _bound(gate: Gate, field: Field, value: Any) -> pa.Scalar:
    kind = pa.float64() if _is_text(field.type) and field.logical == "numeric" else field.type
    try:
        return _scalar(kind, value)
    except (ValueError, TypeError, InvalidOperation, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _unfit(gate, field, f"has no value {value!r}") from None


def _scalar(kind: pa.DataType, value: Any) -> pa.Scalar:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        if isinstance(value, bool):
            raise ValueError(value)
        return pa.scalar(value if number else float(value))
    if pa.types.is_decimal(kind):
        return pa.scalar(Decimal(str(value)))
    if pa.types.is_timestamp(kind):
        moment = datetime.fromisoformat(str(value))
        if kind.tz is not None:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif moment.tzinfo is not None:
            raise ValueError(value)
        return pa.scalar(moment, kind)
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.scalar(str(value)).cast(kind)
    if _is_text(kind):
        return pa.scalar(str(value), kind)
    raise ValueError(value)


def _values(gate: Gate, field: Field) -> pa.Array:
    numeric = _is_text(field.type) and field.logical == "numeric"
    kind = pa.float64() if numeric else field.type
    found = []
    for value in gate.options["values"]:
        if value is None:
            continue  # a NULL keeps the rule anyway
        try:
            scalar = pa.scalar(value, pa.bool_()) if pa.types.is_boolean(kind) else _scalar(kind, value)
            found.append(scalar.cast(kind))
        except (ValueError, TypeError, InvalidOperation, pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise _unfit(gate, field, f"has no value {value!r}") from None
    return pa.array([s.as_py() for s in found], kind)


def _as_text(gate: Gate, field: Field) -> Callable[[pa.Array], pa.Array]:
    if _is_text(field.type):
        return lambda column: column
    if pa.types.is_nested(field.type) or pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        raise _unfit(gate, field, "has no text")
    return lambda column: pc.cast(column, pa.string())


def _unfit(gate: Gate, field: Field, why: str) -> Exception:
    kind = field.native or arrow_type_to_text(field.type)
    return gate_error(f"{gate.name}: column {field.name!r} of type {kind} {why}")
