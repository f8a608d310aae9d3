"""Judging a destination that keeps every change as a row: each change once, in order, and the replay gives the source.

The rows that a snapshot brought (``_syncline_op`` is ``read``) and the changes of the log must fit together without
loss or overlap: what the log lacks of the whole history is exactly what the snapshot showed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from syncline.testing.oracle.content import Row, compare, plain
from syncline.testing.oracle.pgoutput import UNCHANGED, Change, Values
from syncline.testing.oracle.tables import OracleTable
from syncline.testing.oracle.witness import Committed

__all__ = ["judge_change_log", "replay"]

_OP, _LSN, _ORDINAL = "_syncline_op", "_syncline_lsn", "_syncline_ordinal"
_UNCHANGED_NAMES, _OLD_KEY = "_syncline_unchanged", "_syncline_old_key"


def judge_change_log(
    table: OracleTable,
    rows: Sequence[Row],
    history: Sequence[Committed],
    source: Sequence[Row],
    *,
    copied_by: int | None = None,
) -> list[str]:
    """What is wrong with a destination's change log of one table, as sentences.

    ``history`` is the witness's, from before the table's first row; ``source`` are the table's rows now, nobody writing
    any more. ``copied_by`` is an LSN at which the snapshot was over: no later transaction can be in it."""
    reads = [row for row in rows if row[_OP] == "read"]
    changes = sorted((row for row in rows if row[_OP] != "read"), key=_place)
    found = _doubled(table, changes)
    arrived: dict[int, list[Row]] = defaultdict(list)
    for row in changes:
        arrived[row[_LSN]].append(row)
    missing: list[Change] = []
    for transaction in history:
        expected = [change for change in transaction.changes if change.relation.table == table.name]
        if not expected:
            continue
        there = arrived.pop(transaction.lsn, None)
        if there is None:
            missing += expected
            if copied_by is not None and transaction.lsn > copied_by:
                found.append(f"{table.name}: the transaction at {transaction.lsn} is lost")
        else:
            found += _transaction(table, transaction, expected, there)
    if arrived:
        found.append(
            f"{table.name}: changes of {len(arrived)} transactions that never were, as LSN {next(iter(arrived))}"
        )
    found += _snapshot(table, reads, missing, changes)
    if table.changes_shape:
        # A record is not written again when a column is renamed or gets a value for the rows that were there.
        source = [{name: row[name] for name in (*table.key, "v", "a")} for row in source]
    if table.key:
        found += compare(f"{table.name}, replayed", source, replay(table, rows), table.key)
    else:
        found += compare(table.name, source, _left_after_truncates(rows), ())
    return found


def replay(table: OracleTable, rows: Sequence[Row]) -> list[Row]:
    """The table's rows as a user would make them of the change log."""
    state: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=_place):
        key = tuple(row[name] for name in table.key)
        op = row[_OP]
        if op == "truncate":
            state.clear()
        elif op == "delete":
            state.pop(key, None)
        else:
            former = key
            if old := row.get(_OLD_KEY):
                names = json.loads(old)
                former = tuple(plain(names[name]) for name in table.key)
            base = state.pop(former, {})
            left_out = json.loads(row.get(_UNCHANGED_NAMES) or "[]")
            # A value that was left out may have been looked up while the snapshot ran; then it stands there.
            kept = {name: base[name] for name in left_out if row[name] is None and name in base}
            state[key] = {**row, **kept}
    return list(state.values())


def _place(row: Row) -> tuple[int, int]:
    return row[_LSN] or 0, row[_ORDINAL] or 0


def _doubled(table: OracleTable, changes: Sequence[Row]) -> list[str]:
    places = Counter(_place(row) for row in changes)
    doubled = [place for place, count in places.items() if count > 1]
    return [f"{table.name}: {len(doubled)} changes are there more than once, as {doubled[0]}"] if doubled else []


def _transaction(table: OracleTable, of: Committed, expected: Sequence[Change], there: Sequence[Row]) -> list[str]:
    if len(expected) != len(there):
        return [f"{table.name}: {len(there)} instead of {len(expected)} changes of the transaction at {of.lsn}"]
    for number, (change, row) in enumerate(zip(expected, there, strict=True)):
        wrong = _wrong(table, change, row)
        if wrong:
            return [f"{table.name}: change {number} of the transaction at {of.lsn} ({change.op}): {wrong}"]
    return []


def _wrong(table: OracleTable, change: Change, row: Row) -> str | None:
    if row[_OP] != change.op:
        return f"arrived as {row[_OP]}"
    values = change.old if change.op == "delete" else change.new
    types = dict(zip(change.relation.columns, change.relation.types, strict=True))
    left_out = json.loads(row.get(_UNCHANGED_NAMES) or "[]")
    for name, value in (values or {}).items():
        if table.changes_shape and name not in (*table.key, "v", "a"):
            continue  # it may have another name by now; the replay compares it
        wanted = change.old[name] if value is UNCHANGED and change.whole_old and change.old is not None else value
        if wanted is UNCHANGED:
            if name not in left_out:
                return f"{name} was not said by the log, and is not named as unchanged"
        elif name in left_out:
            return f"{name} is named as unchanged, and was said by the log"
        elif _converted(wanted, types[name]) != row[name]:
            return f"{name} is {str(row[name])[:40]!r} instead of {str(wanted)[:40]!r}"
    return None


def _snapshot(table: OracleTable, reads: Sequence[Row], missing: Sequence[Change], changes: Sequence[Row]) -> list[str]:
    """The rows read must be what the transactions that the log lacks had left behind; a row that was changed before
    its part of the table was read may be left out, as its key comes in the log."""
    if not table.key:
        shown: Counter[tuple[Any, ...]] = Counter()
        for change in missing:
            if change.op == "truncate":
                shown.clear()
            else:
                shown[_frozen(change, change.new)] += 1
        names = missing[0].relation.columns if missing else ()
        seen = Counter(tuple(row[name] for name in names) for row in reads)
        if shown != seen:
            counts = f"{(seen - shown).total()} too many, {(shown - seen).total()} missing"
            return [f"{table.name}: the snapshot has {seen.total()} rows, the log leaves {shown.total()}: {counts}"]
        return []
    state: dict[tuple[Any, ...], dict[str, Any]] = {}
    for change in missing:
        types = dict(zip(change.relation.columns, change.relation.types, strict=True))
        if change.op == "truncate":
            state.clear()
            continue
        former = state.pop(_key(table, change.old or change.new, types), {})
        if change.op != "delete":
            said = {name: _converted(v, types[name]) for name, v in change.new.items() if v is not UNCHANGED}
            state[_key(table, change.new, types)] = {**former, **said}
    keys = Counter(tuple(row[name] for name in table.key) for row in reads)
    named = {tuple(row[name] for name in table.key) for row in changes}
    for row in changes:
        if old := row.get(_OLD_KEY):
            values = json.loads(old)
            named.add(tuple(plain(values[name]) for name in table.key))
    truncated = any(row[_OP] == "truncate" for row in changes)
    found = []
    if doubled := [key for key, count in keys.items() if count > 1]:
        found.append(f"{table.name}: the snapshot has {len(doubled)} keys more than once, as {doubled[0]}")
    if foreign := keys.keys() - state.keys():
        found.append(
            f"{table.name}: the snapshot has {len(foreign)} rows that the log also brings, as {next(iter(foreign))}"
        )
    if not table.changes_shape:
        for row in reads:
            shown_row = state.get(tuple(row[name] for name in table.key), {})
            wrong = [name for name, value in shown_row.items() if row[name] != value]
            if wrong:
                key = tuple(row[name] for name in table.key)
                found.append(f"{table.name}: the snapshot's row {key} has another {wrong[0]} than the log left")
                break
    lost = state.keys() - keys.keys() - named
    if lost and not truncated:
        found.append(
            f"{table.name}: {len(lost)} rows are neither in the snapshot nor in the log, as {next(iter(lost))}"
        )
    return found


def _left_after_truncates(rows: Sequence[Row]) -> list[Row]:
    left: list[Row] = []
    for row in sorted(rows, key=_place):
        if row[_OP] == "truncate":
            left = []
        else:
            left.append(row)
    return left


def _key(table: OracleTable, values: Values, types: dict[str, int]) -> tuple[Any, ...]:
    return tuple(_converted(values[name], types[name]) for name in table.key)


def _frozen(change: Change, values: Values) -> tuple[Any, ...]:
    return tuple(
        _converted(values[name], oid) for name, oid in zip(change.relation.columns, change.relation.types, strict=True)
    )


def _converted(value: Any, oid: int) -> Any:
    """The server's text as the plain value that :func:`~syncline.testing.oracle.content.plain` gives."""
    if value is None:
        return None
    if oid in (20, 21, 23):
        return int(value)
    if oid == 1700:
        return plain(Decimal(value))
    if oid == 16:
        return value == "t"
    if oid == 17:
        return bytes.fromhex(value.removeprefix("\\x"))
    if oid == 1184:
        return plain(datetime.fromisoformat(value))
    return plain(value)
