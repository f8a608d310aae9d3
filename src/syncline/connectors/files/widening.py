"""Which types of a column may stand in different files of one stream."""

from __future__ import annotations

import pyarrow as pa

from syncline.core.schema import arrow_type_from_text

__all__ = ["fits"]

_WIDER = {
    "int8": ("int16", "int32", "int64"),
    "int16": ("int32", "int64"),
    "int32": ("int64",),
    "uint8": ("uint16", "uint32", "uint64", "int16", "int32", "int64"),
    "uint16": ("uint32", "uint64", "int32", "int64"),
    "uint32": ("uint64", "int64"),
    "float": ("double",),
}


def fits(old: str, new: str) -> bool:
    """Whether readers can take files with the one type and the other as one column without losing anything: the same
    type, or a wider one now. ``old`` and ``new`` are types as text."""
    if old == new or new in _WIDER.get(old, ()):
        return True
    before, now = arrow_type_from_text(old), arrow_type_from_text(new)
    if pa.types.is_decimal(before) and pa.types.is_decimal(now):
        digits = before.precision - before.scale
        return bool(now.scale >= before.scale and now.precision - now.scale >= digits)
    if pa.types.is_list(before) and pa.types.is_list(now):
        return fits(_text(before.value_type), _text(now.value_type))
    return False


def _text(kind: pa.DataType) -> str:
    from syncline.core.schema import arrow_type_to_text

    return arrow_type_to_text(kind)
