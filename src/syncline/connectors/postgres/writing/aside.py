"""A row that the table cannot hold, as it stands in the quarantine."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from syncline.core.batch import Misfit, QuarantinedRow
from syncline.sdk.quarantine import original_of, value_text

__all__ = ["aside_row"]


def aside_row(data: pa.RecordBatch, row: int, column: str, reason: str, texts: Sequence[Misfit]) -> QuarantinedRow:
    """Row ``row`` of ``data``, refused for ``reason`` in ``column``; ``texts`` are its cells that only text can say."""
    record = {name: _text_of(array[row]) for name, array in zip(data.schema.names, data.columns, strict=True)}
    # A text of the source's own is better than ours, which cannot show what its carrier could not hold.
    own = {m.column: m.text for m in texts if not m.rule and record.get(m.column) is None}
    record.update(own)
    return QuarantinedRow(column=column, reason=reason, record=record, original=original_of(data, row, own))


def _text_of(value: pa.Scalar) -> str | None:
    try:
        return value_text(value)
    except UnicodeDecodeError:
        return str(value.as_buffer().to_pybytes(), "utf-8", "backslashreplace")
    except (OverflowError, ValueError):
        return str(value.cast(pa.int64()))  # a date or time that Python's calendar does not reach
