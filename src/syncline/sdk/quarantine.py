"""Taking rows aside that a destination cannot hold or that fail a quality gate, and looking at them again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Batch, Misfit, QuarantinedRow
from syncline.core.stream import StreamName

__all__ = ["KeepsQuarantine", "QuarantineEntry", "original_of", "restored", "set_aside", "value_text"]

_TEXTS = b"syncline.texts"


@dataclass(frozen=True, kw_only=True)
class QuarantineEntry:
    """One row of the store. ``id`` is empty for rows of a version that gave none. ``at`` is ISO 8601."""

    id: str
    generation: int
    partition: str
    sync_id: str
    column: str | None
    reason: str
    record: Mapping[str, str | None]
    at: str
    original: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "column": self.column,
            "reason": self.reason,
            "partition": self.partition,
            "sync_id": self.sync_id,
            "generation": self.generation,
            "at": self.at,
            "replayable": bool(self.id and self.original),
            "record": dict(self.record),
        }


@runtime_checkable
class KeepsQuarantine(Protocol):
    """Ability of a destination: its quarantine can be read and cleared, row by row."""

    def quarantine(self, connection: str, stream: StreamName) -> Iterator[QuarantineEntry]:
        """The rows that are visible in the store, oldest first; those of stages that are not committed are not."""
        ...

    def forget_quarantined(self, connection: str, stream: StreamName, ids: Sequence[str]) -> int:
        """Remove these rows; those that are not there do not matter. Returns how many there were. Called under the
        stream's lease, after whatever was to become of the rows is committed."""
        ...


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


def set_aside(
    data: pa.RecordBatch, misfits: Sequence[Misfit], *, original: pa.RecordBatch | None = None
) -> tuple[pa.RecordBatch, list[QuarantinedRow]]:
    """Split a batch into the rows without misfits and the others as text. Returns ``data`` itself when there are none.

    The misfit's own text takes the place of its cell; when a row has several, the first names the reason. ``original``
    are the rows as they came, where ``data`` has been changed since.
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
        texts = {m.column: m.text for m in found if not m.rule}
        record.update(texts)
        rows.append(
            QuarantinedRow(
                column=found[0].column,
                reason=found[0].reason,
                record=record,
                original=original_of(data if original is None else original, number, texts),
            )
        )
    mask = [True] * data.num_rows
    for number in by_row:
        mask[number] = False
    return data.filter(pa.array(mask)), rows


def original_of(data: pa.RecordBatch, row: int, texts: Mapping[str, str] = {}) -> str:
    """The bytes of one row as they came: an Arrow stream of one row in base64. ``texts`` are its misfits' own texts."""
    one = data.slice(row, 1).replace_schema_metadata({_TEXTS: json.dumps(dict(texts)).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, one.schema) as out:
        out.write_batch(one)
    return base64.b64encode(sink.getvalue()).decode()


def restored(original: str, schema: pa.Schema) -> Batch:
    """The row of :func:`original_of` with the columns of ``schema``: what is new there is NULL, what it lacks is left
    out, and types are cast where that loses nothing. Raises ``ValueError`` where it would."""
    with pa.ipc.open_stream(base64.b64decode(original)) as reader:
        batch = reader.read_next_batch()
    texts = json.loads((batch.schema.metadata or {}).get(_TEXTS, b"{}"))
    columns = []
    for field in schema:
        place = batch.schema.get_field_index(field.name)
        if place < 0:
            columns.append(pa.nulls(1, field.type))
            continue
        column = batch.column(place)
        columns.append(column if column.type == field.type else column.cast(field.type))
    misfits = tuple(
        Misfit(row=0, column=name, text=text, reason="kept from the source as text")
        for name, text in texts.items()
        if name in schema.names
    )
    return Batch(data=pa.RecordBatch.from_arrays(columns, schema=schema), misfits=misfits)
