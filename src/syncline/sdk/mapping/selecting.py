"""A selected stream as the destination will see it: names, key, cursor and columns after the mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import SelectedStream
from syncline.sdk.mapping.mapper import Lineage, Mapper, mapped_name

__all__ = ["ensure_names_apart", "map_selected", "mapper_of"]


def mapper_of(selected: SelectedStream, schema: StreamSchema | None = None) -> Mapper:
    """The mapper of a stream that has an ``origin``, for its columns or for others of the same source."""
    assert selected.origin is not None
    return Mapper(schema or selected.origin.stream.schema, selected.origin.stream.mapping)


def map_selected(selected: SelectedStream) -> SelectedStream:
    """The stream with its mapping carried out, its former self as ``origin``; the stream itself when it has none.
    Raises ``config`` for a mapping that does not fit the columns, or that would merge rows which are not the same."""
    steps = selected.stream.mapping
    if not steps:
        return selected
    try:
        return _mapped(selected)
    except SynclineError as error:
        raise error.at(stream=str(selected.name)) from error.__cause__


def _mapped(selected: SelectedStream) -> SelectedStream:
    stream = selected.stream
    mapper = Mapper(stream.schema, stream.mapping)
    key = [mapper.lineage(name) for name in selected.primary_key]
    if selected.sync_mode.deduped:
        for name, lineage in zip(selected.primary_key, key, strict=True):
            _ensure_key(name, lineage)
    whole = all(k.name is not None and k.distinct for k in key)
    primary = tuple(k.name for k in key if k.name is not None) if whole else ()
    cursor = selected.cursor_field
    if cursor is not None:
        lineage = mapper.lineage(cursor)
        if selected.sync_mode.deduped and (lineage.name is None or not lineage.same):
            raise SynclineError(
                ErrorKind.CONFIG,
                f"mapping: {lineage.verb}: column {cursor!r} is the cursor, by which the newer of two rows is told",
                hint="leave it as it is, or keep a copy of it (derive) under another name and change that",
            )
        cursor = lineage.name if lineage.same else None
    own = [mapper.lineage(name) for name in stream.primary_key]
    own_key = tuple(k.name for k in own if k.name is not None) if all(k.name and k.distinct for k in own) else ()
    mapped = replace(
        stream,
        name=mapped_name(stream.name, stream.mapping),
        schema=mapper.schema,
        primary_key=own_key,
        cursor_fields=tuple(
            k.name for k in (mapper.lineage(name) for name in stream.cursor_fields) if k.name is not None and k.same
        ),
        mapping=(),
    )
    return replace(selected, stream=mapped, cursor_field=cursor, primary_key=primary, origin=selected)


def _ensure_key(name: str, lineage: Lineage) -> None:
    if lineage.name is None or not lineage.distinct:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"mapping: {lineage.verb}: column {name!r} is part of the key by which rows are merged, and different rows "
            "would get the same key, or one row another one each time",
            hint="leave it, hash it with allow_key: true, choose another primary_key, or an append or overwrite mode",
        )
    if not lineage.same and not lineage.deliberate:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"mapping: {lineage.verb}: column {name!r} is part of the key by which rows are merged",
            hint="equal values stay equal, so rows are still merged, by what the column becomes: say that you mean it "
            "with allow_key: true; with another key or method later every row comes a second time",
        )


def ensure_names_apart(selection: Sequence[SelectedStream]) -> None:
    """Raises ``config`` when a mapping gives two streams one name, or names that differ in case alone."""
    seen: dict[str, SelectedStream] = {}
    for selected in selection:
        other = seen.setdefault(str(selected.name).casefold(), selected)
        if other is selected or (other.origin is None and selected.origin is None):
            continue
        raise SynclineError(
            ErrorKind.CONFIG,
            f"mapping: {other.source_name} and {selected.source_name} would both be called {selected.name}",
            hint="give one of them another name, or leave it out: select: false",
        )
