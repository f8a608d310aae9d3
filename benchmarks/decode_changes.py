"""How many row changes of a Postgres log become typed Arrow in one CPU second.

    python benchmarks/decode_changes.py [--transactions 50000] [--rows 200000] [--seconds 3] [--bindir …] [--python]

A server of our own writes real changes (pgbench's transaction; 16 columns of TPC-H lineitem inserted and updated; the
wide mixed table), its slot is read once, and the decoder alone then runs over these messages again and again, in
stretches of 4 MiB that end with a transaction, slices of 16 MiB. CPU seconds of this process are counted, so other
work on the machine matters little. `--python` measures the version without a compiler too.
"""

from __future__ import annotations

import argparse
import struct
import time
from pathlib import Path
from typing import Any

import psycopg
from data import FILL_LINEITEM, FILL_WIDE, LINEITEM, WIDE

from syncline.connectors.postgres.catalog import load_relations
from syncline.connectors.postgres.changes.decode import ChangeDecoder, native_available
from syncline.connectors.postgres.changes.relation import Described, RelationMessage
from syncline.connectors.postgres.changes.stretch import Stretch
from syncline.connectors.postgres.connection import TEXT_SETTINGS
from syncline.core.stream import StreamName
from syncline.testing.postgres_server import PostgresServer, start_postgres

_STRETCH_BYTES = 4 << 20

PGBENCH = """
CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));
CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
INSERT INTO pgbench_accounts SELECT g, 1, 0, '' FROM generate_series(1, 100000) AS g;
INSERT INTO pgbench_tellers SELECT g, 1, 0 FROM generate_series(1, 10) AS g;
INSERT INTO pgbench_branches VALUES (1, 0);
CREATE PROCEDURE run(n int) LANGUAGE plpgsql AS $$
DECLARE
    a int; t int; d int;
BEGIN
    FOR i IN 1..n LOOP
        a := 1 + random() * 99999; t := 1 + i % 10; d := random() * 10000 - 5000;
        UPDATE pgbench_accounts SET abalance = abalance + d WHERE aid = a;
        UPDATE pgbench_tellers SET tbalance = tbalance + d WHERE tid = t;
        UPDATE pgbench_branches SET bbalance = bbalance + d WHERE bid = 1;
        INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (t, 1, a, d, now());
        COMMIT;
    END LOOP;
END $$
"""
_SETTINGS = {**TEXT_SETTINGS, "lc_monetary": "C"}


def log_of(server: PostgresServer, prepare: list[str], work: list[tuple[str, Any]]) -> tuple[Any, list[Stretch]]:
    """A ``describe`` for all tables of a new database, and what ``work`` wrote into its log."""
    database = server.create_database()
    with psycopg.connect(server.dsn(database), autocommit=True) as session:
        for statement in prepare:
            session.execute(statement)
        session.execute("CREATE PUBLICATION p FOR ALL TABLES")
        session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [database])
        for statement, parameters in work:
            session.execute(statement, parameters)
        session.execute("SET synchronous_commit = on")
        session.execute("SELECT pg_logical_emit_message(true, 'end', '')")
        for name, value in _SETTINGS.items():
            session.execute("SELECT set_config(%s, %s, false)", [name, value])
        session.execute("SET search_path = ''")
        relations = {each.name: each for each in load_relations(session, ["public"])}
        stretches = cut(session, database)
        session.execute("SELECT pg_drop_replication_slot(%s)", [database])

    def describe(message: RelationMessage) -> Described | None:
        relation = relations.get(StreamName(namespace=message.namespace, name=message.name))
        if relation is None:
            return None
        columns = [column.name for column in message.columns]
        return Described(
            stream=relation.name,
            schema=relation.schema,
            columns=tuple(columns.index(field.name) for field in relation.schema.fields),
            key=relation.key,
        )

    return describe, stretches


def cut(session: psycopg.Connection[Any], slot: str) -> list[Stretch]:
    stretches, frames = [], bytearray()
    with session.cursor(name="log", withhold=True, binary=True) as cursor:
        cursor.itersize = 10_000
        cursor.execute(
            "SELECT data FROM pg_catalog.pg_logical_slot_peek_binary_changes("
            "%s, NULL, NULL, 'proto_version', '1', 'publication_names', 'p')",
            [slot],
        )
        for (message,) in cursor:
            frames += struct.pack(">I", len(message)) + message
            if message[:1] == b"C" and len(frames) >= _STRETCH_BYTES:
                stretches.append(_stretch(bytes(frames)))
                frames = bytearray()
    return [*stretches, _stretch(bytes(frames))]


def _stretch(frames: bytes) -> Stretch:
    return Stretch(frames=frames, header=None, aborted=frozenset(), start=0, end=1 << 60, whole=True)


def measure(describe: Any, stretches: list[Stretch], seconds: float, *, native: bool) -> tuple[float, float, int]:
    """Rows and MB of frames per CPU second, and the rows of one pass."""
    rows = spent = passes = 0.0
    once = 0
    while spent < seconds:
        once = 0
        began = time.process_time()
        with ChangeDecoder(describe, native=native) as decoder:
            for stretch in stretches:
                for part in decoder.decode(stretch):
                    once += part.rows
        spent += time.process_time() - began
        rows, passes = rows + once, passes + 1
        if not native:
            break
    size = sum(len(stretch.frames) for stretch in stretches)
    return rows / spent, passes * size / spent / 1e6, once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=50_000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--bindir", type=Path)
    parser.add_argument("--python", action="store_true")
    options = parser.parse_args()
    half = options.rows // 2
    cases = {
        "pgbench: 3 updates and 1 insert a transaction": ([PGBENCH], [("CALL run(%s)", [options.transactions])]),
        "lineitem, 16 columns: inserts, then updates": (
            [LINEITEM, "ALTER TABLE lineitem ADD PRIMARY KEY (l_orderkey, l_linenumber)"],
            [
                (FILL_LINEITEM.replace("1 + g / 4, ", "1 + g, ", 1), [half]),
                ("UPDATE lineitem SET l_quantity = l_quantity + 1", []),
            ],
        ),
        "wide, 17 mixed columns: inserts": ([WIDE], [(FILL_WIDE, [half])]),
    }
    twins = [True] if native_available() else []
    twins += [False] if options.python or not twins else []
    print(f"{'case':50} {'':8} {'rows/CPU s':>12} {'MB/CPU s':>9} {'rows':>9}")
    with start_postgres(bindir=options.bindir, settings={"fsync": "off", "synchronous_commit": "off"}) as server:
        for name, (prepare, work) in cases.items():
            describe, stretches = log_of(server, prepare, work)
            for native in twins:
                rate, speed, rows = measure(describe, stretches, options.seconds, native=native)
                print(f"{name:50} {'C' if native else 'Python':8} {rate:12,.0f} {speed:9,.0f} {rows:9,}", flush=True)


if __name__ == "__main__":
    main()
