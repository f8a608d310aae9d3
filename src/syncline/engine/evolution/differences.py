"""What has changed between two looks at a stream's columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from syncline.core.schema import Field

__all__ = ["ColumnChange", "column_changes", "type_change"]


@dataclass(frozen=True, kw_only=True)
class ColumnChange:
    """``kind``: added, dropped, renamed, widened, narrowed, retyped, optional (may be NULL now) or required (may not).
    ``before`` is None for what is new, ``after`` for what is gone."""

    kind: str
    before: Field | None
    after: Field | None

    @property
    def column(self) -> str:
        """The name by which it is known now, or was."""
        known = self.after or self.before
        assert known is not None
        return known.name

    def words(self) -> tuple[str | None, str | None]:
        """Both sides for people, with types where a type is what changed."""
        if self.kind in ("renamed", "dropped"):
            return (None if self.before is None else self.before.name, None if self.after is None else self.after.name)
        if self.kind in ("optional", "required"):
            texts = {True: "NULL", False: "NOT NULL"}
            assert self.before is not None
            assert self.after is not None
            return (
                f"{self.before.name} {texts[self.before.nullable]}",
                f"{self.after.name} {texts[self.after.nullable]}",
            )
        return _typed(self.before), _typed(self.after)


def column_changes(before: Sequence[Field], after: Sequence[Field]) -> list[ColumnChange]:
    """In the order of the columns. A column is the same when its name is, or when the source knows it by the same
    identity under another name."""
    names = {f.name for f in after}
    gone = {f.identity: f for f in before if f.name not in names and f.identity is not None}
    found: list[ColumnChange] = []
    matched: set[str] = set()
    known = {f.name: f for f in before}
    for field in after:
        former = known.get(field.name)
        if former is not None and _another(former, field) and field.identity in gone:
            former = None  # a column took the name of one that was renamed away or dropped
        if former is None:
            former = gone.get(field.identity) if field.identity is not None else None
            if former is None:
                found.append(ColumnChange(kind="added", before=None, after=field))
                continue
            found.append(ColumnChange(kind="renamed", before=former, after=field))
        matched.add(former.name)
        kind = type_change(former, field)
        if kind is not None:
            found.append(ColumnChange(kind=kind, before=former, after=field))
        if former.nullable != field.nullable:
            found.append(ColumnChange(kind="optional" if field.nullable else "required", before=former, after=field))
    found.extend(ColumnChange(kind="dropped", before=f, after=None) for f in before if f.name not in matched)
    return found


def _another(before: Field, after: Field) -> bool:
    return before.identity is not None and after.identity is not None and before.identity != after.identity


def type_change(before: Field, after: Field) -> str | None:
    """widened: every old value is the same value of the new type; narrowed: the other way round; else retyped. None
    when the type is the same."""
    if (before.type, before.native, before.logical) == (after.type, after.native, after.logical):
        return None
    if before.type == after.type and (before.native is None or after.native is None):
        return None
    if _holds(after, before):
        return "widened"
    return "narrowed" if _holds(before, after) else "retyped"


def _holds(wide: Field, narrow: Field) -> bool:
    """Whether every value of the one is the same value of the other."""
    a, b = narrow.type, wide.type
    if pa.types.is_integer(a) and pa.types.is_integer(b):
        return bool(b.bit_width > a.bit_width)
    if pa.types.is_integer(a) and pa.types.is_decimal(b):
        return bool(b.precision - b.scale >= {8: 3, 16: 5, 32: 10, 64: 19}.get(a.bit_width, 20))
    if pa.types.is_floating(a) and pa.types.is_floating(b):
        return bool(b.bit_width > a.bit_width)
    if pa.types.is_decimal(a) and pa.types.is_decimal(b):
        whole = b.precision - b.scale >= a.precision - a.scale
        return bool(whole and b.scale >= a.scale and b != a)
    if (pa.types.is_decimal(a) or pa.types.is_integer(a)) and wide.logical == "numeric":
        return True
    if a != b:
        return False
    return _native_holds(wide, narrow)


_SIZED = re.compile(r"([a-z ]+?)\((\d+)\)( .*)?")


def _native_holds(wide: Field, narrow: Field) -> bool:
    """The same carrier; the source's own words say how much it holds: varchar(20), text, timestamp(3)."""
    if wide.logical is None and wide.native == "text":
        return narrow.logical in (None, "enum", "uuid") and narrow.native != "text"
    one, other = _SIZED.fullmatch(narrow.native or ""), _SIZED.fullmatch(wide.native or "")
    if one is not None and other is not None:
        return (one[1], one[3]) == (other[1], other[3]) and int(other[2]) > int(one[2])
    if one is not None:
        return (wide.native or "") == f"{one[1]}{one[3] or ''}"  # without a limit
    return False


def _typed(field: Field | None) -> str | None:
    return None if field is None else f"{field.name} {field.native or field.type}"
