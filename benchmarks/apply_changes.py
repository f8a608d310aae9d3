"""Applying changes to Postgres: ``python benchmarks/apply_changes.py``.

Big flushes, against the best statements by hand in the same round on the same changes: COPY to an unlogged staging
table, sorted DISTINCT ON the key by LSN, deletes, INSERT … ON CONFLICT. Both get the changes as the log gives them,
several to some keys; by hand as CSV text that is there already, ours as Arrow batches. Then the latency of small
flushes, rows and both ledger entries committed, against one autocommitted UPDATE.
"""

from __future__ import annotations

import argparse
import io
import resource
import shutil
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv

from syncline.core.change import ChangeBatch, Op
from syncline.core.schema import Field, StreamSchema
from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import changes as by_hand
from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres

FIELDS = (
    Field(name="id", type=pa.int64(), nullable=False),
    Field(name="kind", type=pa.string(), nullable=False),
    Field(name="name", type=pa.string()),
    Field(name="price", type=pa.decimal128(12, 2)),
    Field(name="big", type=pa.string()),
    Field(name="huge", type=pa.string()),
)
_COLUMNS = ("name", "price", "big", "huge")
_KINDS = pa.array(["standard"])


class _System:
    def __init__(self, server: PostgresServer, database: str) -> None:
        self.gaps: dict[str, str] = {}
        params = server.params(database)
        self.dsn = server.dsn(database)
        self._config = {
            "host": params["host"],
            "port": int(params["port"]),
            "database": database,
            "username": params["user"],
            "password": params["password"],
        }

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="postgres", config=self._config)

    def rows(self, columns: object) -> None:
        return None

    def quarantined(self) -> int:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--changes", type=int, default=500_000)
    parser.add_argument("--slice", type=int, default=100_000, help="changes in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    settings = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
    try:
        with start_postgres(bindir=find_tls_bindir(), settings=settings) as server:
            system = _System(server, server.create_database("bench_changes"))
            with closing(by_hand.ChangeFlow(system, folder)) as flow:
                flow.copy([])
                _fill(system, options.rows)
                _big(system, flow, options.rows, options.changes, options.slice, options.rounds)
                _small(system, flow)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(system: _System, rows: int) -> None:
    with psycopg.connect(system.dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO items (id, kind, name, price, big, huge, _syncline_lsn)"
            " SELECT i, 'standard', 'name ' || i, i %% 1000, md5(i::text), repeat('h', 60), 0"
            " FROM generate_series(0, %s - 1) i",
            (rows,),
        )
        connection.execute("CREATE TABLE by_hand (LIKE items)")
        connection.execute("INSERT INTO by_hand SELECT * FROM items")
        connection.execute("ALTER TABLE by_hand ADD PRIMARY KEY (id, kind)")
        connection.execute(
            "CREATE UNLOGGED TABLE staging (lsn bigint, op smallint, id bigint, kind text, name text,"
            " price numeric(12,2), big text, huge text)"
        )
        connection.execute("VACUUM (FREEZE, ANALYZE)")


def _changes(rows: int, count: int, first: int, seed: int) -> ChangeBatch:
    """Two thirds updates, a sixth inserts of new keys, a sixth deletes; a tenth of the keys several times."""
    chance = np.random.default_rng(seed)
    op = chance.choice([1, 2, 2, 2, 2, 3], count).astype(np.uint8)
    ids = chance.integers(0, rows, count)
    hot = chance.random(count) < 0.1
    ids[hot] = chance.integers(0, rows, max(1, count // 100))[chance.integers(0, max(1, count // 100), hot.sum())]
    fresh = op == Op.INSERT
    ids[fresh] = rows + first + np.flatnonzero(fresh)
    schema = StreamSchema(fields=FIELDS)
    text = pa.array(ids).cast(pa.string())
    data = pa.RecordBatch.from_arrays(
        [
            pa.array(ids),
            pa.repeat("standard", count),
            pa.compute.binary_join_element_wise("changed", text, " "),
            pa.array(chance.integers(0, 10**6, count))
            .cast(pa.decimal128(19, 0))
            .cast(pa.decimal128(12, 2), safe=False),
            pa.compute.binary_join_element_wise(text, text, text, "-"),
            pa.repeat("x" * 60, count),
        ],
        schema=schema.arrow(),
    )
    lsn = np.arange(first + 1000, first + 1000 + count)
    return ChangeBatch(
        schema=schema,
        data=data,
        op=pa.array(op),
        lsn=pa.array(lsn.astype(np.uint64)),
        ordinal=pa.array(np.ones(count, np.uint32)),
        committed_at=pa.array(lsn).cast(pa.timestamp("us", tz="UTC")),
    )


_MERGE = """
CREATE TEMPORARY TABLE final AS
SELECT DISTINCT ON (id, kind) * FROM staging ORDER BY id, kind, lsn DESC;
DELETE FROM by_hand t USING final s WHERE s.op = 3 AND t.id = s.id AND t.kind = s.kind;
INSERT INTO by_hand AS t (id, kind, name, price, big, huge, _syncline_lsn)
SELECT id, kind, name, price, big, huge, lsn FROM final WHERE op <> 3 ORDER BY id, kind
ON CONFLICT (id, kind) DO UPDATE SET (name, price, big, huge, _syncline_lsn) =
    (excluded.name, excluded.price, excluded.big, excluded.huge, excluded._syncline_lsn);
DROP TABLE final; TRUNCATE staging
"""


def _big(system: _System, flow: by_hand.ChangeFlow, rows: int, count: int, size: int, rounds: int) -> None:
    flow.fields = FIELDS
    ratios = []
    with psycopg.connect(system.dsn) as connection:
        connection.execute("SET work_mem = '64MB'")
        for number in range(rounds):
            batch = _changes(rows, count, number * count, number)
            sink = io.BytesIO()
            staged = pa.table(
                {
                    "lsn": batch.lsn,
                    "op": batch.op,
                    **dict(zip(batch.data.schema.names, batch.data.columns, strict=True)),
                }
            )
            pa.csv.write_csv(staged, sink, pa.csv.WriteOptions(include_header=False))
            text = sink.getvalue()

            def hand(text: bytes = text) -> None:
                with connection.cursor().copy("COPY staging FROM STDIN (FORMAT csv)") as copy:
                    for at in range(0, len(text), 1 << 20):
                        copy.write(text[at : at + (1 << 20)])
                connection.execute(_MERGE)
                connection.commit()

            def ours(batch: ChangeBatch = batch) -> None:
                for start in range(0, batch.rows, size):
                    flow.session.apply(flow.target, batch.slice(start, min(start + size, batch.rows)))
                flow.commit()

            seconds = {}
            for what in (hand, ours) if number % 2 else (ours, hand):
                with psycopg.connect(system.dsn, autocommit=True) as other:
                    other.execute("CHECKPOINT")
                began, cpu = time.monotonic(), time.process_time()
                what()
                seconds[what.__name__] = time.monotonic() - began, time.process_time() - cpu
            ratios.append(seconds["hand"][0] / seconds["ours"][0])
            hand_rate, our_rate = count / seconds["hand"][0], count / seconds["ours"][0]
            print(
                f"round {number + 1}: by hand {hand_rate:,.0f}/s, ours {our_rate:,.0f}/s "
                f"(our client: {seconds['ours'][1]:.2f} CPU s)",
                flush=True,
            )
        sums = "count(*), sum(id), sum(price), sum(hashtext(name)), sum(_syncline_lsn)"
        found = [connection.execute(f"SELECT {sums} FROM {t}").fetchone() for t in ("items", "by_hand")]
    if found[0] != found[1]:
        raise RuntimeError(f"content differs: {found}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"ours / by hand, changes a second: median {statistics.median(ratios):.2f} (at least 0.7); {peak:.0f} MiB peak"
    )


def _small(system: _System, flow: by_hand.ChangeFlow) -> None:
    target = flow.target
    commits = flow.commits()
    for size in (1, 5, 20, 100, 150, 200, 500):
        batches = [_changes(1000, size, 10**7 + i * size, i) for i in range(120)]
        times = []
        for i, batch in enumerate(batches):
            began = time.monotonic()
            flow.session.apply(target, batch)
            commits = [
                replace(c, checkpoint=flow.checkpoints[c.target.stream].next(position={"lsn": i})) for c in commits
            ]
            flow.session.commit(commits)
            times.append(time.monotonic() - began)
            flow.checkpoints.update({c.target.stream: c.checkpoint for c in commits})
        p50, p99 = statistics.median(times[20:]), sorted(times[20:])[-2]
        print(f"flush of {size} changes: min {min(times) * 1e3:.2f} ms, p50 {p50 * 1e3:.2f}, p99 {p99 * 1e3:.2f}")
    with psycopg.connect(system.dsn, autocommit=True) as connection:
        times = []
        for i in range(200):
            began = time.monotonic()
            connection.execute("UPDATE by_hand SET price = price + 1 WHERE id = %s AND kind = 'standard'", (i,))
            times.append(time.monotonic() - began)
    print(f"one UPDATE by hand: min {min(times) * 1e3:.2f} ms, p50 {statistics.median(times) * 1e3:.2f}")


if __name__ == "__main__":
    main()
