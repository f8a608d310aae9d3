"""Messages of ``pgoutput``, protocol 1, read one by one and slowly: the oracle's own reading of the log.

Format: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final, TypeAlias

__all__ = ["UNCHANGED", "Begin", "Change", "Commit", "Relation", "Unchanged", "Values", "parse"]


class Unchanged:
    """What the log says of a value that lies outside the row and was not changed: nothing."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()

#: Column -> text of the value as the server writes it, None for NULL.
Values: TypeAlias = "dict[str, str | Unchanged | None]"


@dataclass(frozen=True, kw_only=True)
class Begin:
    lsn: int  #: of the commit
    xid: int


@dataclass(frozen=True, kw_only=True)
class Commit:
    lsn: int
    end_lsn: int


@dataclass(frozen=True, kw_only=True)
class Relation:
    oid: int
    table: str
    columns: tuple[str, ...]
    types: tuple[int, ...]
    key: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """``op``: insert, update, delete, truncate. ``old`` is the former key (or row, ``whole_old``) where it was sent."""

    op: str
    relation: Relation
    new: Values = field(default_factory=dict)
    old: Values | None = None
    whole_old: bool = False


def parse(message: bytes, relations: dict[int, Relation]) -> list[Begin | Commit | Change]:
    """What one message says; relations are remembered in ``relations`` and give nothing."""
    reader = _Reader(message, 1)
    kind = message[:1]
    if kind == b"B":
        lsn = reader.number("Q")
        reader.number("q")
        return [Begin(lsn=lsn, xid=reader.number("I"))]
    if kind == b"C":
        reader.number("B")
        return [Commit(lsn=reader.number("Q"), end_lsn=reader.number("Q"))]
    if kind == b"R":
        relation = _relation(reader)
        relations[relation.oid] = relation
        return []
    if kind == b"I":
        relation = relations[reader.number("I")]
        reader.number("c")
        return [Change(op="insert", relation=relation, new=_values(reader, relation))]
    if kind == b"U":
        relation = relations[reader.number("I")]
        letter, old = reader.letter(), None
        whole = letter == b"O"
        if letter in (b"K", b"O"):
            old = _values(reader, relation)
            reader.letter()
        return [
            Change(
                op="update",
                relation=relation,
                new=_values(reader, relation),
                old=_kept(old, relation, whole),
                whole_old=whole,
            )
        ]
    if kind == b"D":
        relation = relations[reader.number("I")]
        whole = reader.letter() == b"O"
        return [
            Change(
                op="delete", relation=relation, old=_kept(_values(reader, relation), relation, whole), whole_old=whole
            )
        ]
    if kind == b"T":
        count = reader.number("I")
        reader.number("B")
        return [Change(op="truncate", relation=relations[reader.number("I")]) for _ in range(count)]
    # Servers tell of rolled back subtransactions (A) although nothing was streamed; their changes were never sent.
    if kind in (b"Y", b"O", b"M", b"A"):
        return []
    raise ValueError(f"unknown message {message[:20]!r}")


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from(">" + code, self._data, self._at)
        self._at += struct.calcsize(">" + code)
        return value  # type: ignore[no-any-return]

    def letter(self) -> bytes:
        self._at += 1
        return self._data[self._at - 1 : self._at]

    def word(self) -> str:
        end = self._data.index(b"\0", self._at)
        word = self._data[self._at : end].decode()
        self._at = end + 1
        return word

    def text(self, length: int) -> str:
        self._at += length
        return self._data[self._at - length : self._at].decode()


def _relation(reader: _Reader) -> Relation:
    oid = reader.number("I")
    reader.word()
    table = reader.word()
    reader.letter()
    columns, types, key = [], [], []
    for _ in range(reader.number("H")):
        in_key = reader.number("B") & 1
        columns.append(reader.word())
        types.append(reader.number("I"))
        reader.number("i")
        if in_key:
            key.append(columns[-1])
    return Relation(oid=oid, table=table, columns=tuple(columns), types=tuple(types), key=tuple(key))


def _values(reader: _Reader, relation: Relation) -> Values:
    values: Values = {}
    for name in relation.columns[: reader.number("H")]:
        letter = reader.letter()
        if letter == b"n":
            values[name] = None
        elif letter == b"u":
            values[name] = UNCHANGED
        else:
            values[name] = reader.text(reader.number("I"))
    return values


def _kept(old: Values | None, relation: Relation, whole: bool) -> Values | None:
    """A key image has NULL for all other columns: leave them out."""
    if old is None or whole:
        return old
    return {name: old[name] for name in relation.key}
