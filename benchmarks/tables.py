"""Delta Lake and Iceberg against plain Parquet, and what an upsert rewrites: ``python benchmarks/tables.py``.

Append: the same rows through the destinations ``local`` (Parquet), ``delta`` and ``iceberg``, in partitions of a whole
copy; seconds of CPU over all threads, and their ratio to plain Parquet (at most 1.3).

Upsert: 1 % of the rows, once in one stretch of keys and once spread over all of them, as a deduped increment. Counted
are the files that hold one of the keys (found by reading the key column of every file with pyarrow) and those that the
commit removed: they must be the same files. Nothing is started but SQLite; no server is needed.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from syncline.core.batch import Batch
from syncline.core.checkpoint import Phase, StreamCheckpoint, StreamTarget
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination
from syncline.sdk.reference import ConnectorReference, open_destination

STREAM = StreamName(name="items")
FIELDS = (
    Field(name="id", type=pa.int64(), nullable=False),
    Field(name="customer", type=pa.int32()),
    Field(name="price", type=pa.decimal128(12, 2)),
    Field(name="status", type=pa.string()),
    Field(name="comment", type=pa.string()),
    Field(name="ordered_at", type=pa.timestamp("us", tz="UTC")),
    Field(name="weight", type=pa.float64()),
    Field(name="version", type=pa.int64()),
)
BATCH = 50_000


def rows(ids: np.ndarray, version: int) -> pa.RecordBatch:
    """Rows of these ids, the same for the same id and version."""
    chance = np.random.default_rng(int(ids[0]) + version)
    count = len(ids)
    words = pa.array([f"{word} of the order" for word in ("open", "paid", "sent", "kept")])
    comments = pa.array([f"comment {i} with some more words to it, as people write" for i in range(5000)])
    arrays = [
        pa.array(ids),
        pa.array(chance.integers(0, 100_000, count, np.int32)),
        pa.array(chance.integers(0, 10**8, count)).cast(pa.decimal128(20, 0)).cast(pa.decimal128(12, 2), safe=False),
        words.take(pa.array(chance.integers(0, 4, count))),
        comments.take(pa.array(chance.integers(0, 5000, count))),
        pa.array(1_700_000_000_000_000 + ids * 1000).cast(pa.timestamp("us", tz="UTC")),
        pa.array(chance.random(count)),
        pa.array(np.full(count, version)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=StreamSchema(fields=FIELDS).arrow())


class Flow:
    """One stream by hand, as the engine does it."""

    def __init__(self, kind: str, root: Path, work: Path) -> None:
        context = ConnectorContext(connection="bench", work_dir=work)
        config = {"path": str(root), "target_file_size": "16 MB"}
        self.destination: Destination = open_destination(ConnectorReference(type=kind, config=config), context)
        self.token = self.destination.fence("bench", STREAM).token
        self.now = StreamCheckpoint()

    def load(self, write: WriteMode, parts: list[Callable[[], Iterator[pa.RecordBatch]]], *, key: bool) -> None:
        if self.now.sequence:
            self.token = self.destination.fence("bench", STREAM).token
        target = StreamTarget(
            connection="bench",
            stream=STREAM,
            schema=StreamSchema(fields=FIELDS),
            write=write,
            generation=1,
            sync_id="bench",
            sync_date=date(2026, 1, 1),
            primary_key=("id",) if key else (),
        )
        plan = ReadPlan(
            id=f"plan{self.now.sequence}",
            partitions=tuple(Partition(id=f"p{i}", bounds={}) for i in range(len(parts))),
            end={"at": datetime.now(UTC).isoformat()},
        )
        self._commit(target, [], phase=Phase.READING, plan=plan, write=write, generation=1)
        self.destination.prepare(target, self.now, self.token)
        for number, part in enumerate(parts):
            writer = self.destination.writer(target, f"p{number}", self.token)
            for batch in part():
                writer.write(Batch(data=batch))
            self._commit(target, [writer.seal()], done=self.now.done | {f"p{number}"})
        self._commit(target, [], publish=True, phase=Phase.IDLE, plan=None, write=None, done=frozenset())

    def _commit(self, target: StreamTarget, staged: list[Any], *, publish: bool = False, **changes: Any) -> None:
        following = self.now.next(**changes)
        self.destination.commit(target, staged, following, self.token, publish=publish)
        self.now = following


def parts_of(count: int, pieces: int, version: int) -> list[Callable[[], Iterator[pa.RecordBatch]]]:
    edges = np.linspace(0, count, pieces + 1).astype(int)

    def part(low: int, high: int) -> Callable[[], Iterator[pa.RecordBatch]]:
        return lambda: (rows(np.arange(at, min(at + BATCH, high)), version) for at in range(low, high, BATCH))

    return [part(low, high) for low, high in itertools.pairwise(edges)]


def appended(kind: str, batches: list[list[pa.RecordBatch]], folder: Path) -> float:
    """CPU seconds of a whole copy."""
    root = folder / kind
    shutil.rmtree(root, ignore_errors=True)
    flow = Flow(kind, root, folder / "work")
    with closing(flow.destination):
        started = time.process_time()
        flow.load(WriteMode.REPLACE, [lambda each=each: iter(each) for each in batches], key=False)
        return time.process_time() - started


def live_files(kind: str, root: Path) -> set[Path]:
    """The table's files as another reader of the format names them."""
    if kind == "delta":
        from deltalake import DeltaTable

        return {root / "items" / Path(uri).name for uri in DeltaTable(root / "items").file_uris()}
    from pyiceberg.catalog import load_catalog

    with closing(load_catalog("syncline", type="sql", uri=f"sqlite:///{root}/iceberg-catalog.db")) as catalog:
        planned = catalog.load_table("default.items").scan().plan_files()
        return {Path(each.file.file_path.removeprefix("file://")) for each in planned}


def upserted(kind: str, folder: Path, count: int, changed: dict[str, np.ndarray]) -> None:
    root = folder / f"{kind}-upsert"
    flow = Flow(kind, root, folder / "work")
    with closing(flow.destination):
        flow.load(WriteMode.REPLACE, parts_of(count, 8, 0), key=True)
        for name, ids in changed.items():
            before = live_files(kind, root)
            must = {f for f in before if np.isin(pq.read_table(f, columns=["id"])["id"].to_numpy(), ids).any()}
            pieces = [rows(ids[at : at + BATCH], 1) for at in range(0, len(ids), BATCH)]
            started = time.process_time()
            flow.load(WriteMode.MERGE, [lambda pieces=pieces: iter(pieces)], key=True)
            cpu = time.process_time() - started
            rewritten = before - live_files(kind, root)
            size, whole = sum(f.stat().st_size for f in rewritten), sum(f.stat().st_size for f in before)
            print(
                f"{kind}: upsert of {len(ids):,} rows {name}: {len(rewritten)} of {len(before)} files rewritten "
                f"({size / 1e6:.0f} of {whole / 1e6:.0f} MB), {len(must)} hold a changed key; {cpu:.2f} s CPU"
            )
            assert rewritten == must, "rewrote what it need not, or left what it must"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    try:
        batches = [list(part()) for part in parts_of(options.rows, 4, 0)]
        found: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for kind in ("local", "delta", "iceberg"):
                found.setdefault(kind, []).append(appended(kind, batches, folder))
        plain = statistics.median(found["local"])
        for kind, seconds in found.items():
            now = statistics.median(seconds)
            print(f"append of {options.rows:,} rows to {kind}: {now:.2f} s CPU, {now / plain:.2f} times plain Parquet")
        del batches
        few = options.rows // 100
        chance = np.random.default_rng(7)
        changed = {
            "in one stretch": np.arange(options.rows // 2, options.rows // 2 + few),
            "spread over all": np.sort(chance.choice(options.rows, few, replace=False)),
        }
        for kind in ("delta", "iceberg"):
            upserted(kind, folder, options.rows, changed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
