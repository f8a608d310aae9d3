"""SQL expressions over rows: DuckDB, an instance of its own in memory, without files, network, extensions or settings.

An expression sees the columns of one row and gives one value. Regular expressions are RE2's, whose time grows with the
text and not with the pattern; memory is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.schema import Field
from syncline.sdk.mapping.rows import Fate, Rows, ensure_distinct, made_of, refused
from syncline.sdk.time_limit import TimeLimit, time_limit

__all__ = ["BATCH_SECONDS", "DeriveStage", "Expression", "FilterStage", "Sandbox"]

_MEMORY = "256MB"
#: An expression over one batch (some ten thousand rows, milliseconds usually) may take so long, unless its step says
#: otherwise.
BATCH_SECONDS = 60.0
#: So long may an expression that names no column take, which is carried out as it is checked.
_CHECK_SECONDS = 10.0
#: Rows of one batch whose value may fail before the stream ends.
_MOST_FAILURES = 1_000
#: What an expression over one row cannot be. The words are DuckDB's.
_NOT_ONE_ROW = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a star",
    "PARAMETER": "a parameter",
    "DEFAULT": "DEFAULT",
}
_CARRIERS: dict[str, tuple[pa.DataType, str | None]] = {
    "UUID": (pa.string(), "uuid"),
    "JSON": (pa.string(), "json"),
    '"NULL"': (pa.string(), None),
    "BLOB": (pa.binary(), None),
    "VARCHAR": (pa.string(), None),
    "TIMESTAMP WITH TIME ZONE": (pa.timestamp("us", tz="UTC"), None),
}


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A checked expression: its columns, and the type of its value."""

    text: str
    columns: tuple[str, ...]
    type: pa.DataType
    logical: str | None = None


class Sandbox:
    """Used by one thread. Expressions of one stage share it. ``seconds``: how long one of them may take for a batch."""

    def __init__(self, seconds: float = BATCH_SECONDS) -> None:
        self._seconds = seconds
        self._con = duckdb.connect(
            ":memory:",
            config={
                "enable_external_access": "false",
                "autoload_known_extensions": "false",
                "autoinstall_known_extensions": "false",
                "python_enable_replacements": "false",
                "memory_limit": _MEMORY,
                "threads": "1",
                "temp_directory": "",
            },
        )
        self._con.execute("SET TimeZone = 'UTC'")
        self._con.execute("SET lock_configuration = true")

    def check(self, text: str, fields: Sequence[Field], verb: str) -> Expression:
        """Raises ``config`` for what is no expression over one row of these columns."""
        tree = self._tree(text, verb)
        for node in _nodes(tree):
            if what := _NOT_ONE_ROW.get(node.get("class", "")):
                raise refused(
                    f"{verb}: {what} is not possible in {text!r}", "an expression sees the columns of one row"
                )
            if node.get("class") == "FUNCTION" and node.get("function_name") in ("unnest", "unlist"):
                raise refused(f"{verb}: unnest is not possible in {text!r}: it makes several rows of one")
        columns = _columns(tree, fields, text, verb)
        try:
            empty = _empty(fields, columns)
            self._con.register("rows", empty)
            with time_limit(_CHECK_SECONDS, self._con.interrupt):
                described = self._con.execute(f"DESCRIBE SELECT ({text}\n) AS v FROM rows").fetchone()
                kind = str(described[1]) if described else ""
                made = self._run(text, empty)
        except duckdb.Error as error:
            names = [f.name for f in fields]
            near = nearest(_unknown(str(error)), names) if "not found in FROM" in str(error) else None
            hint = f"did you mean {near!r}?" if near else f"the columns at that point: {', '.join(names)}"
            raise refused(f"{verb}: {text!r}: {_first_line(error)}", hint) from error
        if len(made):
            raise refused(f"{verb}: {text!r} sums up many rows", "an expression sees the columns of one row")
        carrier, logical = _CARRIERS.get(kind, (_carrier(made.type), None))
        if pa.types.is_nested(carrier) or pa.types.is_interval(carrier) or pa.types.is_union(carrier):
            raise refused(
                f"{verb}: the value of {text!r} is of type {kind}, which no column can hold",
                "make a text of it: CAST(… AS VARCHAR), or to_json(…)",
            )
        return Expression(text=text, columns=columns, type=carrier, logical=logical)

    def values(self, expression: Expression, rows: Rows) -> tuple[pa.Array, list[int], str]:
        """The expression's values; the places of rows in which it failed (NULL there), and how it first did."""
        names = expression.columns
        table = (
            pa.table([rows.columns[n] for n in names], names=list(names))
            if names
            else pa.table({"_": pa.nulls(rows.count, pa.int8())})
        )
        with time_limit(self._seconds, self._con.interrupt) as limit:
            try:
                return self._run(expression.text, table, expression.type), [], ""
            except duckdb.Error as error:
                if limit.passed:
                    raise self._too_slow(expression) from error
                if isinstance(error, duckdb.OutOfMemoryException):
                    raise SynclineError(
                        ErrorKind.RESOURCE,
                        f"mapping: {expression.text!r} needs more than {_MEMORY} for one batch",
                        hint="make its texts smaller",
                    ) from error
                return self._one_by_one(expression, table, _first_line(error), limit)

    def _too_slow(self, expression: Expression) -> SynclineError:
        return SynclineError(
            ErrorKind.RESOURCE,
            f"mapping: {expression.text!r} took longer than {self._seconds:g} s for one batch and was given up",
            hint="make it cheaper, or give the step more time (timeout: 300)",
        )

    def close(self) -> None:
        self._con.close()

    def _one_by_one(
        self, expression: Expression, table: pa.Table, why: str, limit: TimeLimit
    ) -> tuple[pa.Array, list[int], str]:
        parts: list[pa.Array] = []
        failed: list[int] = []

        def halve(start: int, stop: int) -> None:
            try:
                parts.append(self._run(expression.text, table.slice(start, stop - start), expression.type))
            except duckdb.Error as error:
                if limit.passed:
                    raise self._too_slow(expression) from error
                if stop - start > 1:
                    middle = (start + stop) // 2
                    halve(start, middle)
                    halve(middle, stop)
                    return
                failed.append(start)
                if len(failed) > _MOST_FAILURES:
                    raise SynclineError(
                        ErrorKind.DATA,
                        f"mapping: {expression.text!r} fails in more than {_MOST_FAILURES:,} rows of one batch: {why}",
                        hint="use a function that gives NULL instead, such as TRY_CAST or TRY(…)",
                    ) from error
                parts.append(pa.nulls(1, expression.type))

        halve(0, table.num_rows)
        return pa.concat_arrays(parts), failed, why

    def _run(self, text: str, table: pa.Table, kind: pa.DataType | None = None) -> pa.Array:
        self._con.register("rows", table)
        try:
            made = self._con.execute(f"SELECT ({text}\n) AS v FROM rows").to_arrow_table().column(0)
        finally:
            self._con.unregister("rows")
        column = made.combine_chunks() if made.num_chunks != 1 else made.chunk(0)
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], made.type)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        return column if kind is None or column.type == kind else column.cast(kind)

    def _tree(self, text: str, verb: str) -> Any:
        if not text.strip():
            raise refused(f"{verb}: the expression is empty")
        try:
            row = self._con.execute("SELECT json_serialize_sql(?::VARCHAR)", [f"SELECT ({text}\n)"]).fetchone()
        except duckdb.Error as error:
            raise refused(f"{verb}: {text!r}: {_first_line(error)}") from error
        assert row is not None
        tree = json.loads(row[0])
        if tree.get("error"):
            raise refused(f"{verb}: {text!r} is no SQL expression: {_first_line(tree.get('error_message', ''))}")
        statements = tree["statements"]
        node = statements[0]["node"]
        plain = (
            len(statements) == 1
            and node["type"] == "SELECT_NODE"
            and len(node["select_list"]) == 1
            and node["from_table"]["type"] == "EMPTY"
            and not node["where_clause"]
            and not node["modifiers"]
            and not node["group_expressions"]
            and not node["having"]
            and not node["qualify"]
        )
        if not plain:
            raise refused(f"{verb}: {text!r} is more than one expression")
        return node["select_list"][0]


class DeriveStage:
    """New columns by expressions, or other values for columns that are there; all see the columns before the stage."""

    verb = "derive"

    def __init__(
        self, fields: Sequence[Field], expressions: Mapping[str, str], *, seconds: float = BATCH_SECONDS
    ) -> None:
        self._sandbox = Sandbox(seconds)
        self._made = {name: self._sandbox.check(text, fields, self.verb) for name, text in expressions.items()}
        there = {f.name: f for f in fields}
        columns = []
        for name, made in self._made.items():
            known = there.get(name)
            identity = None if known is None else made_of(known, self.verb)
            there[name] = Field(name=name, type=made.type, logical=made.logical, identity=identity)
            columns.append(name)
        self.fields = tuple(there.values())
        ensure_distinct(self.fields)
        self.fates = {n: Fate(name=n, same=False, distinct=False) for n in columns if n in {f.name for f in fields}}
        self.inputs = frozenset(column for made in self._made.values() for column in made.columns)

    def apply(self, rows: Rows) -> None:
        if rows.keys_only:
            return
        made: dict[str, pa.Array] = {}
        masks: dict[str, pa.Array] = {}
        for name, expression in self._made.items():
            values, failed, why = self._sandbox.values(expression, rows)
            for row in failed:
                rows.spoil(row, name, f"its expression fails: {why}")
            for misfit in rows.misfits_of(expression.columns):
                rows.spoil(misfit.row, name, f"its expression needs {misfit.column}: {misfit.reason}")
            blank = _any([rows.unchanged[c] for c in expression.columns if c in rows.unchanged])
            if blank is not None:  # a value that is made of one which did not change, did not change
                masks[name] = blank
            # Of a deleted row there is no more than its key.
            unknown = (
                blank if rows.whole is None else _any([pc.invert(rows.whole), *([] if blank is None else [blank])])
            )
            made[name] = values if unknown is None else pc.if_else(unknown, pa.scalar(None, values.type), values)
        rows.columns.update(made)
        for name in made:
            rows.unchanged.pop(name, None)
        rows.unchanged.update(masks)


class FilterStage:
    """Only rows for which the condition is true pass; NULL is not true."""

    verb = "filter"

    def __init__(self, fields: Sequence[Field], condition: str, *, seconds: float = BATCH_SECONDS) -> None:
        self._sandbox = Sandbox(seconds)
        self.condition = self._sandbox.check(f"({condition})::BOOLEAN", fields, self.verb)
        self.fields = tuple(fields)
        self.fates: Mapping[str, Fate] = {}
        self.inputs = frozenset(self.condition.columns)

    def apply(self, rows: Rows) -> None:
        if rows.keys_only:
            return
        values, failed, why = self._sandbox.values(self.condition, rows)
        undecided = dict.fromkeys(failed, f"the filter fails: {why}")
        for misfit in rows.misfits_of(self.condition.columns):
            undecided[misfit.row] = f"the filter needs {misfit.column}: {misfit.reason}"
        mask = pc.fill_null(values, False)
        if undecided:
            # Nobody can say whether such a row is wanted: it is set aside, where a person can look at it.
            some = next(iter(self.condition.columns), self.fields[0].name)
            for row, reason in undecided.items():
                rows.spoil(row, some, reason)
            mask = pc.or_(mask, pa.array([row in undecided for row in range(rows.count)]))
        rows.pass_on(mask)


def _any(masks: Sequence[pa.Array]) -> pa.Array | None:
    found: pa.Array | None = None
    for mask in masks:
        found = mask if found is None else pc.or_(found, mask)
    return found


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(tree, Mapping):
        yield tree
        for each in tree.values():
            yield from _nodes(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from _nodes(each)


def _columns(tree: Any, fields: Sequence[Field], text: str, verb: str) -> tuple[str, ...]:
    """The columns that an expression names, as DuckDB finds them: whatever their case."""
    wanted = {n["column_names"][0] for n in _nodes(tree) if n.get("class") == "COLUMN_REF"}
    found: dict[str, None] = {}
    for name in sorted(wanted):
        like = [f.name for f in fields if f.name.casefold() == name.casefold()]
        if len(like) > 1:
            raise refused(
                f"{verb}: {name!r} in {text!r} may be {' or '.join(map(repr, like))}, which SQL does not tell apart",
                "rename one of them before",
            )
        found.update(dict.fromkeys(like))
    return tuple(found)


def _empty(fields: Sequence[Field], columns: Sequence[str]) -> pa.Table:
    kinds = {f.name: f.type for f in fields}
    if not columns:
        return pa.table({"_": pa.array([], pa.int8())})
    return pa.table([pa.array([], kinds[n]) for n in columns], names=list(columns))


def _carrier(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if pa.types.is_null(kind):
        return pa.string()
    return pa.time64("us") if pa.types.is_time(kind) else kind


def _unknown(message: str) -> str:
    return message.split('"')[1] if message.count('"') >= 2 else ""


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0]
