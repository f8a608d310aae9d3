"""A replication that is plain to the eye: single-threaded, SQL only, slow. It shows that the oracle is right.

It passes the oracle, and with one of its ``BUGS`` it does not: so the oracle can say no, before the product exists and
after. Run as ``python -m tests.faults.cdc_reference CONFIG [--follow]``; CONFIG is JSON with ``source`` and
``destination`` (both libpq strings), ``connection``, ``append`` and ``bug``.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from syncline.core.failpoints import failpoint
from syncline.testing.oracle.pgoutput import UNCHANGED, Begin, Change, Commit, Relation, Values, parse
from syncline.testing.oracle.tables import TABLES, OracleTable

BUGS = (
    "acknowledged before it is applied",
    "acknowledged what was received",
    "position saved before the data",
    "data saved before the position",
    "transaction at the border skipped",
    "unchanged value taken for NULL",
    "unchanged value replaced by a word",
    "old key kept",
    "delete ignored",
    "truncate ignored",
    "committed change by change",
    "order within the transaction lost",
    "snapshot overlaps the log",
    "aborted changes applied",
)

_KEYS = {table.name: table for table in TABLES if not table.changes_shape}
_LEDGER = """
CREATE TABLE IF NOT EXISTS _syncline_ledger (
    connection text, stream_namespace text, stream_name text, position text, token bigint,
    PRIMARY KEY (connection, stream_namespace, stream_name)
)
"""


class Reference:
    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._bug: str = config.get("bug") or ""
        self._append: bool = config["append"]
        self._source = psycopg.connect(config["source"], autocommit=True)
        self._destination = psycopg.connect(config["destination"], autocommit=True)
        self._slot = config["slot"]
        self._relations: dict[int, Relation] = {}
        self._destination.execute(_LEDGER)

    def run(self, follow: bool, stop: threading.Event) -> None:
        while self._position() is None:
            with contextlib.suppress(psycopg.errors.DeadlockDetected):  # with a TRUNCATE of several tables
                self._copy()
        token = self._take_token()
        failpoint("log.opened")
        row = self._source.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        while not stop.is_set():
            try:
                moved = self._flush(token)
            except psycopg.errors.ObjectInUse:  # by the session of a run that was killed: the server notices soon
                stop.wait(0.1)
                continue
            if not moved and not follow:
                return
            if not moved:
                stop.wait(0.02)

    # -- the ledger -----------------------------------------------------------------------------------------------

    def _position(self) -> int | None:
        row = self._destination.execute(
            "SELECT position FROM _syncline_ledger WHERE connection = %s AND stream_name = 'log'",
            (self._config["connection"],),
        ).fetchone()
        return None if row is None else int(json.loads(row[0])["lsn"])

    def _take_token(self) -> int:
        row = self._destination.execute(
            """
            UPDATE _syncline_ledger
            SET token = token + 1
            WHERE connection = %s AND stream_name = 'log'
            RETURNING token
            """,
            (self._config["connection"],),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def _save(self, lsn: int, token: int) -> None:
        done = self._destination.execute(
            "UPDATE _syncline_ledger SET position = %s WHERE connection = %s AND stream_name = 'log' AND token = %s",
            (json.dumps({"lsn": lsn}), self._config["connection"], token),
        )
        if done.rowcount != 1:
            raise RuntimeError("another one has taken over")

    # -- the first copy -------------------------------------------------------------------------------------------

    def _copy(self) -> None:
        """All tables under the snapshot that the new slot exports, in one transaction at the destination."""
        self._source.execute("DROP PUBLICATION IF EXISTS reference")
        names = ", ".join(_KEYS)
        self._source.execute(
            f"CREATE PUBLICATION reference FOR TABLE {names} WITH (publish_via_partition_root)".encode()
        )
        self._source.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (self._slot,)
        )
        with psycopg.connect(self._config["source"], autocommit=True, replication="database") as replication:
            made = replication.execute(
                f"CREATE_REPLICATION_SLOT {self._slot} LOGICAL pgoutput EXPORT_SNAPSHOT".encode()
            ).fetchone()
            assert made is not None
            high, low = (int(part, 16) for part in made[1].split("/"))
            start = (high << 32) + low
            with self._source.transaction(), self._destination.transaction():
                self._source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                if self._bug != "snapshot overlaps the log":
                    self._source.execute(f"SET TRANSACTION SNAPSHOT '{made[2]}'".encode())
                else:
                    threading.Event().wait(0.5)
                for table in _KEYS.values():
                    self._copy_table(table, start)
                self._enter("_syncline", "log", {"lsn": start})
                for table in _KEYS.values():
                    self._enter("public", table.name, {"lsn": start, "joined": True})

    def _enter(self, namespace: str, name: str, position: dict[str, Any]) -> None:
        self._destination.execute(
            "INSERT INTO _syncline_ledger VALUES (%s, %s, %s, %s, 0)",
            (self._config["connection"], namespace, name, json.dumps(position)),
        )

    def _copy_table(self, table: OracleTable, start: int) -> None:
        columns = self._source.execute(
            """
            SELECT attname, format_type(atttypid, atttypmod)
            FROM pg_attribute
            WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
            ORDER BY attnum
            """,
            (table.name,),
        ).fetchall()
        parts = [f"{name} {kind}" for name, kind in columns]
        if self._append:
            parts += ["_syncline_op text", "_syncline_lsn bigint", "_syncline_ordinal bigint"]
            parts += ["_syncline_unchanged text", "_syncline_old_key text"]
        elif table.key:
            parts.append(f"PRIMARY KEY ({', '.join(table.key)})")
        self._destination.execute(f"CREATE TABLE {table.name} ({', '.join(parts)})".encode())
        names = ", ".join(name for name, _ in columns)
        texts = ", ".join(f"{name}::text" for name, _ in columns)
        rows = self._source.execute(f"SELECT {texts} FROM {table.name}".encode()).fetchall()
        for row in rows:
            if self._append:
                self._write(table.name, [*names.split(", "), *_CHANGE], [*row, "read", start, 0, None, None])
            else:
                self._write(table.name, names.split(", "), row)

    def _write(self, table: str, names: Sequence[str], values: Sequence[Any]) -> None:
        holes = ", ".join("%s" for _ in names)
        self._destination.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({holes})".encode(), values)

    # -- the log --------------------------------------------------------------------------------------------------

    def _flush(self, token: int) -> bool:
        """Some transactions; whether there were any."""
        position = self._position()
        assert position is not None
        with self._source.cursor(binary=True) as cursor:
            cursor.execute(
                """
                SELECT data
                FROM pg_logical_slot_peek_binary_changes(%s, NULL, 20, 'proto_version', '1', 'publication_names', %s)
                """,
                (self._slot, "reference"),
            )
            messages = [bytes(row[0]) for row in cursor]
        failpoint("log.read")
        items = [item for message in messages for item in parse(message, self._relations)]
        if not items:
            return False
        end = next(item.end_lsn for item in reversed(items) if isinstance(item, Commit))
        if self._bug == "acknowledged before it is applied":
            self._acknowledge(end)
        if self._bug == "position saved before the data":
            self._save(end, token)
        if self._bug == "data saved before the position":
            with self._destination.transaction():
                self._apply(items, position)
            failpoint("apply.inside")
            self._save(end, token)
        elif self._bug == "committed change by change":
            self._apply(items, position)
            failpoint("apply.inside")
            self._save(end, token)
        else:
            with self._destination.transaction():
                self._apply(items, position)
                failpoint("apply.inside")
                if self._bug != "position saved before the data":
                    self._save(end, token)
        failpoint("apply.committed")
        self._acknowledge(end)
        failpoint("log.confirmed")
        return True

    def _acknowledge(self, lsn: int) -> None:
        if self._bug == "acknowledged what was received":
            self._source.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", (self._slot,))
            return
        confirmed = self._source.execute(
            "SELECT confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots WHERE slot_name = %s", (self._slot,)
        ).fetchone()
        if confirmed is not None and confirmed[0] < lsn:
            self._source.execute(
                "SELECT pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s::numeric)", (self._slot, lsn)
            )

    def _apply(self, items: Sequence[Begin | Commit | Change], position: int) -> None:
        taken, lsn, ordinal = False, 0, 0
        for item in items:
            if isinstance(item, Begin):
                lsn, ordinal = item.lsn, 0
                taken = lsn >= position if self._bug != "transaction at the border skipped" else lsn > position
            elif isinstance(item, Change):
                ordinal += 1
                if taken and item.relation.table in _KEYS:
                    self._change(item, lsn, ordinal)

    def _change(self, change: Change, lsn: int, ordinal: int) -> None:
        table = _KEYS[change.relation.table]
        if self._append:
            self._log(table, change, lsn, ordinal)
        elif change.op == "truncate":
            if self._bug != "truncate ignored":
                self._destination.execute(f"TRUNCATE {table.name}".encode())
        elif change.op == "insert":
            values = _said(change.new)
            self._write(table.name, list(values), list(values.values()))
            if self._bug == "aborted changes applied" and lsn % 7 == 0 and table.name == "entries":
                self._write(table.name, list(values), list(values.values()))
        else:
            key = {name: (change.old or change.new)[name] for name in table.key}
            if change.op == "delete":
                if self._bug != "delete ignored" or table.name != "things":
                    self._where(f"DELETE FROM {table.name}", (), key)
            else:
                self._update(table, change, key)

    def _update(self, table: OracleTable, change: Change, key: Values) -> None:
        values = _said(change.new)
        if self._bug == "unchanged value taken for NULL":
            values = {
                name: None if value is UNCHANGED else str(value) if value is not None else None
                for name, value in change.new.items()
            }
        if self._bug == "unchanged value replaced by a word":
            values |= {
                name: "__unavailable__" for name, value in change.new.items() if value is UNCHANGED and name == "big"
            }
        if self._bug == "old key kept" and any(values.get(name) != old for name, old in key.items()):
            names, holes = ", ".join(values), ", ".join("%s" for _ in values)
            statement = f"INSERT INTO {table.name} ({names}) VALUES ({holes}) ON CONFLICT DO NOTHING"
            self._destination.execute(statement.encode(), list(values.values()))
            return
        assignments = ", ".join(f"{name} = %s" for name in values)
        self._where(f"UPDATE {table.name} SET {assignments}", list(values.values()), key)

    def _where(self, statement: str, values: Sequence[Any], key: Values) -> None:
        condition = " AND ".join(f"{name} = %s" for name in key)
        self._destination.execute(f"{statement} WHERE {condition}".encode(), [*values, *key.values()])

    def _log(self, table: OracleTable, change: Change, lsn: int, ordinal: int) -> None:
        values = _said((change.old or {}) if change.op == "delete" else change.new)
        left_out = [name for name, value in change.new.items() if value is UNCHANGED]
        if change.whole_old and change.old is not None and change.op == "update":
            values |= {name: str(change.old[name]) for name in left_out}
            left_out = []
        old_key = None
        if change.op == "update" and change.old is not None and any(change.old[n] != change.new[n] for n in table.key):
            typed = dict(zip(change.relation.columns, change.relation.types, strict=True))
            old_key = json.dumps(
                {n: int(str(change.old[n])) if typed[n] in (20, 23) else change.old[n] for n in table.key}
            )
        if self._bug == "truncate ignored" and change.op == "truncate":
            return
        if self._bug == "unchanged value taken for NULL":
            left_out = []
        if self._bug == "old key kept":
            old_key = None
        if self._bug == "order within the transaction lost":
            ordinal = 1 + ordinal % 3
        row = [*values.values(), change.op, lsn, ordinal, json.dumps(left_out) if left_out else None, old_key]
        self._write(table.name, [*values, *_CHANGE], row)


_CHANGE = ("_syncline_op", "_syncline_lsn", "_syncline_ordinal", "_syncline_unchanged", "_syncline_old_key")


def _said(values: Values) -> dict[str, str | None]:
    return {name: value for name, value in values.items() if value is None or isinstance(value, str)}


def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Reference(config).run("--follow" in sys.argv, stop)


if __name__ == "__main__":
    main()
