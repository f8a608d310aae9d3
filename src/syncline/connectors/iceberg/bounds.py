"""Bounds of columns as manifests hold them, and back."""

from __future__ import annotations

from typing import Any

from pyiceberg import conversions
from pyiceberg.types import NestedField

__all__ = ["read_bound", "written_bound"]


def read_bound(field: NestedField, raw: bytes | None) -> int | str | None:
    """A bound of a manifest as ours; None where it tells nothing that we can use."""
    kind = str(field.field_type)
    if raw is None or not field.field_type.is_primitive:
        return None
    if kind in ("int", "long", "date", "time", "timestamp", "timestamptz"):
        return int.from_bytes(raw, "little", signed=True)
    if kind.startswith("decimal"):
        return int.from_bytes(raw, "big", signed=True)
    if kind == "string":
        return raw.decode("utf-8", "replace")
    return None


def written_bound(field: NestedField, value: int | str) -> bytes:
    """A bound of ours as a manifest holds it."""
    kind: Any = field.field_type
    if str(kind).startswith("decimal"):
        number = int(value)
        return number.to_bytes(max((number if number >= 0 else ~number).bit_length() // 8 + 1, 1), "big", signed=True)
    return conversions.to_bytes(kind, value)
