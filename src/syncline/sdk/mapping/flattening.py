"""``flatten``: a column of nested values becomes columns of its parts.

A struct is taken apart by its own type, down to a depth. JSON text has no type: the keys to take are listed, with the
type of each (a dotted path goes deeper).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.schema import Field
from syncline.sdk.mapping.columns import CastStage, cast_type
from syncline.sdk.mapping.expressions import DeriveStage
from syncline.sdk.mapping.rows import Fate, Rows, Stage, ensure_distinct, find_field, refused

__all__ = ["FlattenStage"]


class FlattenStage:
    """Of one column, which goes unless ``keep``. Names are the column's and the parts', with ``separator`` between."""

    verb = "flatten"

    def __init__(
        self,
        fields: Sequence[Field],
        column: str,
        *,
        depth: int = 1,
        separator: str = "_",
        keys: Mapping[str, str] | None = None,
        keep: bool = False,
    ) -> None:
        known = find_field(fields, column, self.verb)
        self._column, self._keep = column, keep
        self._stages: list[Stage] = []
        self._paths: dict[str, tuple[int, ...]] = {}
        before = list(fields)
        if pa.types.is_struct(known.type):
            if keys:
                raise refused(f"flatten: {column!r} has a type of its own, so keys are not needed", "leave keys out")
            made = []
            for path, names, kind in _parts(known.type, depth):
                name = separator.join((column, *names))
                self._paths[name] = path
                made.append(Field(name=name, type=kind, logical="json" if pa.types.is_nested(kind) else None))
        elif known.logical == "json":
            if not keys:
                raise refused(
                    f"flatten: {column!r} is JSON, whose keys nobody knows beforehand",
                    "list the keys to take: keys: {city: text, geo.lat: double}",
                )
            made = self._from_json(before, known, keys, separator)
        else:
            raise refused(f"flatten: {column!r} is of type {known.native or known.type}, which is not nested")
        at = [f.name for f in fields].index(column)
        head = before[: at + 1] if keep else before[:at]
        self.fields = (*head, *made, *before[at + 1 :])
        ensure_distinct(self.fields)
        self.fates: Mapping[str, Fate] = {} if keep else {column: Fate(name=None, same=False, distinct=False)}
        self.inputs = frozenset([column])

    def _from_json(self, fields: list[Field], known: Field, keys: Mapping[str, str], separator: str) -> list[Field]:
        """Each key by an expression, then cast from its text."""
        texts: dict[str, str] = {}
        types: dict[str, pa.DataType | str] = {}
        for key, kind in keys.items():
            name = separator.join((known.name, *key.split(".")))
            path = "$" + "".join(f'."{part}"' for part in key.split("."))
            quoted, column = path.replace("'", "''"), known.name.replace('"', '""')
            if kind == "json":
                texts[name] = f"json_extract(\"{column}\", '{quoted}')"
                continue
            texts[name] = f"json_extract_string(\"{column}\", '{quoted}')"
            if cast_type(kind) != pa.string():
                types[name] = kind
        derive = DeriveStage(fields, texts)
        self._stages = [derive]
        if types:
            self._stages.append(CastStage(derive.fields, types))
        return [f for f in self._stages[-1].fields if f.name in texts]

    def apply(self, rows: Rows) -> None:
        if rows.keys_only:
            if not self._keep:
                rows.columns.pop(self._column, None)
            return
        for stage in self._stages:
            stage.apply(rows)
        if self._paths:
            whole = rows.columns[self._column]
            mask = rows.unchanged.get(self._column)
            for name, path in self._paths.items():
                part = whole
                for index in path:
                    part = pc.struct_field(part, [index])
                rows.columns[name] = part
                if mask is not None:
                    rows.unchanged[name] = mask
        if not self._keep:
            rows.columns.pop(self._column)
            rows.unchanged.pop(self._column, None)
            rows.misfits = [m for m in rows.misfits if m.column != self._column]
        rows.columns = {f.name: rows.columns[f.name] for f in self.fields}


def _parts(
    kind: pa.DataType, depth: int, path: tuple[int, ...] = (), names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[int, ...], tuple[str, ...], pa.DataType]]:
    """The parts of a struct down to a depth: place, names, type."""
    for index in range(kind.num_fields):
        each = kind.field(index)
        here, called = (*path, index), (*names, each.name)
        if pa.types.is_struct(each.type) and len(called) < depth:
            yield from _parts(each.type, depth, here, called)
        else:
            yield here, called, each.type
