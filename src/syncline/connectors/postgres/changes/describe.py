"""Answers the decoder's question what a Relation message means for a stream: columns, and whether its change is safe.

Safe, in log order and without a new copy: a column added (with the value its rows got), dropped (the destination keeps
it, NULL from then on), renamed, widened; the table renamed. Everything else stops this one stream with the reason and
the plan; the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from syncline.connectors.postgres.catalog import Shape
from syncline.connectors.postgres.changes.matching import Match, Unsafe, match_columns
from syncline.connectors.postgres.changes.relation import Described, Refused, RelationMessage
from syncline.connectors.postgres.changes.retype import widens
from syncline.connectors.postgres.changes.table import TableNow, Tables
from syncline.core.change import Evolution
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import SelectedStream, StreamName

__all__ = ["Describer", "FollowedTable", "stopped"]


def stopped(name: StreamName, what: str, *, advice: str = "") -> SynclineError:
    """The error of a stream that cannot go on: what happened, and the plan."""
    plan = f"copy it anew: syncline state reset --stream {name}"
    return SynclineError(
        ErrorKind.SCHEMA,
        f"{name}: {what}",
        hint=f"{advice}; then {plan}" if advice else plan,
        where={"connector": "postgres", "stream": str(name)},
    )


@dataclass(frozen=True, kw_only=True)
class FollowedTable:
    """A stream's table. ``columns`` are the selected names; None: all, and those that are added later."""

    oid: int
    name: StreamName
    columns: frozenset[str] | None = None


@dataclass(kw_only=True)
class _Stream:
    """What one reader knows of a stream: the destination's fields by their present names, and the numbers of those that
    the table still has."""

    table: FollowedTable
    fields: dict[str, Field]
    key: tuple[str, ...]
    deduped: bool
    numbers: dict[str, int] | None = None  # of its fields, dropped ones too, and of all that messages showed
    highest: int = 0
    were: frozenset[int] | None = None  # of all columns of the last message
    last: dict[str, Field] = field(default_factory=dict)
    called: StreamName | None = None
    refused: Refused | None = None

    def take(
        self,
        schema: StreamSchema,
        renamed: Mapping[str, str],
        numbers: Mapping[str, int] | None,
        key: tuple[str, ...],
    ) -> None:
        """Remember what was answered. Fields keep their order: that in which the destination has them."""
        new_names = {old: new for new, old in renamed.items()}
        kept = {
            new_names.get(name, name): replace(f, name=new_names.get(name, name)) for name, f in self.fields.items()
        }
        self.last = {f.name: f for f in schema.fields}
        for f in schema.fields:
            if f.name not in kept or widens(kept[f.name], f):
                kept[f.name] = f
        self.fields, self.key = kept, key
        if numbers is None:
            return
        present = set(numbers.values())
        self.were = frozenset(present)
        # Of a dropped column the number is still that of the field that the destination keeps.
        dropped = {
            new_names.get(name, name): n
            for name, n in (self.numbers or {}).items()
            if n not in present and new_names.get(name, name) not in numbers
        }
        self.numbers = {**numbers, **dropped}
        self.highest = max([self.highest, *present])


class Describer:
    """One reader's ``describe``. Used by the reader's thread only."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._streams: dict[int, _Stream] = {}
        self._names: dict[StreamName, _Stream] = {}

    def add(self, table: FollowedTable, selected: SelectedStream, numbers: Sequence[int]) -> None:
        """Follow a stream; ``selected.stream.schema`` are the columns that the destination has of it, ``numbers`` those
        of its columns in the same order (more are of columns that the destination does not have yet; empty: not
        known)."""
        names = selected.stream.schema.names
        stream = _Stream(
            table=table,
            fields={f.name: f for f in selected.stream.schema.fields},
            key=selected.primary_key,
            deduped=selected.sync_mode.deduped,
            numbers=dict(zip(names, numbers, strict=False)) if len(numbers) >= len(names) else None,
            highest=max(numbers[: len(names)], default=0),
        )
        self._streams[table.oid] = self._names[table.name] = stream

    def __call__(self, message: RelationMessage) -> Described | Refused | None:
        stream = self._streams.get(message.oid)
        if stream is None:
            stream = self._names.get(StreamName(namespace=message.namespace, name=message.name))
            if stream is None:
                return None
            return self._refuse(stream, "another table has taken its name (its oid is another one)")
        if stream.refused is not None:
            return stream.refused
        try:
            return self._described(stream, message)
        except Unsafe as unsafe:
            return self._refuse(stream, str(unsafe), advice=unsafe.advice)

    @property
    def column_numbers(self) -> dict[StreamName, tuple[int, ...]]:
        """The numbers of each stream's fields, in the destination's order, as far as all are known."""
        found: dict[StreamName, tuple[int, ...]] = {}
        for stream in self._streams.values():
            numbers = stream.numbers or {}
            if all(name in numbers for name in stream.fields):
                found[stream.table.name] = tuple(numbers[name] for name in stream.fields)
        return found

    # -- within ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _refuse(stream: _Stream, what: str, *, advice: str = "") -> Refused:
        stream.refused = Refused(stream=stream.table.name, error=stopped(stream.table.name, what, advice=advice))
        return stream.refused

    @staticmethod
    def _new_name(stream: _Stream, message: RelationMessage) -> StreamName | None:
        """What the table is called now, when that is another name than it had in the message before."""
        called = StreamName(namespace=message.namespace, name=message.name)
        before, stream.called = stream.called or stream.table.name, called
        return None if called == before else called

    def _described(self, stream: _Stream, message: RelationMessage) -> Described:
        now = self._tables.table(message.oid)
        if now is not None and now.persistence != "p":
            raise Unsafe(
                "the table is unlogged now, so that the log does not tell of its changes",
                advice=f"ALTER TABLE {now.name} SET LOGGED",
            )
        names = [c.name for c in message.columns]
        match = match_columns(
            names,
            list(stream.fields),
            now,
            before=stream.numbers,
            highest=stream.highest,
            wanted=stream.table.columns,
            were=stream.were,
        )
        former, labels = match.former, _labels(stream, match, now)
        fields: dict[str, Field] = {}  # by name in the message
        evolved = False
        for column, shape in zip(message.columns, self._shapes(message, match, now), strict=True):
            base = former.get(column.name)
            if base is not None and base in stream.fields:
                fields[column.name], changed = _fitting(stream, labels.get(column.name, column.name), base, shape)
                evolved = evolved or changed
            elif base is None and column.name in match.added:
                if column.name in stream.fields:
                    raise Unsafe(f"column {column.name} was dropped and another added under its name")
                fields[column.name] = _field(column.name, shape, None)
                evolved = True
        renamed = {f.name: former[name] for name, f in fields.items() if name in former and former[name] != f.name}
        backfill = self._given(fields, match, now)
        key = _key(stream, message, former, fields, now)
        schema = StreamSchema(fields=tuple(fields.values()))
        numbers = {labels.get(name, name): number for name, number in (match.numbers or {}).items()}
        stream.take(schema, renamed, numbers or None, key)
        called = self._new_name(stream, message)
        changed = evolved or bool(renamed)
        evolution = Evolution(renamed=renamed, backfill=backfill, called=called, columns=changed)
        return Described(
            stream=stream.table.name,
            schema=schema,
            columns=tuple(names.index(name) for name in fields),
            key=key,
            evolution=evolution if changed or called is not None else None,
            delimiters=self._delimiters(message, fields),
        )

    def _shapes(self, message: RelationMessage, match: Match, now: TableNow | None) -> list[Shape | None]:
        """How the message's columns travel. Depths of arrays are not in the log; no change of type alters them."""
        depths = {a.number: a.dimensions for a in now.attributes} if now is not None else {}
        numbers = match.numbers or {}
        return self._tables.shapes(
            [(c.type_oid, c.typmod, depths.get(numbers.get(c.name, 0), 0)) for c in message.columns]
        )

    def _given(self, fields: Mapping[str, Field], match: Match, now: TableNow | None) -> dict[str, pa.Scalar]:
        """The values that rows got when a column was added. Raises where rows may have got different ones."""
        found: dict[str, pa.Scalar] = {}
        for name, known in fields.items():
            if now is None or name not in match.added:
                continue
            # By its number, for it may have got another name since.
            attribute = now.numbered(match.numbers[name]) if match.numbers is not None else now.named(name)
            if attribute is None:
                raise Unsafe(
                    f"column {name} was added with values that the log does not hold (its name has gone since)"
                )
            if attribute.dropped:
                continue  # and its values with it
            if attribute.given > 1 or (attribute.given == 0 and attribute.has_default):
                raise Unsafe(
                    f"column {name} was added with values that the log does not hold (a default that differs from row "
                    "to row, or one that came later)"
                )
            if attribute.given_text is not None:
                found[known.name] = self._tables.value(attribute.given_text, attribute)
        return found

    def _delimiters(self, message: RelationMessage, fields: Mapping[str, Field]) -> dict[str, str]:
        arrays = {c.type_oid: f.name for c in message.columns if (f := fields.get(c.name)) and pa.types.is_list(f.type)}
        return {arrays[oid]: character for oid, character in self._tables.delimiters(list(arrays)).items()}


def _labels(stream: _Stream, match: Match, now: TableNow | None) -> dict[str, str]:
    """A reader may begin a little before what the destination has: a name in a message may be a former one of a column
    that the stream knows by its present name. Such a column keeps that: name in the message -> name to use."""
    if now is None or match.numbers is None:
        return {}
    present = {name: a.number for name in stream.fields if (a := now.named(name)) is not None}
    return {
        name: base for name, base in match.former.items() if name != base and present.get(base) == match.numbers[name]
    }


def _fitting(stream: _Stream, name: str, base: str, shape: Shape | None) -> tuple[Field, bool]:
    """The field of a column that the stream has, and whether it changed for good. Raises when values may have."""
    known = stream.fields[base]
    fresh = _field(name, shape, known)
    if (fresh.type, fresh.native, fresh.logical) == (known.type, known.native, known.logical):
        return replace(known, name=name), False
    if widens(known, fresh):
        return replace(fresh, nullable=known.nullable), True
    # The log may lie before what the destination has; the destination widens the values. Once the log has shown the
    # wide type, a narrower one is a change of the values.
    if widens(fresh, known) and stream.last.get(base) != known:
        return fresh, False
    raise Unsafe(f"column {base} was {known.native} and is {fresh.native} now, which may have changed its values")


def _field(name: str, shape: Shape | None, known: Field | None) -> Field:
    if shape is not None:
        return shape.field(name)
    # The type is dropped by now; what it was called when the stream was made is as good.
    return replace(known, name=name) if known is not None else Field(name=name, type=pa.string(), logical="text")


def _key(
    stream: _Stream,
    message: RelationMessage,
    former: Mapping[str, str],
    fields: Mapping[str, Field],
    now: TableNow | None,
) -> tuple[str, ...]:
    """The stream's key by its present names. Raises when the log does not tell of it."""
    names = {former[name]: name for name in fields if name in former}
    if lost := [name for name in stream.key if name not in names]:
        raise Unsafe(f"its key column {', '.join(lost)} is gone")
    logged = {c.name for c in message.columns if c.key}
    of_leaves = (
        now is not None and now.relkind == "p"
    )  # identity is a matter of each leaf, the message shows the root's
    if stream.deduped and not of_leaves and (hidden := [n for n in stream.key if names[n] not in logged]):
        raise Unsafe(
            f"its replica identity does not hold {', '.join(hidden)} of the stream's key: deletes cannot be followed",
            advice=f"ALTER TABLE {stream.table.name} REPLICA IDENTITY FULL",
        )
    return tuple(fields[names[name]].name for name in stream.key)
