"""Batches: rows on their way, always Arrow."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

__all__ = ["Batch", "Misfit", "QuarantinedRow"]


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """One cell that its Arrow carrier cannot hold (NaN in a decimal, an infinite timestamp, 24:00).

    In the batch the cell is NULL; ``text`` is the exact value in the source's own text form. A destination that can
    hold it (Postgres from Postgres) writes it from the text; any other sends the whole row to quarantine.

    ``rule`` names the quality gate that the row fails, if it is one: then the cell is what it is, ``text`` says
    nothing, and every destination sends the row to quarantine.
    """

    row: int
    column: str
    text: str
    reason: str
    rule: str = ""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One ``RecordBatch`` of one stream, its columns those of the stream's schema, in that order.

    ``misfits`` is almost always empty. ``bytes`` is the Arrow size used to bound queues.
    """

    data: pa.RecordBatch
    misfits: tuple[Misfit, ...] = ()

    @property
    def rows(self) -> int:
        return int(self.data.num_rows)

    @property
    def bytes(self) -> int:
        return int(self.data.nbytes)


@dataclass(frozen=True, kw_only=True)
class QuarantinedRow:
    """A row that the destination cannot hold, or that fails a quality gate: which column and why, and every value of
    the row as text. ``original`` are the row's own bytes (see :func:`syncline.sdk.quarantine.original_of`), from which
    it can be written again; empty when nobody kept them. ``id`` is the row's alone."""

    column: str
    reason: str
    record: Mapping[str, str | None]
    original: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "reason": self.reason, "record": dict(self.record)}
