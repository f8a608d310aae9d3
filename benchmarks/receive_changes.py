"""Catching up with a log, against ``pg_recvlogical -f /dev/null``: ``python benchmarks/receive_changes.py``.

The log: transactions of pgbench with six row changes each (two updates, three inserts, a delete) on two tables. Every
run reads a copy of the same slot from its beginning to the same end, in rounds, one after the other; `x` is the median
over rounds of the ratio to pg_recvlogical in the same round. Ours is a whole process, start-up included: received into
a spool on disk and, where it says so, read back from it by a cursor in another thread (what the decoder gets), or read
back and decoded to typed Arrow columns (the whole path from the slot to what a destination is given).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
from measure import Measurement, measure

from syncline.connectors.postgres.changes.describe import FollowedTable
from syncline.connectors.postgres.changes.followed import Followed
from syncline.connectors.postgres.changes.lsn import lsn_from_text
from syncline.connectors.postgres.changes.reader import PostgresChangeReader
from syncline.connectors.postgres.changes.receive import Receiver
from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.changes.table import Tables
from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.reading.source import PostgresSource
from syncline.connectors.postgres.reading.transaction import SessionMaker
from syncline.core.change import LogPosition
from syncline.core.stream import SelectedStream, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.testing.postgres_server import PostgresServer, find_bindir, start_postgres

_TABLES = """
CREATE TABLE account (id int PRIMARY KEY, branch int, balance numeric(15,2), changed timestamptz, note text);
CREATE TABLE entry (id bigserial PRIMARY KEY, account int, amount numeric(15,2), at timestamptz, text text);
INSERT INTO account SELECT g, g % 100, g, now(), 'a note of usual length' FROM generate_series(1, 100000) g;
CREATE PUBLICATION bench FOR TABLE account, entry;
"""
_SCRIPT = """
\\set a random(1, 100000)
\\set b random(1, 100000)
BEGIN;
UPDATE account SET balance = balance - 1.25, changed = now() WHERE id = :a;
UPDATE account SET balance = balance + 1.25, changed = now() WHERE id = :b;
INSERT INTO entry (account, amount, at, text) VALUES (:a, -1.25, now(), 'from here'), (:b, 1.25, now(), 'to there'),
    (:a, 0, now(), 'fee');
DELETE FROM entry WHERE id = (SELECT min(id) FROM entry WHERE id > (:a * 3));
COMMIT;
"""
_CHANGES = 6
_WAYS = (
    "pg_recvlogical",
    "ours, to the spool",
    "ours, spool and read back",
    "ours, to Arrow",
    "ours, Python only",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bindir", type=Path, default=find_bindir(), help="of the server and its tools")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _receive(json.loads(options.child))
        return
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    settings: dict[str, str | int] = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
    try:
        with start_postgres(bindir=options.bindir, settings=settings) as server:
            _run(server, folder, options.transactions, options.rounds, options.bindir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(server: PostgresServer, folder: Path, transactions: int, rounds: int, bindir: Path) -> None:
    database = server.create_database("bench")
    session = server.connect(database)
    session.execute(_TABLES)
    session.execute("SELECT pg_create_logical_replication_slot('base', 'pgoutput')")
    script = folder / "script.sql"
    script.write_text(_SCRIPT, encoding="utf-8")
    pgbench = [str(bindir / "pgbench"), "-n", "-f", str(script), "-c", "4", "-t", str(transactions // 4)]
    subprocess.run([*pgbench, server.dsn(database)], check=True, capture_output=True)
    row = session.execute("SELECT pg_current_wal_flush_lsn()::text, pg_switch_wal()").fetchone()
    assert row is not None
    end = row[0]
    results: dict[str, list[Measurement]] = {}
    server_cpu: dict[str, list[float]] = {}
    for number in range(rounds):
        for name in _WAYS:
            if name == "ours, Python only" and number:
                continue
            slot = f"copy_{number}_{len(results) if name not in results else list(results).index(name)}"
            session.execute("SELECT pg_copy_logical_replication_slot('base', %s)", [slot])
            before = _server_cpu(server)
            measured = _one(server, database, folder, name, slot, end, bindir, transactions * _CHANGES)
            print(f"{name}: {measured} {(folder / 'log.txt').read_text(encoding='utf-8').strip()}", file=sys.stderr)
            server_cpu.setdefault(name, []).append(_server_cpu(server) - before)
            results.setdefault(name, []).append(measured)
            session.execute("SELECT pg_drop_replication_slot(%s)", [slot])
    changes = transactions * _CHANGES
    print(f"{changes} row changes in {transactions} transactions, {rounds} rounds")
    print("| what | s | x | changes/s | client CPU s per million | server CPU s per million | RSS MiB |")
    print("|---|---|---|---|---|---|---|")
    first = [each.seconds for each in results["pg_recvlogical"]]
    for name, runs in results.items():
        seconds = statistics.median(each.seconds for each in runs)
        ratio = statistics.median(each.seconds / limit for each, limit in zip(runs, first, strict=False))
        cpu = statistics.median(each.cpu for each in runs) / changes * 1e6
        sent = statistics.median(server_cpu[name]) / changes * 1e6
        rss = max(each.rss for each in runs)
        print(
            f"| {name} | {seconds:.2f} | {ratio:.2f} | {changes / seconds:.0f} | {cpu:.2f} | {sent:.2f} | {rss:.0f} |"
        )


def _one(
    server: PostgresServer, database: str, folder: Path, name: str, slot: str, end: str, bindir: Path, changes: int
) -> Measurement:
    log = folder / "log.txt"
    if name == "pg_recvlogical":
        options = ["-o", "proto_version=2", "-o", "publication_names=bench", "-o", "streaming=on"]
        command = [str(bindir / "pg_recvlogical"), "--start", "-f", "/dev/null", "-S", slot, "--endpos", end]
        return measure([*command, "--no-loop", "-d", server.dsn(database), *options], log)
    task = {
        "host": server.host,
        "port": server.port,
        "database": database,
        "username": server.user,
        "password": server.password,
        "slot": slot,
        "end": end,
        "read_back": name.endswith("back"),
        "decode": name.endswith("Arrow"),
        "changes": changes,
        "folder": str(folder),
    }
    environment = {"SYNCLINE_NO_NATIVE": "1"} if "Python" in name else {}
    return measure([sys.executable, __file__, "--child", json.dumps(task)], log, environment)


def _receive(task: dict[str, object]) -> None:
    folder, slot = Path(str(task["folder"])), str(task["slot"])
    config = PostgresSourceConfig(
        host=str(task["host"]),
        port=int(str(task["port"])),
        database=str(task["database"]),
        username=str(task["username"]),
        password=str(task["password"]),  # type: ignore[arg-type]
    )
    end = lsn_from_text(str(task["end"]))
    spool = Spool(folder / slot)
    receiver = Receiver(
        config,
        ConnectorContext(connection="bench", work_dir=folder),
        slot=slot,
        publications=["bench"],
        spool=spool,
        start=1,
    )
    began, used = time.monotonic(), time.process_time()
    receiver.start()
    if task["decode"]:
        maker = SessionMaker(config=config, connection="bench", work_dir=folder)
        rows = _decode(maker, spool, end)
        if rows != task["changes"]:
            raise RuntimeError(f"{rows} changes decoded, {task['changes']} were made")
    elif task["read_back"]:
        reader = threading.Thread(target=_read_back, args=(spool, end))
        reader.start()
        reader.join()
    else:
        while spool.end < end:
            if receiver.error is not None:
                raise receiver.error
            time.sleep(0.005)
    print(f"receiving alone: {time.monotonic() - began:.2f} s, CPU {time.process_time() - used:.2f} s")
    receiver.stop()
    spool.close()
    shutil.rmtree(folder / slot)


def _read_back(spool: Spool, end: int) -> None:
    cursor = spool.cursor(spool.begin)
    while cursor.position < end:
        cursor.read(1.0, 16 << 20)
    cursor.close()


def _decode(maker: SessionMaker, spool: Spool, end: int) -> int:
    """Read back and decode, as a run's reader does. The changes seen."""
    with closing(PostgresSource(maker.config, ConnectorContext(connection="bench", work_dir=maker.work_dir))) as source:
        streams = source.discover().streams
    with closing(maker.connect()) as session:
        tables = {
            stream.name: FollowedTable(oid=oid, name=stream.name)
            for stream in streams
            for (oid,) in session.execute("SELECT %s::regclass::oid", [str(stream.name)])
        }
    reader = PostgresChangeReader(
        cursor=spool.cursor(spool.begin),
        tables=Tables(maker),
        followed=Followed(tables=tables),
        check_utf8=False,
        on_close=lambda _: None,
    )
    for stream in streams:
        selected = SelectedStream(
            stream=stream, sync_mode=SyncMode.INCREMENTAL_DEDUPED_HISTORY, primary_key=stream.primary_key
        )
        reader.add(selected, LogPosition(lsn=0))
    rows = 0
    while reader.position < end:
        found = reader.read(1.0)
        rows += sum(batch.rows for _, batch in found.batches) if found is not None else 0
    reader.close()
    return rows


def _server_cpu(server: PostgresServer) -> float:
    """Seconds of the postmaster and all its children, those that ended included."""
    pid = int((server.data_dir / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    total = 0.0
    postmaster = psutil.Process(pid)
    for each in [postmaster, *postmaster.children()]:
        try:
            times = each.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


if __name__ == "__main__":
    main()
