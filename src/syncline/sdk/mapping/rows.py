"""Rows on their way through a mapping, and what a step of it says about columns. All of it is Arrow, by column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Misfit
from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.schema import Field

__all__ = [
    "RULE",
    "Fate",
    "Rows",
    "Stage",
    "by_column",
    "ensure_distinct",
    "find_field",
    "made_of",
    "refused",
    "renamed_rows",
    "replaced",
]

#: Rows with a value that a mapping could not compute go to the quarantine of every destination under this rule.
RULE = "mapping"


@dataclass(kw_only=True)
class Rows:
    """Some rows, changed in place by one stage after the other.

    ``misfits`` and ``unchanged`` are those of a batch (see :mod:`syncline.core.change`). ``whole``: which rows have all
    their values (None: all); of a deletion there is only the key. ``keep``: which rows have passed the filters (None:
    all). ``keys_only``: the columns are a former key alone, and stages do what they do to columns that are there."""

    columns: dict[str, pa.Array]
    count: int
    misfits: list[Misfit] = field(default_factory=list)
    unchanged: dict[str, pa.Array] = field(default_factory=dict)
    whole: pa.Array | None = None
    keep: pa.Array | None = None
    keys_only: bool = False

    def misfits_of(self, columns: Sequence[str]) -> list[Misfit]:
        return [m for m in self.misfits if m.column in columns]

    def spoil(self, row: int, column: str, reason: str, text: str = "") -> None:
        """The row has a value that cannot be computed: it goes aside, wherever it is written."""
        self.misfits.append(Misfit(row=row, column=column, text=text, reason=reason, rule=RULE))

    def pass_on(self, mask: pa.Array) -> None:
        """Only rows in which ``mask`` is true pass."""
        self.keep = mask if self.keep is None else pc.and_(self.keep, mask)


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What a stage does to a column. ``name``: what it is called afterwards, None when it is gone. ``same``: its values
    are what they were. ``distinct``: two values that differed still do, and equal ones are equal, so that it can still
    be part of a key. ``deliberate``: the user has said that it may happen to a key."""

    name: str | None
    same: bool = True
    distinct: bool = True
    deliberate: bool = False


class Stage(Protocol):
    """One step, ready for columns of known names and types."""

    @property
    def verb(self) -> str: ...

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns afterwards."""
        ...

    @property
    def fates(self) -> Mapping[str, Fate]:
        """Of the columns before it, by name; one that is missing stays as it is."""
        ...

    @property
    def inputs(self) -> frozenset[str]:
        """Columns before it whose values it looks at."""
        ...

    def apply(self, rows: Rows) -> None: ...


def find_field(fields: Sequence[Field], name: str, verb: str) -> Field:
    """The column of that name; ``config`` with the nearest name when there is none."""
    for each in fields:
        if each.name == name:
            return each
    names = [f.name for f in fields]
    near = nearest(name, names)
    raise refused(
        f"{verb}: there is no column {name!r}",
        f"did you mean {near!r}?" if near else f"at that point there are: {', '.join(names)}",
    )


def refused(what: str, hint: str = "") -> SynclineError:
    """The ``config`` error of a mapping that cannot be carried out."""
    return SynclineError(ErrorKind.CONFIG, f"mapping: {what}", hint=hint or "see docs/mappings.md")


def replaced(fields: Sequence[Field], changes: Mapping[str, Field]) -> tuple[Field, ...]:
    """The fields with some of them exchanged. Raises ``config`` when two then have one name."""
    found = tuple(changes.get(f.name, f) for f in fields)
    ensure_distinct(found)
    return found


def ensure_distinct(fields: Sequence[Field]) -> None:
    """Names that differ in case alone are one name to many destinations; the source's own are its own matter."""
    seen: dict[str, Field] = {}
    for each in fields:
        other = seen.setdefault(each.name.casefold(), each)
        if other is not each and (other.name == each.name or other.identity is None or each.identity is None):
            raise refused(
                f"two columns would be called {each.name!r}"
                + ("" if other.name == each.name else f" and {other.name!r}, which many destinations take for one"),
                "rename one of them, or drop it before",
            )


def made_of(field: Field, verb: str) -> str | None:
    """The identity of a column with other values than the source's: known by it again, but not for the source's own."""
    return None if field.identity is None else f"{field.identity}#{verb}"


def by_column(rows: Rows, columns: Sequence[str], change: Callable[[pa.Array], pa.Array]) -> None:
    """Exchange columns by what ``change`` makes of them, their misfits' texts too (NULL stays NULL)."""
    for name in columns:
        if name not in rows.columns:
            continue
        column = change(rows.columns[name])
        told = rows.misfits_of([name])
        if told:
            # The text stands for the value that the carrier could not hold: it must not travel on as it was.
            places = {m.row: i for i, m in enumerate(told)}
            texts = change(pa.array([m.text for m in told], pa.string()))
            wanted = pa.array([places.get(row) for row in range(rows.count)], pa.int64())
            column = pc.coalesce(column, texts.take(wanted))
            rows.misfits = [m for m in rows.misfits if m.column != name]
        rows.columns[name] = column


def renamed_rows(rows: Rows, names: Mapping[str, str]) -> None:
    """Let columns have other names, all at once."""
    rows.columns = {names.get(name, name): column for name, column in rows.columns.items()}
    rows.unchanged = {names.get(name, name): mask for name, mask in rows.unchanged.items()}
    rows.misfits = [replace(m, column=names.get(m.column, m.column)) for m in rows.misfits]
