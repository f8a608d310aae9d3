"""Final rows of a collapsed batch made ready for the table: all columns, encoded, whole ones apart from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from syncline.connectors.postgres.writing.changes_sift import Sifted, sift
from syncline.connectors.postgres.writing.changes_staged import Partial
from syncline.connectors.postgres.writing.changes_table import ChangeTable
from syncline.connectors.postgres.writing.loading import prepared
from syncline.core.batch import QuarantinedRow
from syncline.sdk.collapse import FinalRows
from syncline.sdk.metadata import change_rows

__all__ = ["Ready", "ready"]

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Ready:
    """``whole`` rows say every column, those of ``partial`` do not; either may be None. ``early`` could not be held
    before they were told apart."""

    whole: Sifted | None
    partial: Partial | None
    early: Sequence[QuarantinedRow] = ()

    @property
    def aside(self) -> list[QuarantinedRow]:
        """All that could not be held, and what the server has refused by now."""
        found = list(self.early)
        for part in (self.whole, self.partial.rows if self.partial is not None else None):
            found += part.aside if part is not None else ()
        return found

    @property
    def rows(self) -> int:
        found = self.whole.data.num_rows if self.whole is not None else 0
        return found + (self.partial.rows.data.num_rows if self.partial is not None else 0)

    @property
    def simple(self) -> bool:
        """Whether each row can be written by a statement of its own."""
        parts = (self.whole, self.partial.rows if self.partial is not None else None)
        odd = any(part is not None and part.misfits for part in parts)
        return not odd and (self.partial is None or not self.partial.moved.any())


def ready(table: ChangeTable, final: FinalRows, extracted_at: datetime, *, marking: bool = False) -> Ready:
    """``marking``: as for :meth:`~syncline.sdk.collapse.FinalRows.patterns`."""
    changes, target = final.changes, table.target
    data = change_rows(
        target.schema,
        changes,
        extracted_at=extracted_at,
        sync_id=target.sync_id,
        generation=target.generation,
    )
    rows = sift(table, data, changes.misfits)
    pattern, patterns = final.patterns(table.names, marking=marking)
    if rows.kept is not None:
        pattern = pattern[rows.kept]
    said = np.array([not p for p in patterns], np.bool_)[pattern]
    if said.all():
        return Ready(whole=rows, partial=None)
    odd = np.flatnonzero(~said)
    return Ready(
        whole=rows.take(np.flatnonzero(said)) if said.any() else None,
        partial=_partial(table, final, rows.take(odd), pattern[odd], patterns),
        early=rows.aside,
    )


def _partial(
    table: ChangeTable, final: FinalRows, rows: Sifted, pattern: _Ints, patterns: Sequence[frozenset[str]]
) -> Partial:
    own = [rows.encoded.column(place) for place in table.key]
    if final.origin is None:
        moved, origin = np.zeros(len(pattern), np.bool_), own
    else:
        columns = [table.columns[place] for place in table.key]
        kept = final.origin if rows.kept is None else final.origin.take(pa.array(rows.kept))
        encoded, _ = prepared(kept, columns)
        origin = encoded.columns
        moved = np.zeros(len(pattern), np.bool_)
        for name in table.target.primary_key:
            a, b = rows.data.column(rows.data.schema.get_field_index(name)), kept.column(name)
            moved |= np.array([x != y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True)], np.bool_)
    return Partial(rows=rows, pattern=pattern.astype(np.int32), patterns=patterns, origin=origin, moved=moved)
