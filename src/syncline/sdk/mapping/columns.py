"""The plain steps: ``drop``, ``keep``, ``rename`` and ``cast``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.schema import Field
from syncline.sdk.mapping.rows import Fate, Rows, find_field, refused, renamed_rows, replaced
from syncline.sdk.mapping.value_texts import ensure_text, is_text, texts
from syncline.sdk.quarantine import value_text

__all__ = ["AbsentStage", "CastStage", "DropStage", "RenameStage", "cast_each", "cast_type"]

#: Values of one batch that a cast may set aside, ~1 MB as rows; more are no exceptions and end the stream.
_MOST_MISFITS = 1_000
_TYPES: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "double": pa.float64(),
    "integer": pa.int32(),
    "real": pa.float32(),
    "smallint": pa.int16(),
    "text": pa.string(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}


class DropStage:
    """Columns go."""

    verb = "drop"

    def __init__(self, fields: Sequence[Field], columns: Sequence[str]) -> None:
        for name in columns:
            find_field(fields, name, self.verb)
        self._columns = frozenset(columns)
        self.fields = tuple(f for f in fields if f.name not in self._columns)
        if not self.fields:
            raise refused("drop: no column would be left", "leave the stream out instead: select: false")
        self.fates = {name: Fate(name=None, same=False, distinct=False) for name in columns}
        self.inputs: frozenset[str] = frozenset()

    def apply(self, rows: Rows) -> None:
        rows.columns = {name: c for name, c in rows.columns.items() if name not in self._columns}
        rows.unchanged = {name: c for name, c in rows.unchanged.items() if name not in self._columns}
        rows.misfits = [m for m in rows.misfits if m.column not in self._columns]


class AbsentStage(DropStage):
    """Columns go, and a row that has a value in one of them is set aside: nobody has said what becomes of it."""

    verb = "absent"

    def __init__(self, fields: Sequence[Field], columns: Sequence[str]) -> None:
        super().__init__(fields, columns)
        self.inputs = frozenset(columns)

    def apply(self, rows: Rows) -> None:
        told: list[tuple[int, str, str]] = []
        for name in sorted(self._columns & rows.columns.keys()):
            column = rows.columns[name]
            there = pc.indices_nonzero(column.is_valid()).to_pylist()
            told.extend((row, name, value_text(column[row]) or "") for row in there)
        super().apply(rows)
        for row, name, text in told:
            rows.spoil(
                row, self.fields[0].name, f"new column {name} has the value {text}, and its contract sets it aside"
            )


class RenameStage:
    """Columns get other names, all at once, so that two can change names with each other."""

    verb = "rename"

    def __init__(self, fields: Sequence[Field], names: Mapping[str, str]) -> None:
        for name, new in names.items():
            find_field(fields, name, self.verb)
            if not new:
                raise refused(f"rename: column {name!r} would have an empty name")
        self._names = dict(names)
        self.fields = replaced(
            fields, {f.name: replace(f, name=names[f.name], identity=None) for f in fields if f.name in names}
        )
        identities = {f.name: f.identity for f in fields}
        former = {new: old for old, new in names.items()}
        self.fields = tuple(
            replace(f, identity=identities[former[f.name]]) if f.name in former else f for f in self.fields
        )
        self.fates = {name: Fate(name=new) for name, new in names.items()}
        self.inputs: frozenset[str] = frozenset()

    def apply(self, rows: Rows) -> None:
        renamed_rows(rows, self._names)


class CastStage:
    """Columns get other types. A value that does not fit takes its row aside, or ends the stream (``fail``)."""

    verb = "cast"

    def __init__(
        self,
        fields: Sequence[Field],
        types: Mapping[str, pa.DataType | str],
        *,
        fail: bool = False,
        deliberate: bool = False,
        natives: Mapping[str, Field] | None = None,
    ) -> None:
        self._types = {name: cast_type(kind) if isinstance(kind, str) else kind for name, kind in types.items()}
        self._fail = fail
        changes: dict[str, Field] = {}
        for name, kind in self._types.items():
            field = find_field(fields, name, self.verb)
            if is_text(kind):
                ensure_text(field, self.verb)
            _ensure_castable(field, kind)
            as_it_was = (natives or {}).get(name)
            changes[name] = as_it_was or replace(field, type=kind, native=None, logical=None)
        self.fields = replaced(fields, changes)
        self.fates = {name: Fate(name=name, same=False, deliberate=deliberate) for name in types}
        self.inputs = frozenset(types)

    def apply(self, rows: Rows) -> None:
        for name, kind in self._types.items():
            if name in rows.columns:
                column = rows.columns[name]
                rows.columns[name], failed = cast_each(column, partial(_cast, kind=kind))
                self._tell(rows, name, kind, column, failed)

    def _tell(self, rows: Rows, name: str, kind: pa.DataType, column: pa.Array, failed: list[int]) -> None:
        what = f"the value is no {_word(kind)}"
        if failed and (self._fail or len(failed) > _MOST_MISFITS):
            many = f"; {len(failed)} of {rows.count} rows have such a value" if len(failed) > 1 else ""
            raise SynclineError(
                ErrorKind.DATA,
                f"mapping: cast: column {name!r} has a value that is no {_word(kind)}{many}",
                hint="cast to a wider type or to text, or derive the column with TRY_CAST",
            )
        for row in failed:
            rows.spoil(row, name, what, value_text(column[row]) or "")


def cast_type(text: str) -> pa.DataType:
    """The type of a word: ``bigint``, ``decimal(12,2)``, ``text`` … ``config`` for others."""
    word = text.strip().lower()
    if match := re.fullmatch(r"(?:decimal|numeric)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", word):
        precision, scale = int(match[1]), int(match[2] or 0)
        if 1 <= precision <= 38 and scale <= precision:
            return pa.decimal128(precision, scale)
        raise refused(f"cast: decimal({precision},{scale}) is not possible", "at most 38 digits")
    word = {"int": "integer", "string": "text", "varchar": "text", "bool": "boolean", "float": "double"}.get(word, word)
    if word in _TYPES:
        return _TYPES[word]
    near = nearest(word, list(_TYPES))
    known = f"known: {', '.join(_TYPES)}, decimal(p,s)"
    raise refused(f"cast: unknown type {text!r}", f"did you mean {near!r}? {known}" if near else known)


def cast_each(
    column: pa.Array, change: Callable[[pa.Array], pa.Array], most: int = _MOST_MISFITS
) -> tuple[pa.Array, list[int]]:
    """``change`` applied to the column; where it raises, to halves of it, down to single values, which become NULL.
    Gives the places of those; gives up beyond ``most``, with all the rest of them."""
    try:
        return change(column), []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    parts: list[pa.Array] = []
    failed: list[int] = []
    nothing = change(column.slice(0, 0)).type

    def halve(start: int, stop: int) -> None:
        if len(failed) > most:
            failed.extend(range(start, stop))
            parts.append(pa.nulls(stop - start, nothing))
            return
        try:
            parts.append(change(column.slice(start, stop - start)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            if stop - start == 1:
                failed.append(start)
                parts.append(pa.nulls(1, nothing))
                return
            middle = (start + stop) // 2
            halve(start, middle)
            halve(middle, stop)

    halve(0, len(column))
    return pa.concat_arrays(parts), failed


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if is_text(kind):
        return texts(column).cast(kind)
    if pa.types.is_floating(column.type) and pa.types.is_decimal(kind):
        # Arrow would round without a word.
        made = column.cast(kind)
        if pc.all(pc.equal(made.cast(column.type), column), skip_nulls=True).as_py() not in (True, None):
            raise pa.ArrowInvalid("rounded")
        return made
    return column.cast(kind)


def _ensure_castable(field: Field, kind: pa.DataType) -> None:
    try:
        _cast(pa.array([], field.type), kind)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise refused(
            f"cast: column {field.name!r} is of type {field.native or field.type}, which cannot become {_word(kind)}",
            "cast it to text, or derive a column by an expression",
        ) from error


def _word(kind: pa.DataType) -> str:
    return next((word for word, known in _TYPES.items() if known == kind), str(kind))
