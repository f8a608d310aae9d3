"""The screen: looks through each batch on its way to the writer, marks rows that gates set aside, counts the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Batch, Misfit
from syncline.core.schema import StreamSchema
from syncline.quality.gate import Gate, Severity
from syncline.quality.row_rules import Judge, judge_of
from syncline.quality.rules import RULES, gate_error

__all__ = ["OPTION", "Screen", "merged", "screened"]

#: Where a target carries the gates that look at rows.
OPTION = "gates"

_MICROS = pa.timestamp("us", tz="UTC")


def screened(gates: Sequence[Gate]) -> list[Gate]:
    """Those that must see the rows: relayed bytes cannot be looked through."""
    return [g for g in gates if RULES[g.rule].per_row or g.rule == "freshness"]


@dataclass(frozen=True, kw_only=True)
class _Watched:
    gate: Gate
    place: int
    judge: Judge


class Screen:
    """Used by one thread for one partition, stretch or flush. :meth:`note` is what it has counted, as plain JSON."""

    def __init__(self, gates: Sequence[Gate], schema: StreamSchema) -> None:
        """Raises ``config`` for a gate that means nothing for its column."""
        self._watched = []
        self._fresh: list[tuple[str, int]] = []
        names = schema.names
        for gate in screened(gates):
            if gate.columns[0] not in names:
                raise gate_error(f"{gate.name}: the stream has no column {gate.columns[0]!r} any more")
            field = schema.field(gate.columns[0])
            if RULES[gate.rule].per_row:
                self._watched.append(_Watched(gate=gate, place=names.index(field.name), judge=judge_of(gate, field)))
            else:
                _ = _moments(gate, pa.array([], field.type))
                self._fresh.append((gate.name, names.index(field.name)))
        self._by_name = {g.name: g for g in gates}
        self._counts: dict[str, list[int]] = {w.gate.name: [0, 0] for w in self._watched}
        self._newest: dict[str, int] = {}
        self._rows = 0

    @classmethod
    def of(cls, options: Mapping[str, Any], schema: StreamSchema) -> Screen | None:
        """The screen that a target asks for; None when it asks for none."""
        gates = options.get(OPTION)
        return cls([Gate.from_json(g) for g in gates], schema) if gates else None

    def __call__(self, batch: Batch) -> Batch:
        """The batch with a misfit for each row that is to be set aside."""
        if batch.rows == 0:
            return batch
        refused = self.look(batch.data, batch.misfits)
        return batch if not refused else replace(batch, misfits=(*batch.misfits, *refused))

    def look(
        self,
        data: pa.RecordBatch,
        misfits: Sequence[Misfit] = (),
        *,
        only: pa.Array | None = None,
        unsaid: Mapping[str, pa.Array] | None = None,
    ) -> list[Misfit]:
        """Count, and give the rows to be set aside. ``only``: rows that are judged at all (deletions are not);
        ``unsaid``: by column, rows whose value is left out and so cannot be judged."""
        unsaid = unsaid or {}
        self._rows += data.num_rows if only is None else (only.true_count or 0)
        odd: dict[str, list[int]] = {}
        for m in misfits:
            odd.setdefault(m.column, []).append(m.row)
        found: dict[int, Misfit] = {}
        for watched in self._watched:
            gate, column = watched.gate, data.column(watched.place)
            name = data.schema.names[watched.place]
            bad = pc.fill_null(watched.judge(column), False)
            said = pa.array(np.ones(len(column), np.bool_)) if gate.rule in ("not_null", "null") else column.is_valid()
            if name in odd:
                # Not NULL, though its carrier says so.
                rows = np.zeros(len(column), np.bool_)
                rows[odd[name]] = True
                broken = pa.array(rows)
                bad = pc.and_(bad, pc.invert(broken)) if gate.rule == "not_null" else pc.or_(bad, broken)
                said = pc.or_(said, broken)
            for mask in (only, pc.invert(unsaid[name]) if name in unsaid else None):
                if mask is not None:
                    bad, said = pc.and_(bad, mask), pc.and_(said, mask)
            counts = self._counts[gate.name]
            counts[0] += said.true_count or 0
            failed = bad.true_count or 0
            counts[1] += failed
            if failed and gate.severity is Severity.QUARANTINE:
                for row in pc.indices_nonzero(bad).to_pylist():
                    found.setdefault(
                        row,
                        Misfit(row=row, column=name, text="", reason=f"gate {gate.name!r} is broken", rule=gate.name),
                    )
        for gate_name, place in self._fresh:
            newest = pc.max(_moments(self._by_name[gate_name], data.column(place)))
            if newest.is_valid:
                micros = newest.cast(pa.int64()).as_py()
                self._newest[gate_name] = max(micros, self._newest.get(gate_name, micros))
        return [found[row] for row in sorted(found)]

    def blocking(self) -> list[str]:
        """Gates that block and are broken by what was looked at so far."""
        return [
            name
            for name, (judged, failed) in self._counts.items()
            if self._by_name[name].severity is Severity.BLOCK
            and failed
            and judged - failed < self._by_name[name].mostly * judged
        ]

    def note(self) -> dict[str, Any]:
        return {"rows": self._rows, "gates": {k: list(v) for k, v in self._counts.items()}, "newest": self._newest}


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two notes as one."""
    if not one or not other:
        return dict(one or other)
    gates = {name: list(counts) for name, counts in one["gates"].items()}
    for name, (judged, failed) in other["gates"].items():
        known = gates.setdefault(name, [0, 0])
        known[0] += judged
        known[1] += failed
    newest = dict(one["newest"])
    for name, micros in other["newest"].items():
        newest[name] = max(micros, newest.get(name, micros))
    return {"rows": one["rows"] + other["rows"], "gates": gates, "newest": newest}


def _moments(gate: Gate, column: pa.Array) -> pa.Array:
    """A column as moments in UTC."""
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_string(kind)):
        raise gate_error(f"{gate.name}: a column of type {kind} tells no time")
    if pa.types.is_timestamp(kind) and kind.tz is None:
        return pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), _MICROS)
    try:
        return pc.cast(pc.cast(column, pa.timestamp("us"), safe=False) if pa.types.is_date(kind) else column, _MICROS)
    except pa.ArrowInvalid as error:
        raise gate_error(f"{gate.name}: a text of the column is no moment: {error}") from None
