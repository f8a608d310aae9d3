"""Taking rows aside that a destination cannot hold."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Misfit, QuarantinedRow

__all__ = ["set_aside", "value_text"]


def value_text(value: pa.Scalar) -> str | None:
    """One value as text for people: ISO dates and times, plain numbers, hex for bytes, NULL as None."""
    if not value.is_valid:
        return None
    kind = value.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return f"\\x{value.as_py().hex()}"
    if pa.types.is_nested(kind):
        return "[" + ", ".join(value_text(v) or "NULL" for v in value) + "]" if pa.types.is_list(kind) else str(value)
    try:
        return str(pc.cast(value, pa.string()).as_py())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return str(value)


def set_aside(data: pa.RecordBatch, misfits: Sequence[Misfit]) -> tuple[pa.RecordBatch, list[QuarantinedRow]]:
    """Split a batch into the rows without misfits and the others as text. Returns ``data`` itself when there are none.

    The misfit's own text takes the place of its cell; when a row has several, the first names the reason.
    """
    if not misfits:
        return data, []
    by_row: dict[int, list[Misfit]] = {}
    for m in misfits:
        by_row.setdefault(m.row, []).append(m)
    rows = []
    for number, found in sorted(by_row.items()):
        record = {
            name: value_text(column[number]) for name, column in zip(data.schema.names, data.columns, strict=True)
        }
        record.update({m.column: m.text for m in found})
        rows.append(QuarantinedRow(column=found[0].column, reason=found[0].reason, record=record))
    mask = [True] * data.num_rows
    for number in by_row:
        mask[number] = False
    return data.filter(pa.array(mask)), rows
