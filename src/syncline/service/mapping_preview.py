"""Use case: what a connection's mappings make of its streams, with some rows before and after. Needs no destination."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, cast

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream, SyncMode
from syncline.engine.selection import select_streams
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.feed import ReadsFeed
from syncline.sdk.mapping import mapper_of
from syncline.sdk.quarantine import value_text
from syncline.sdk.reference import open_source
from syncline.sdk.source import Source
from syncline.service.project import Connection
from syncline.settings import Settings

__all__ = ["MappedPreview", "preview_mappings"]

_ANY_MODE = DestinationTraits(modes=frozenset(SyncMode), refusals={})
Sample = tuple[Mapping[str, str | None], ...]


@dataclass(frozen=True, kw_only=True)
class MappedPreview:
    """``before`` and ``after`` are (column, type); ``steps`` what is done, in its order; ``rows_before`` and
    ``rows_after`` the same rows as text, as far as a filter lets them through. ``note`` says why there are no rows."""

    source: str
    stream: str
    before: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]
    rows_before: Sample = ()
    rows_after: Sample = ()
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "before": [{"name": name, "type": kind} for name, kind in self.before],
            "after": [{"name": name, "type": kind} for name, kind in self.after],
            "key": list(self.key),
            "steps": [dict(step) for step in self.steps],
            "rows_before": [dict(row) for row in self.rows_before],
            "rows_after": [dict(row) for row in self.rows_after],
        }


def preview_mappings(connection: Connection, settings: Settings, *, rows: int = 3) -> list[MappedPreview]:
    """Each stream that the connection takes. Raises what discovering, choosing and mapping raise: a mapping that does
    not fit is seen here."""
    context = ConnectorContext(connection=connection.name, work_dir=settings.scratch(connection.name))
    with closing(open_source(connection.source, context)) as source:
        selection = select_streams(source.discover(), connection.choices(), connection.default_choice(), _ANY_MODE)
        return [_preview(source, selected, rows) for selected in selection]


def _preview(source: Source, selected: SelectedStream, rows: int) -> MappedPreview:
    origin = selected.origin or selected
    before: Sample = ()
    after: Sample = ()
    note = ""
    if rows and isinstance(source, ReadsFeed):
        note = "no rows: this source gives them only in a run"
    elif rows:
        try:
            before, after = _samples(source, selected, rows)
        except SynclineError as error:
            note = f"no rows: {error.message}"
    return MappedPreview(
        source=str(origin.name),
        stream=str(selected.name),
        before=_columns(origin),
        after=_columns(selected),
        key=selected.primary_key,
        steps=origin.stream.mapping,
        rows_before=before,
        rows_after=after,
        note=note,
    )


def _columns(selected: SelectedStream) -> tuple[tuple[str, str], ...]:
    return tuple((f.name, f.native or f.logical or str(f.type)) for f in selected.stream.schema.fields)


def _samples(source: Source, selected: SelectedStream, rows: int) -> tuple[Sample, Sample]:
    """The first rows of the first partition that has any, read as the source has them."""
    origin = replace(
        selected.origin or selected, sync_mode=SyncMode.FULL_REFRESH_OVERWRITE, cursor_field=None, origin=None
    )
    plain = replace(origin, stream=replace(origin.stream, mapping=()))
    for partition in source.snapshot(plain).partitions:
        with closing(cast(Any, source.read(plain, partition))) as batches:
            for batch in batches:
                if batch.rows:
                    some = Batch(
                        data=batch.data.slice(0, rows), misfits=tuple(m for m in batch.misfits if m.row < rows)
                    )
                    mapped = some if selected.origin is None else mapper_of(selected).batch(some)
                    return _texts(some), _texts(mapped)
    return (), ()


def _texts(batch: Batch) -> Sample:
    """Values for people; those that a carrier cannot hold by their own text."""
    data: pa.RecordBatch = batch.data
    odd = {(m.row, m.column): m.text or f"({m.reason})" for m in batch.misfits}
    return tuple(
        {
            name: odd.get((row, name), value_text(data.column(place)[row]))
            for place, name in enumerate(data.schema.names)
        }
        for row in range(batch.rows)
    )
