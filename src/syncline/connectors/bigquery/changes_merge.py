"""SQL that carries out staged changes within one transaction, and asks for rows that the table does not have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from syncline.connectors.bigquery.changes_rows import DELETE, MARK, UPSERT, frame_fields
from syncline.connectors.bigquery.names import TableName, quote, quoted_list
from syncline.connectors.bigquery.ranges import Ranges, within
from syncline.connectors.bigquery.types import staged_value
from syncline.connectors.bigquery.warehouse import Script
from syncline.core.checkpoint import StreamTarget
from syncline.sdk.collapse import DELETED_AT
from syncline.sdk.quarantine import value_text

__all__ = ["Append", "Clear", "Fill", "Merge", "Step", "without_base"]

Types = Mapping[str, str]


@dataclass(kw_only=True)
class Step(ABC):
    """One thing that a flush does to a table. ``names``: column of the stream -> column of the table, as it will be
    called when the flush is carried out."""

    target: StreamTarget
    names: dict[str, str]

    @abstractmethod
    def add(self, script: Script, table: TableName, types: Types) -> None:
        """Add the SQL. ``types``: the table's column types by its columns' names in small letters."""

    def name(self, column: str) -> str:
        return quote(self.names[column])

    def type(self, column: str, types: Types) -> str:
        return types[self.names[column].lower()]


@dataclass(kw_only=True)
class Append(Step):
    """Each staged row is a row."""

    stage: TableName

    def add(self, script: Script, table: TableName, types: Types) -> None:
        fields = self.target.schema.fields
        values = [staged_value(f, self.type(f.name, types), f"c{i}") for i, f in enumerate(fields)]
        columns = ", ".join(self.name(f.name) for f in fields)
        script.add(f"INSERT INTO {table} ({columns})\nSELECT {', '.join(values)}\nFROM {self.stage}")


@dataclass(kw_only=True)
class Clear(Step):
    """Every row goes; or is marked, with these values of the columns that say so."""

    marks: Mapping[str, pa.Scalar] | None = None

    def add(self, script: Script, table: TableName, types: Types) -> None:
        if self.marks is None:
            script.add(f"DELETE FROM {table} WHERE TRUE")
            return
        mark = next(name for name in DELETED_AT if name in self.names)
        sets = ", ".join(
            f"{self.name(n)} = CAST({script.value(value_text(v))} AS {self.type(n, types)})"
            for n, v in self.marks.items()
        )
        script.add(f"UPDATE {table} SET {sets} WHERE {self.name(mark)} IS NULL")


@dataclass(kw_only=True)
class Fill(Step):
    """A column that has just been added gets the value that the source gave to the rows that were there. That nobody
    has a value in it yet is how a column that was there before is known, whose values are right."""

    column: str
    value: pa.Scalar

    def add(self, script: Script, table: TableName, types: Types) -> None:
        kind, column = self.type(self.column, types), self.name(self.column)
        text = value_text(self.value) or ""
        if kind == "BYTES":
            value = f"FROM_HEX({script.value(text.removeprefix(chr(92) + 'x'))})"
        elif kind == "JSON":
            value = f"PARSE_JSON({script.value(text)})"
        else:
            value = f"CAST({script.value(text)} AS {kind})"
        script.add(
            f"UPDATE {table} SET {column} = {value}\n"
            f"WHERE {column} IS NULL AND NOT EXISTS (SELECT 1 FROM {table} WHERE {column} IS NOT NULL)"
        )


@dataclass(kw_only=True)
class Merge(Step):
    """Staged final rows into the table. ``patterns``: the columns that rows of each number leave out; ``keys``: the
    rows' own, by their numbers."""

    stage: TableName
    patterns: Sequence[frozenset[str]] = ()
    keys: pa.RecordBatch | None = None
    moves: bool = False
    ranges: Ranges | None = None

    @property
    def places(self) -> tuple[str, str, str, str, int]:
        """Columns of the stage: act, pattern, moved, row; the first of the origin."""
        width = len(self.target.schema.fields)
        return f"c{width}", f"c{width + 1}", f"c{width + 2}", f"c{width + 3}", width + 4

    @property
    def partial(self) -> list[int]:
        return [i for i, p in enumerate(self.patterns) if p]

    def left_out(self) -> list[str]:
        return [n for n in self.target.schema.names if any(n in p for p in self.patterns)]

    def pruned(self, alias: str, types: Types) -> str:
        first = self.target.primary_key[0]
        found = within(alias, self.names[first], self.type(first, types), self.ranges)
        return f" AND {found}" if found else ""

    def origins(self, types: Types) -> list[str]:
        """SQL of the origin's columns in the types of the table's key."""
        place, fields = self.places[4], frame_fields(self.target)
        return [
            staged_value(fields[place + i], self.type(k, types), f"s.c{place + i}")
            for i, k in enumerate(self.target.primary_key)
        ]

    def same_origin(self, alias: str, types: Types) -> str:
        key = self.target.primary_key
        return " AND ".join(f"{alias}.{self.name(k)} = {o}" for k, o in zip(key, self.origins(types), strict=True))

    def add(self, script: Script, table: TableName, types: Types) -> None:
        act, pattern, moved, _, _ = self.places
        fields, key = self.target.schema.fields, self.target.primary_key
        partial = ", ".join(str(i) for i in self.partial)
        columns = [f"{staged_value(f, self.type(f.name, types), f's.c{i}')} AS c{i}" for i, f in enumerate(fields)]
        columns += [f"s.{act} AS act", f"s.{pattern} AS pattern", f"s.{moved} AS moved"]
        source, based = f"FROM {self.stage} AS s", bool(partial) and self.moves
        left_out = self.left_out()
        if based:
            # A row that moved has what it leaves out under its former key.
            columns += [f"b.{self.name(n)} AS b{i}" for i, n in enumerate(left_out)]
            columns.append(f"b.{self.name(key[0])} IS NOT NULL AS based")
            source += (
                f"\nLEFT JOIN {table} AS b ON s.{moved} = 1 AND {self.same_origin('b', types)}{self.pruned('b', types)}"
            )
        places = {f.name: i for i, f in enumerate(fields)}
        same = " AND ".join(f"t.{self.name(k)} = s.c{places[k]}" for k in key)
        sets = ", ".join(
            f"{self.name(f.name)} = {self._value(f.name, i, left_out, based=based)}" for i, f in enumerate(fields)
        )
        whole = f"s.pattern NOT IN ({partial})" if partial else "TRUE"
        put = f"(s.act = {MARK} OR {whole} OR s.moved = 0{' OR s.based' if based else ''})"
        new = f"({whole}{' OR (s.moved = 1 AND s.based)' if based else ''})"
        inserted = ", ".join(
            f"IF(s.pattern IN ({self._numbers(f.name)}), s.b{left_out.index(f.name)}, s.c{i})"
            if based and f.name in left_out
            else f"s.c{i}"
            for i, f in enumerate(fields)
        )
        script.add(
            f"MERGE {table} AS t\nUSING (\nSELECT {', '.join(columns)}\n{source}\n) AS s\n"
            f"ON {same}{self.pruned('t', types)}\n"
            f"WHEN MATCHED AND s.act = {DELETE} THEN DELETE\n"
            f"WHEN MATCHED AND {put} THEN UPDATE SET {sets}\n"
            f"WHEN NOT MATCHED AND s.act = {UPSERT} AND {new} THEN "
            f"INSERT ({quoted_list(self.names[f.name] for f in fields)}) VALUES ({inserted})"
        )

    def _numbers(self, column: str) -> str:
        return ", ".join(str(i) for i, p in enumerate(self.patterns) if column in p)

    def _value(self, column: str, place: int, left_out: list[str], *, based: bool) -> str:
        if column not in left_out:
            return f"s.c{place}"
        kept = f"t.{self.name(column)}"
        if based:
            kept = f"IF(s.moved = 1, s.b{left_out.index(column)}, {kept})"
        return f"IF(s.pattern IN ({self._numbers(column)}), {kept}, s.c{place})"


def without_base(step: Merge, before: Sequence[Step], table: str, types: Types) -> str:
    """The question which rows of a staged step leave values out that neither the table has nor the steps ``before`` it
    in the same flush, which are not carried out yet: gives the rows' numbers."""
    act, pattern, _, row, _ = step.places
    partial = ", ".join(str(i) for i in step.partial)
    cleared = max((i for i, s in enumerate(before) if isinstance(s, Clear) and s.marks is None), default=-1)
    earlier = [(i, s) for i, s in enumerate(before) if i > cleared and isinstance(s, Merge)]
    key = step.target.primary_key
    names = quoted_list(step.names[k] for k in key)
    ranges = step.pruned("x", types)
    absent = "b.present IS NULL"
    joins = ""
    if cleared < 0:
        joins = (
            f"\nLEFT JOIN (SELECT {names}, TRUE AS present FROM {table} AS x WHERE TRUE{ranges}) AS b "
            f"ON {step.same_origin('b', types)}"
        )
    else:
        absent = "TRUE"
    if earlier:
        parts = []
        for i, s in earlier:
            places = [s.target.schema.names.index(k) for k in s.target.primary_key]
            keys = ", ".join(
                f"{staged_value(s.target.schema.field(k), step.type(own, types), f'c{p}')} AS k{n}"
                for n, (k, own, p) in enumerate(zip(s.target.primary_key, key, places, strict=True))
            )
            parts.append(f"SELECT {keys}, {s.places[0]} AS act, {i} AS step FROM {s.stage}")
        by = ", ".join(f"k{n}" for n in range(len(key)))
        joins += (
            f"\nLEFT JOIN (SELECT * FROM ({' UNION ALL '.join(parts)}) WHERE TRUE "
            f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {by} ORDER BY step DESC) = 1) AS e "
            "ON " + " AND ".join(f"e.k{n} = {o}" for n, o in enumerate(step.origins(types)))
        )
        absent = f"IF(e.act IS NULL, {absent}, e.act = {DELETE})"
    return (
        f"SELECT s.{row}\nFROM {step.stage} AS s{joins}\n"
        f"WHERE s.{act} = {UPSERT} AND s.{pattern} IN ({partial}) AND {absent}\nORDER BY 1"
    )
