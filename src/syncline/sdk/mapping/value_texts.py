"""Values as text, one form for each type: what is hashed, masked and encrypted, and what a cast to text gives.

Texts as they are; whole numbers and decimals in digits; floats in the shortest form that reads back; ``true`` and
``false``; dates ``2024-01-31``; times and timestamps with six digits of the second, the latter with ``Z`` where they
have a zone; bytes in hexadecimal digits after ``\\x``."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.schema import Field
from syncline.sdk.mapping.rows import refused

__all__ = ["ensure_text", "is_text", "texts"]


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def ensure_text(field: Field, verb: str) -> None:
    """Raises ``config`` for a type that has no text here."""
    kind = field.type
    if pa.types.is_nested(kind) or pa.types.is_interval(kind) or pa.types.is_duration(kind):
        raise refused(
            f"{verb}: column {field.name!r} is of type {field.native or kind}, which has no text of its own",
            "make one by an expression first (derive), or drop the column",
        )


def texts(column: pa.Array) -> pa.Array:
    """The column's values as text; NULL stays NULL."""
    kind = column.type
    if is_text(kind):
        return column
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else f"\\x{v.hex()}" for v in column.to_pylist()], pa.string())
    if pa.types.is_timestamp(kind):
        return pc.cast(column.cast(pa.timestamp("us", kind.tz)), pa.string())
    if pa.types.is_time(kind):
        return pc.cast(column.cast(pa.time64("us")), pa.string())
    return pc.cast(column, pa.string())
