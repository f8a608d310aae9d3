"""What happened to the columns of a table between two changes of its rows, and what follows for the stream.

The log tells an ALTER TABLE when it happens, and the new columns only with the next change of a row, which may come in
another run. So what was told is remembered with its place, as part of the log's identity in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from syncline.connectors.mysql.changes.statement import TableChange, tokens
from syncline.connectors.mysql.types import carrier_of
from syncline.core.change import Evolution
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName

__all__ = ["Altered", "History", "Told"]


@dataclass(kw_only=True)
class Told:
    """One change of a table's columns at a place; ``done``: the place from which on the stream's columns show it."""

    lsn: int
    change: TableChange
    done: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"lsn": self.lsn, "change": self.change.to_json(), **({} if self.done is None else {"done": self.done})}


class History:
    """All that was told and may still be needed, for all tables. Shared by the readers of a log, used by one thread."""

    def __init__(self) -> None:
        self._told: dict[StreamName, dict[tuple[int, int], Told]] = {}

    def tell(self, name: StreamName, lsn: int, changes: Sequence[TableChange]) -> None:
        """The statement at this place did this. May be told again by another reader."""
        found = self._told.setdefault(name, {})
        for number, change in enumerate(changes):
            found.setdefault((lsn, number), Told(lsn=lsn, change=change))

    def pending(self, name: StreamName, lsn: int) -> list[Told]:
        """What was told before a place and not shown by a row before it, in order."""
        told = self._told.get(name, {})
        in_order = [told[place] for place in sorted(told)]
        return [t for t in in_order if t.lsn < lsn and (t.done is None or t.done >= lsn)]

    def done(self, name: StreamName, lsn: int) -> None:
        """At this place a row showed the columns that follow."""
        for told in self.pending(name, lsn):
            told.done = lsn if told.done is None else min(told.done, lsn)

    def dropped(self, name: StreamName, lsn: int) -> set[str]:
        """Columns that were dropped before a place: the destination keeps them, with the values of then."""
        told = self._told.get(name, {}).values()
        return {t.change.column for t in told if t.lsn < lsn and t.done is not None and t.change.what == "drop"}

    def anew(self, name: StreamName) -> None:
        """The stream is copied: what happened to its table before means nothing."""
        self._told.pop(name, None)

    def forget(self, lsn: int) -> None:
        """Nobody reads below this place any more. What was dropped is remembered for ever."""
        for name, told in list(self._told.items()):
            self._told[name] = {
                k: t for k, t in told.items() if t.done is None or t.done >= lsn or t.change.what == "drop"
            }
            if not self._told[name]:
                del self._told[name]

    def to_json(self) -> dict[str, Any]:
        return {
            str(name): {"name": name.to_json(), "told": [told[k].to_json() for k in sorted(told)]}
            for name, told in sorted(self._told.items())
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> History:
        history = cls()
        for found in data.values():
            told: dict[tuple[int, int], Told] = {}
            number = 0
            last = -1
            for each in found["told"]:
                number = number + 1 if each["lsn"] == last else 0
                last = each["lsn"]
                change = TableChange.from_json(each["change"])
                told[(last, number)] = Told(lsn=last, change=change, done=each.get("done"))
            history._told[StreamName.from_json(found["name"])] = told
        return history


@dataclass(kw_only=True)
class Altered:
    """The columns of a stream after what was told. ``origin``: name now -> name before, None for a new column;
    ``native``: types that the statements gave; ``default``: of new columns. Raises ``schema`` where the rows that are
    at the destination cannot be made what they are at the source."""

    origin: dict[str, str | None]
    native: dict[str, str] = field(default_factory=dict)
    default: dict[str, TableChange] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, schema: StreamSchema, key: Sequence[str], told: Sequence[Told], dropped: Iterable[str]) -> Altered:
        """``dropped``: columns that were dropped earlier and are still at the destination."""
        self = cls(origin={name: name for name in schema.names}, gone=set(dropped))
        natives = {f.name: f.native or "" for f in schema.fields}
        for each in told:
            self._apply(each.change, natives, key)
        return self

    def _apply(self, change: TableChange, natives: Mapping[str, str], key: Sequence[str]) -> None:
        name = change.column
        match change.what:
            case "add":
                self._ensure_free(name)
                if name not in self.origin:  # else ADD IF NOT EXISTS of one that is there
                    self.origin[name] = None
                    self.default[name] = change
                    self.native[name] = change.native
            case "drop" if name in self.origin:
                before = self.origin.pop(name)
                if before is not None:
                    self.gone.add(before)
                if before in key:
                    raise _stop(f"column {name} of its key was dropped")
            case "rename" if name in self.origin:
                before = self.origin.pop(name)
                if before in key:
                    raise _stop(f"column {name} of its key was renamed to {change.new}")
                self._ensure_free(change.new)
                self.origin[change.new] = before
                if name in self.native:
                    self.native[change.new] = self.native.pop(name)
                if name in self.default:
                    self.default[change.new] = self.default.pop(name)
            case "modify" if name in self.origin and change.native:
                before = self.origin[name]
                former = self.native.get(name) or (natives[before] if before is not None else "")
                if before is not None and not _keeps_values(former, change.native):
                    raise _stop(
                        f"column {name} was changed from {former} to {change.native}, which may have changed values "
                        "of rows without logging them"
                    )
                self.native[name] = change.native
            case "stop":
                raise _stop(change.reason)

    def _ensure_free(self, name: str) -> None:
        if name in self.gone:
            raise _stop(f"column {name} was dropped and another of that name made")

    def evolution(self, schema: StreamSchema, known: StreamSchema) -> Evolution | None:
        """What the destination must know besides the new ``schema``."""
        there = set(known.names)
        renamed = {n: b for n in schema.names if (b := self.origin.get(n)) is not None and b != n and b in there}
        backfill = {}
        for f in schema.fields:
            change = self.default.get(f.name)
            if change is None or f.name in there:
                continue
            if change.unsure:
                raise _stop(f"column {f.name} was added with values that the log does not tell")
            if change.default is not None:
                backfill[f.name] = _scalar(f.name, f.native or "", change.default)
        return Evolution(renamed=renamed, backfill=backfill) if renamed or backfill or schema != known else None


def _scalar(name: str, native: str, text: str) -> pa.Scalar:
    carrier = carrier_of(native)
    try:
        if carrier.kind == "text" and carrier.logical in ("interval", "uuid", "text"):
            raise ValueError(f"{text!r} of type {native} has several forms")
        if native.startswith("binary"):
            raise ValueError("it is padded")
        value = text.encode()
        if carrier.kind == "datetime" and len(text) == len("2020-01-01"):
            value += b" 00:00:00"
        array, misfits = carrier.array(name, [value])
    except (ValueError, pa.ArrowInvalid) as error:
        raise _stop(f"column {name} was added with a default that is not understood ({error})") from error
    if misfits:
        raise _stop(f"column {name} was added with the default {text}, which it cannot hold elsewhere")
    return array[0]


def _stop(reason: str) -> SynclineError:
    return SynclineError(
        ErrorKind.SCHEMA, f"the table was altered: {reason}", hint="copy it anew (syncline state reset FILE)"
    )


_INTS = ("tinyint", "smallint", "mediumint", "int", "bigint")
_SIZES = {"tinytext": 255, "text": 65535, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1, "json": 2**32 - 1}
_BLOBS = {"tinyblob": 255, "blob": 65535, "mediumblob": 2**24 - 1, "longblob": 2**32 - 1}


def _keeps_values(former: str, new: str) -> bool:
    """Whether every value stays what it is, as its text and as its Arrow value."""
    if former.lower() == new.lower():
        return True
    (a, a_args, a_unsigned), (b, b_args, b_unsigned) = _split(former), _split(new)
    if a in _INTS and b in _INTS:
        if a_unsigned == b_unsigned:
            return _INTS.index(b) >= _INTS.index(a)
        return a_unsigned and _INTS.index(b) > _INTS.index(a)
    if a == b == "decimal":
        (p, s), (q, t) = _digits(a_args), _digits(b_args)
        return s == t and q >= p and (a_unsigned or not b_unsigned)
    if (a, b) == ("float", "double"):
        return True
    for plain, sizes in (("varchar", _SIZES), ("varbinary", _BLOBS)):
        family = (plain, "char", *sizes) if plain == "varchar" else (plain, *sizes)
        if a in family and b in family:
            return _length(b, b_args, sizes) >= _length(a, a_args, sizes) and not (b == "char" != a)
    if a == b and a in ("enum", "set"):
        labels, more = ([t.value for t in tokens(args) if t.kind == "text"] for args in (a_args, b_args))
        return set(labels) <= set(more) if a == "enum" else more[: len(labels)] == labels
    if a == b and a in ("datetime", "timestamp", "time"):
        return int(b_args or 0) >= int(a_args or 0)
    return a == b and carrier_of(former) == carrier_of(new) and a not in ("binary", "bit")


def _split(native: str) -> tuple[str, str, bool]:
    name, bracket, rest = native.partition("(")
    arguments, _, flags = rest.rpartition(")") if bracket else ("", "", native)
    return name.split()[0].lower(), arguments, "unsigned" in flags.lower() or "zerofill" in flags.lower()


def _digits(arguments: str) -> tuple[int, int]:
    precision, _, scale = (arguments or "10,0").partition(",")
    return int(precision), int(scale or 0)


def _length(name: str, arguments: str, sizes: Mapping[str, int]) -> int:
    return sizes.get(name) or int(arguments or 1)
