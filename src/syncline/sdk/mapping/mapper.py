"""One stream's mapping, ready for its columns: what the stream is called and looks like afterwards, and the work
itself.

A mapper is made anew wherever rows are read (in the coordinator for looking, in every task for working) and is used by
one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Batch, Misfit
from syncline.core.change import ChangeBatch, Evolution, Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName
from syncline.sdk.mapping.columns import AbsentStage, CastStage, DropStage, RenameStage
from syncline.sdk.mapping.rows import Fate, Rows, Stage, find_field
from syncline.sdk.mapping.steps import make_stage

__all__ = ["Lineage", "Mapper", "mapped_name"]


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What became of a column of the source: its name afterwards (None: gone), and what can be said of its values (see
    :class:`~syncline.sdk.mapping.rows.Fate`). ``verb`` is the last step that changed it."""

    name: str | None
    same: bool = True
    distinct: bool = True
    deliberate: bool = True
    verb: str = ""


def mapped_name(name: StreamName, steps: Sequence[Mapping[str, Any]]) -> StreamName:
    """What the stream is called at the destination."""
    for step in steps:
        wish = step.get("name")
        if wish is None:
            continue
        namespace, called = wish.get("namespace", name.namespace), name.name
        if "to" in wish:
            to = str(wish["to"]).replace("{name}", name.name).replace("{namespace}", name.namespace or "")
            head, dot, tail = to.rpartition(".")
            if dot and head and "namespace" not in wish:
                namespace, called = head, tail
            else:
                called = to
        if namespace is not None:
            namespace = str(namespace).replace("{name}", name.name).replace("{namespace}", name.namespace or "")
        name = StreamName(namespace=namespace or None, name=called)
    return name


class Mapper:
    """For the columns of ``schema``. Raises ``config`` for steps that these columns do not fit."""

    def __init__(self, schema: StreamSchema, steps: Sequence[Mapping[str, Any]]) -> None:
        self.source = schema
        self._stages: list[Stage] = []
        fields: tuple[Field, ...] = schema.fields
        for step in steps:
            stage = _stage(step, fields)
            if stage is not None:
                self._stages.append(stage)
                fields = stage.fields
        self.schema = StreamSchema(fields=fields)
        self._arrow = self.schema.arrow()

    @property
    def filters(self) -> bool:
        return any(stage.verb == "filter" for stage in self._stages)

    @property
    def relays(self) -> bool:
        """Whether values stay what they are, so that undecoded bytes say the same."""
        return all(stage.verb in ("drop", "rename") for stage in self._stages)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In the order in which they are carried out."""
        return tuple(self._stages)

    def needed(self) -> tuple[str, ...]:
        """The columns of the source that must be read: those that are left, and those that a step looks at."""
        wanted = set(self.schema.names)
        for stage in reversed(self._stages):
            back = {fate.name: name for name, fate in stage.fates.items() if fate.name is not None}
            gone = {name for name, fate in stage.fates.items() if fate.name is None}
            wanted = ({back.get(name, name) for name in wanted} - (gone - set(back.values()))) | stage.inputs
        names = [n for n in self.source.names if n in wanted]
        return tuple(names)

    def lineage(self, column: str) -> Lineage:
        """What becomes of a column of the source."""
        found = Lineage(name=column)
        for stage in self._stages:
            if found.name is None:
                return found
            fate = stage.fates.get(found.name, Fate(name=found.name))
            if not fate.same or not fate.distinct or fate.name is None:
                found = Lineage(
                    name=fate.name,
                    same=found.same and fate.same,
                    distinct=found.distinct and fate.distinct,
                    deliberate=found.deliberate and fate.deliberate,
                    verb=stage.verb,
                )
            else:
                found = replace(found, name=fate.name)
        return found

    def origin_of(self, column: str) -> str | None:
        """The column of the source that has become this one; None for one that was made of others."""
        return next((name for name in self.source.names if self.lineage(name).name == column), None)

    def batch(self, batch: Batch) -> Batch:
        """Rows of a plan or feed. Columns that the batch does not have (they are not needed) stay away."""
        columns = dict(zip(batch.data.schema.names, batch.data.columns, strict=True))
        rows = Rows(columns=columns, count=batch.rows, misfits=list(batch.misfits))
        for stage in self._stages:
            stage.apply(rows)
            if rows.keep is not None:
                _only(rows, rows.keep)
        return Batch(data=self._data(rows), misfits=_told(rows.misfits))

    def keys(self, data: pa.RecordBatch) -> pa.RecordBatch:
        """Keys alone: columns of the source's key as the destination has them."""
        rows = Rows(
            columns=dict(zip(data.schema.names, data.columns, strict=True)), count=data.num_rows, keys_only=True
        )
        for stage in self._stages:
            stage.apply(rows)
        return pa.RecordBatch.from_arrays(list(rows.columns.values()), names=list(rows.columns))

    def changes(self, batch: ChangeBatch, key: Sequence[str]) -> ChangeBatch:
        """Changes of a log; ``key`` is the stream's key at the source. A row that a filter leaves out is deleted: it
        may have been there before the change."""
        rows = Rows(
            columns=dict(zip(batch.data.schema.names, batch.data.columns, strict=True)),
            count=batch.rows,
            misfits=list(batch.misfits),
            unchanged=dict(batch.unchanged),
        )
        gone = pc.greater_equal(batch.op, pa.scalar(int(Op.DELETE), pa.uint8()))
        if pc.any(gone).as_py():
            rows.whole = pc.invert(gone)
        self._ensure_decidable(batch, gone)
        for stage in self._stages:
            stage.apply(rows)
        old_key = None if batch.old_key is None else self.keys(batch.old_key)
        mapped = replace(
            batch,
            schema=self.schema,
            data=self._data(rows),
            unchanged={n: m for n, m in rows.unchanged.items() if n in self.schema.names},
            old_key=old_key,
            misfits=_told(rows.misfits),
            evolution=None if batch.evolution is None else self._evolution(batch.evolution),
        )
        if rows.keep is None:
            return mapped
        names = [self.lineage(name).name for name in key]
        leaves = pc.and_(pc.invert(rows.keep), pc.invert(gone))
        return _left_out(mapped, leaves, [name for name in names if name is not None])

    def _evolution(self, evolution: Evolution) -> Evolution:
        """Renames and filled values by their names afterwards. A value that was changed on its way is not known here
        for the rows that are there: a backfill brings it."""
        renamed: dict[str, str] = {}
        backfill: dict[str, pa.Scalar] = {}
        for new, old in evolution.renamed.items():
            lineage = self.lineage(new)
            if lineage.name == new:
                renamed[new] = old
        for name, value in evolution.backfill.items():
            lineage = self.lineage(name)
            if lineage.name is not None and lineage.same:
                backfill[lineage.name] = value
        return Evolution(renamed=renamed, backfill=backfill)

    def _ensure_decidable(self, batch: ChangeBatch, gone: pa.Array) -> None:
        for stage in self._stages:
            if stage.verb != "filter":
                continue
            lost = [name for name in stage.inputs if name in batch.unchanged and pc.any(batch.unchanged[name]).as_py()]
            if lost:
                raise SynclineError(
                    ErrorKind.SCHEMA,
                    f"mapping: filter: an update left out {', '.join(sorted(lost))}, which did not change, so nobody "
                    "can say whether the row passes",
                    hint="let the log tell whole rows (Postgres: ALTER TABLE … REPLICA IDENTITY FULL), or filter by "
                    "shorter columns",
                )

    def _data(self, rows: Rows) -> pa.RecordBatch:
        there = [f for f in self._arrow if f.name in rows.columns]
        return pa.RecordBatch.from_arrays([rows.columns[f.name] for f in there], schema=pa.schema(there))


def _stage(step: Mapping[str, Any], fields: Sequence[Field]) -> Stage | None:
    """``name``, ``keep``, ``absent`` and ``hold`` are words of the house, not of its users."""
    if "name" in step:
        return None
    if "keep" in step:
        for name in step["keep"]:
            find_field(fields, name, "fields")
        others = [f.name for f in fields if f.name not in step["keep"]]
        return DropStage(fields, others) if others else None
    if set(step) == {"rename"}:
        return RenameStage(fields, step["rename"])
    if "absent" in step:
        return AbsentStage(fields, step["absent"])
    if "hold" in step:
        kept = {name: replace(Field.from_json(data), name=name) for name, data in step["hold"].items()}
        types = {name: field.type for name, field in kept.items()}
        return CastStage(fields, types, fail=step["misfits"] == "fail", deliberate=True, natives=kept)
    return make_stage(step, fields)


def _only(rows: Rows, mask: pa.Array) -> None:
    """Leave out what has not passed."""
    rows.keep = None
    if pc.all(mask, min_count=0).as_py():
        return
    places = np.cumsum(mask.to_numpy(zero_copy_only=False)) - 1 if rows.misfits else None
    rows.columns = {name: column.filter(mask) for name, column in rows.columns.items()}
    if places is not None:
        rows.misfits = [replace(m, row=int(places[m.row])) for m in rows.misfits if mask[m.row].as_py()]
    rows.count = int(pc.sum(mask.cast(pa.int64())).as_py() or 0)


def _told(misfits: Sequence[Misfit]) -> tuple[Misfit, ...]:
    return tuple(sorted(misfits, key=lambda m: m.row))


def _left_out(batch: ChangeBatch, leaves: pa.Array, key: Sequence[str]) -> ChangeBatch:
    """Changes whose rows do not pass, as deletions of the key that the row had."""
    if not pc.any(leaves).as_py():
        return batch
    moved = batch.moved
    columns = []
    for field, before in zip(batch.data.schema, batch.data.columns, strict=True):
        if field.name not in key:
            columns.append(pc.if_else(leaves, pa.scalar(None, field.type), before))
        elif moved is not None and batch.old_key is not None and field.name in batch.old_key.schema.names:
            columns.append(pc.if_else(pc.and_(leaves, moved), batch.old_key.column(field.name), before))
        else:
            columns.append(before)
    at = set(pc.indices_nonzero(leaves).to_pylist())
    return replace(
        batch,
        data=pa.RecordBatch.from_arrays(columns, schema=batch.data.schema),
        op=pc.if_else(leaves, pa.scalar(int(Op.DELETE), pa.uint8()), batch.op),
        unchanged={name: pc.and_not(mask, leaves) for name, mask in batch.unchanged.items()},
        moved=None if moved is None else pc.and_not(moved, leaves),
        misfits=tuple(m for m in batch.misfits if m.row not in at or m.column in key),
    )
