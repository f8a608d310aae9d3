"""What a MERGE of 1 % of the rows reads of an append-mostly table, with the ranges of its keys and without.

    python benchmarks/bigquery.py [ROWS]

The emulator counts no bytes and prunes nothing, so this is an account, not a measurement: the changed keys go through
the code that a sync uses (``KeyRanges``, ``joined``, ``within``), and a table partitioned by ranges of the key is
counted by BigQuery's published rules: a partition is read when a range of the predicate meets it, of its rows every
column, for a MERGE that updates is billed for all columns of what it reads; INT64 and TIMESTAMP are 8 bytes, NUMERIC
16, STRING 2 and its UTF-8. ``SYNCLINE_LIVE_BIGQUERY=project.dataset`` asks the real planner besides (a dry run, free).

9 of 10 changes are new rows, the others update: most of them rows of late, a few any row.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pyarrow as pa

from syncline.connectors.bigquery.ranges import KeyRanges, Ranges, joined, within
from syncline.core.schema import Field

_PARTITION = 10_000
_ROW = 8 + (2 + 24) + 16 + 8 + 8 + (2 + 32) + 8 + 8  # id, name, amount, seen_at and four of our columns
_BATCH = 10_000


def changes(rows: int, anywhere: int, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Keys of 1 % of the rows in the order in which a log has them; ``anywhere`` of them are any row."""
    chance = np.random.default_rng(seed)
    count = rows // 100
    new = np.arange(rows, rows + count * 9 // 10)
    late = chance.integers(rows - rows // 50, rows, count // 10 - anywhere)
    found = np.concatenate([new, late, chance.integers(0, rows, anywhere)])
    return chance.permutation(found)


def ranges_of(keys: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Ranges | None:
    """As a writer gathers them, batch by batch."""
    gathered = KeyRanges(Field(name="id", type=pa.int64()))
    for start in range(0, len(keys), _BATCH):
        gathered.add(pa.array(keys[start : start + _BATCH]))
    return joined([gathered.ranges])


def bytes_read(rows: int, ranges: Ranges | None) -> int:
    """Of a table whose keys are 0 to ``rows``."""
    starts = np.arange(0, rows, _PARTITION)
    if ranges is None:
        return rows * _ROW
    met = np.zeros(len(starts), np.bool_)
    for low, high in ranges:
        met |= (starts <= high) & (starts + _PARTITION > low)
    return int(np.minimum(_PARTITION, rows - starts)[met].sum()) * _ROW


def asked(rows: int, ranges: Ranges | None) -> None:
    """The real planner's figures."""
    from google.cloud import bigquery

    project, _, dataset = os.environ["SYNCLINE_LIVE_BIGQUERY"].partition(".")
    client = bigquery.Client(project=project)
    table = f"`{project}`.`{dataset}`.syncline_benchmark_{int(time.time())}"
    client.query_and_wait(
        f"CREATE TABLE {table} PARTITION BY RANGE_BUCKET(id, GENERATE_ARRAY(0, {_PARTITION * 4000}, {_PARTITION})) "
        f"CLUSTER BY id AS SELECT id, REPEAT('x', 24) AS name FROM UNNEST(GENERATE_ARRAY(0, {rows // 1000 - 1})) AS k, "
        "UNNEST(GENERATE_ARRAY(k * 1000, k * 1000 + 999)) AS id"
    )
    try:
        for what, predicate in (("with ranges", within("t", "id", "INT64", ranges)), ("without", "TRUE")):
            job = client.query(
                f"MERGE {table} AS t USING (SELECT 1 AS id, 'n' AS name) AS s ON t.id = s.id AND {predicate} "
                "WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (id, name)",
                job_config=bigquery.QueryJobConfig(dry_run=True),
            )
            print(f"the planner, {what}: {job.total_bytes_processed:,} bytes")
    finally:
        client.query_and_wait(f"DROP TABLE {table}")


def main(rows: int) -> None:
    naive = bytes_read(rows, None)
    for anywhere in (0, 10, 20, 100):
        started = time.process_time()
        ranges = ranges_of(changes(rows, anywhere))
        spent = time.process_time() - started
        ours = bytes_read(rows, ranges)
        print(
            f"{rows:,} rows, {rows // 100:,} changes, {anywhere} of them anywhere: ours {ours / 1e6:.1f} MB, "
            f"naive {naive / 1e6:.1f} MB, {naive / max(ours, 1):.1f} times fewer; "
            f"{len(ranges or [])} ranges in {spent:.3f} s of CPU"
        )
    if "SYNCLINE_LIVE_BIGQUERY" in os.environ:
        asked(rows, ranges_of(changes(rows, 10)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000)
