"""From what a connection asks for to what it takes: choices matched against the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.stream import Catalog, SelectedStream, Stream, SyncMode
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.mapping import ensure_names_apart, map_selected

__all__ = ["StreamChoice", "select_streams"]

SHORT_MODES = ("full_refresh", "incremental")


@dataclass(frozen=True, kw_only=True)
class StreamChoice:
    """A connection's wish for one stream. ``name`` is ``table`` or ``schema.table`` (empty in a default). ``mode`` is
    one of Airbyte's five or the short ``full_refresh`` / ``incremental``; None takes the default. ``columns``
    None takes all; key columns are always taken. ``quality``: ``gates`` (of :mod:`syncline.quality`, as JSON) and the
    limits of its ``quarantine``."""

    name: str = ""
    mode: str | None = None
    cursor_field: str | None = None
    primary_key: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "mode": self.mode,
            "cursor_field": self.cursor_field,
            "primary_key": None if self.primary_key is None else list(self.primary_key),
            "columns": None if self.columns is None else list(self.columns),
            **({"quality": dict(self.quality)} if self.quality else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamChoice:
        key, columns = data.get("primary_key"), data.get("columns")
        return cls(
            name=data.get("name", ""),
            mode=data.get("mode"),
            cursor_field=data.get("cursor_field"),
            primary_key=None if key is None else tuple(key),
            columns=None if columns is None else tuple(columns),
            quality=data.get("quality", {}),
        )


def select_streams(
    catalog: Catalog, choices: Sequence[StreamChoice] | None, default: StreamChoice, traits: DestinationTraits
) -> list[SelectedStream]:
    """Match choices with the catalog, and carry out what the connection's mappings make of names and columns: choices
    are in the source's words. Raises ``config`` for unknown streams, columns, cursors, modes, refused modes, and for a
    mapping that does not fit."""
    if not catalog.streams:
        raise SynclineError(
            ErrorKind.CONFIG,
            "the source offers no streams",
            hint="check its schemas and tables settings and the rights of its user: syncline check",
        )
    if choices is None:
        return _mapped([_selected(s, _by_default(s, default), traits) for s in catalog.streams])
    picked: dict[Any, SelectedStream] = {}
    for choice in choices:
        stream = _find(catalog, choice.name)
        if stream.name in picked:
            raise SynclineError(ErrorKind.CONFIG, f"stream {choice.name!r} is listed twice", hint="remove one of them")
        wish = replace(
            choice,
            mode=choice.mode or _by_default(stream, default).mode,
            cursor_field=choice.cursor_field or default.cursor_field,
            quality=_quality(choice.quality, default.quality),
        )
        picked[stream.name] = _selected(stream, wish, traits)
    return _mapped(list(picked.values()))


def _mapped(selection: list[SelectedStream]) -> list[SelectedStream]:
    mapped = [map_selected(selected) for selected in selection]
    ensure_names_apart(mapped)
    return mapped


def _by_default(stream: Stream, default: StreamChoice) -> StreamChoice:
    """A connection's ``mode: incremental`` means its streams that can be read so; the others are copied whole. A
    stream's own wish is never changed."""
    return (
        replace(default, mode="full_refresh") if default.mode == "incremental" and not stream.incremental else default
    )


def _find(catalog: Catalog, name: str) -> Stream:
    found = [s for s in catalog.streams if name in (str(s.name), s.name.name)]
    if len(found) == 1:
        return found[0]
    names = [str(s.name) for s in catalog.streams]
    if found:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"stream {name!r} exists in several schemas",
            hint=f"write one of {', '.join(str(s.name) for s in found)}",
        )
    near = nearest(name, [*names, *(s.name.name for s in catalog.streams)])
    raise SynclineError(
        ErrorKind.CONFIG,
        f"the source has no stream {name!r}",
        hint=f"did you mean {near!r}?" if near else f"it has: {', '.join(names[:20])}{' …' if len(names) > 20 else ''}",
    )


def _selected(stream: Stream, choice: StreamChoice, traits: DestinationTraits) -> SelectedStream:
    where = {"stream": str(stream.name)}
    names = list(stream.schema.names)
    key = choice.primary_key if choice.primary_key is not None else stream.primary_key
    cursor = choice.cursor_field
    for role, columns in (
        ("primary_key", key),
        ("cursor_field", [cursor] if cursor else []),
        ("columns", choice.columns or ()),
    ):
        for column in columns:
            if column not in names:
                near = nearest(column, names)
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"{role}: the stream has no column {column!r}",
                    hint=f"did you mean {near!r}?" if near else f"it has: {', '.join(names)}",
                    where=where,
                )
    mode = _mode(stream, choice.mode, key, traits, where)
    if mode.incremental and not stream.source_defined_cursor:
        if not stream.incremental:
            raise SynclineError(
                ErrorKind.CONFIG, "the stream cannot be read incrementally", hint="use mode: full_refresh", where=where
            )
        if cursor is None:
            if not stream.cursor_fields:
                raise SynclineError(
                    ErrorKind.CONFIG,
                    "no column of the stream can serve as a cursor",
                    hint="use mode: full_refresh, or replication_method: Xmin",
                    where=where,
                )
            cursor = stream.cursor_fields[0]
    if mode.deduped and not key:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"{mode.value} needs a primary key and the stream has none",
            hint="set primary_key: [column, …] for the stream, or use an append or overwrite mode",
            where=where,
        )
    wanted = set(names if choice.columns is None else choice.columns) | set(key) | ({cursor} if cursor else set())
    schema = stream.schema.select(tuple(n for n in names if n in wanted))
    return SelectedStream(
        stream=replace(stream, schema=schema),
        sync_mode=mode,
        cursor_field=cursor if mode.incremental and not stream.source_defined_cursor else None,
        primary_key=tuple(key),
        options=dict(choice.quality),
    )


def _quality(own: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """A stream's gates come after those of the whole connection; its own limits take their place."""
    gates = [*default.get("gates", ()), *own.get("gates", ())]
    names = [g["name"] for g in gates]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"gates: both the connection and one of its streams have a gate named {twice!r}",
            hint="give one of them another name: …, or remove it",
        )
    return {**default, **own, **({"gates": gates} if gates else {})}


def _mode(
    stream: Stream, wish: str | None, key: Sequence[str], traits: DestinationTraits, where: dict[str, str]
) -> SyncMode:
    wish = wish or "full_refresh"
    if wish == "full_refresh":
        mode = SyncMode.FULL_REFRESH_OVERWRITE
    elif wish == "incremental":
        can_dedupe = bool(key) and SyncMode.INCREMENTAL_DEDUPED_HISTORY in traits.modes
        mode = SyncMode.INCREMENTAL_DEDUPED_HISTORY if can_dedupe else SyncMode.INCREMENTAL_APPEND
    else:
        try:
            mode = SyncMode(wish)
        except ValueError:
            known = [*SHORT_MODES, *(m.value for m in SyncMode)]
            near = nearest(wish, known)
            raise SynclineError(
                ErrorKind.CONFIG,
                f"unknown mode {wish!r}",
                hint=f"did you mean {near!r}?" if near else f"known: {', '.join(known)}",
                where=where,
            ) from None
    if mode not in traits.modes:
        can = ", ".join(m.value for m in SyncMode if m in traits.modes)
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the destination cannot keep {mode.value}: {traits.refusals.get(mode, 'it does not support it')}",
            hint=f"it can: {can}",
            where=where,
        )
    return mode
