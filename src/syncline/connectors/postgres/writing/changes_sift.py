"""Rows as they go to the table: encoded, and without those that it cannot hold."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from syncline.connectors.postgres.writing.aside import aside_row
from syncline.connectors.postgres.writing.changes_table import ChangeTable
from syncline.connectors.postgres.writing.loading import prepared
from syncline.core.batch import Misfit, QuarantinedRow

__all__ = ["Sifted", "sift"]


@dataclass(kw_only=True)
class Sifted:
    """``data`` with the columns of the schema and ``encoded`` as COPY takes them, row by row the same; ``misfits`` are
    cells to be written from their text. ``kept`` are the numbers of these rows before sifting, None for all."""

    data: pa.RecordBatch
    encoded: pa.RecordBatch
    misfits: list[Misfit]
    kept: npt.NDArray[np.int64] | None = None
    aside: list[QuarantinedRow] = field(default_factory=list)

    def number(self, row: int) -> int:
        """The number before sifting of one of our rows."""
        return row if self.kept is None else int(self.kept[row])

    def refuse(self, row: int, column: str | None, reason: str) -> None:
        """The server did not take one of the rows."""
        texts = [m for m in self.misfits if m.row == row]
        guess = texts[0].column if texts else self.data.schema.names[0]
        known = column if column is not None and column in self.data.schema.names else guess
        self.aside.append(aside_row(self.data, row, known, reason, texts))

    def take(self, rows: npt.NDArray[np.int64]) -> Sifted:
        """Some of the rows, in ascending order; nothing aside."""
        chosen = pa.array(rows)
        place = {int(row): at for at, row in enumerate(rows)} if self.misfits else {}
        return Sifted(
            data=self.data.take(chosen),
            encoded=self.encoded.take(chosen),
            misfits=[replace(m, row=place[m.row]) for m in self.misfits if m.row in place],
            kept=rows if self.kept is None else self.kept[rows],
        )


def sift(table: ChangeTable, data: pa.RecordBatch, misfits: Sequence[Misfit], *, only_keys: bool = False) -> Sifted:
    """Rows whose values the columns can hold, and the others aside. Misfits stay where the server can read them.
    ``only_keys``: ``data`` has just the key's columns."""
    columns, coder = (table.key_columns, table.key_coder) if only_keys else (table.columns, table.coder)
    told = list(misfits)
    problems: list[Misfit] = []
    if told:
        texts_welcome = table.target.dialect == "postgres"
        problems = [m for m in told if m.rule or not texts_welcome]
        told = [m for m in told if not m.rule] if texts_welcome else []
    encoded, lost = prepared(data, columns)
    problems += lost + coder.unencodable(encoded)
    if not problems:
        return Sifted(data=data, encoded=encoded, misfits=told)
    bad = sorted({p.row for p in problems})
    gone = set(bad)
    first = {p.row: p for p in reversed(problems)}
    texts: dict[int, list[Misfit]] = {}
    for m in [*told, *problems]:
        if m.row in gone and m.text:
            texts.setdefault(m.row, []).append(m)
    kept = np.setdiff1d(np.arange(data.num_rows), np.array(bad), assume_unique=True)
    chosen = pa.array(kept)
    return Sifted(
        data=data.take(chosen),
        encoded=encoded.take(chosen),
        misfits=[replace(m, row=m.row - bisect_left(bad, m.row)) for m in told if m.row not in gone],
        kept=kept,
        aside=[aside_row(data, r, first[r].column, first[r].reason, texts.get(r, ())) for r in bad],
    )
