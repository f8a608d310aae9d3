"""What the engine does with a destination of files, in short; and reading the result without the code under test."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from syncline.connectors.files.config import FilesDestinationConfig, LocalDestinationConfig, S3DestinationConfig
from syncline.connectors.files.destination import FilesDestination
from syncline.core.batch import Batch
from syncline.core.checkpoint import Phase, Staged, StreamTarget
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.connector import ConnectorContext

STREAM = StreamName(namespace="public", name="orders")
SCHEMA = StreamSchema(fields=(Field(name="id", type=pa.int64()), Field(name="v", type=pa.string())))
SYNC_DATE = date(2026, 11, 21)
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def local(root: Path, **settings: Any) -> LocalDestinationConfig:
    return LocalDestinationConfig.model_validate({"path": str(root), **settings})


def s3(server: Any, bucket: str, prefix: str = "bronze/", **settings: Any) -> S3DestinationConfig:
    key = server.credentials
    base = {
        "bucket": bucket,
        "path_prefix": prefix,
        "endpoint": server.endpoint_url,
        "region": server.region,
        "access_key_id": key.access_key_id,
        "secret_access_key": key.secret_access_key,
    }
    return S3DestinationConfig.model_validate({**base, **settings})


def destination(config: FilesDestinationConfig, work_dir: Path, connection: str = "c") -> FilesDestination:
    return FilesDestination(config, ConnectorContext(connection=connection, work_dir=work_dir))


def target(
    write: WriteMode = WriteMode.REPLACE,
    *,
    generation: int = 1,
    sync_id: str = "s1",
    schema: StreamSchema = SCHEMA,
    stream: StreamName = STREAM,
    connection: str = "c",
) -> StreamTarget:
    return StreamTarget(
        connection=connection,
        stream=stream,
        schema=schema,
        write=write,
        generation=generation,
        sync_id=sync_id,
        sync_date=SYNC_DATE,
    )


def batch(rows: Sequence[Mapping[str, Any]], schema: StreamSchema = SCHEMA) -> Batch:
    return Batch(data=pa.RecordBatch.from_pylist([dict(r) for r in rows], schema=schema.arrow()))


def attempt(
    dest: FilesDestination,
    run: int,
    rows: Rows,
    write: WriteMode,
    *,
    schema: StreamSchema = SCHEMA,
    stream: StreamName = STREAM,
    connection: str = "c",
) -> bool:
    """One attempt of run number ``run``: goes on where an earlier attempt of it stopped; False when it was done
    before."""
    entry = dest.fence(connection, stream)
    at = entry.checkpoint
    if at.position is not None and at.position["run"] >= run:
        return False
    plan = ReadPlan(id=f"plan{run}", partitions=tuple(Partition(id=p, bounds={}) for p in rows), end={"run": run})
    if at.phase is Phase.READING and at.plan == plan:
        at_next = at.next(schema=schema)
        generation, sync_id = at.generation, at.sync_id
    else:
        generation = at.generation + (write is WriteMode.REPLACE)
        sync_id = f"s{run}"
        at_next = at.next(
            generation=generation,
            phase=Phase.READING,
            plan=plan,
            write=write,
            done=frozenset(),
            schema=schema,
            rows=0,
            sync_id=sync_id,
        )
    to = target(write, generation=generation, sync_id=sync_id, schema=schema, stream=stream, connection=connection)
    dest.commit(to, [], at_next, entry.token)
    at = at_next
    dest.prepare(to, at, entry.token)
    for partition in plan.partitions:
        if partition.id in at.done:
            continue
        staged = lay_down(dest, to, partition.id, entry.token, rows[partition.id], schema)
        at = at.next(done=at.done | {partition.id}, rows=at.rows + staged.rows)
        dest.commit(to, [staged], at, entry.token)
    at = at.next(phase=Phase.IDLE, plan=None, write=None, done=frozenset(), position={"run": run})
    dest.commit(to, [], at, entry.token, publish=True)
    return True


def lay_down(
    dest: FilesDestination,
    to: StreamTarget,
    partition: str,
    token: int,
    rows: Sequence[Mapping[str, Any]],
    schema: StreamSchema = SCHEMA,
) -> Staged:
    writer = dest.writer(to, partition, token)
    try:
        for start in range(0, len(rows), 100):
            writer.write(batch(rows[start : start + 100], schema))
        staged = writer.seal()
    except BaseException:
        writer.abort()
        raise
    assert staged.rows + staged.quarantined == len(rows)
    return Staged.from_json(json.loads(json.dumps(staged.to_json())))


def made_rows(run: int, partition: int, count: int = 6, size: int = 4) -> list[dict[str, Any]]:
    return [{"id": run * 10_000 + partition * 1000 + i, "v": f"{run}-{i}-" + "x" * size} for i in range(count)]


def source(run: int, partitions: int = 3, count: int = 6, size: int = 4) -> dict[str, list[dict[str, Any]]]:
    return {f"p{p}": made_rows(run, p, count, size) for p in range(partitions)}


def counted(*sources: Rows) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(r.values()) for s in sources for rows in s.values() for r in rows)


def read_file(data: bytes, name: str) -> list[dict[str, Any]]:
    """The rows of a Parquet or JSON lines file."""
    if name.endswith(".parquet"):
        rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(data)).to_pylist()
        return rows
    text = gzip.decompress(data) if name.endswith(".gz") else data
    return [json.loads(line) for line in text.decode().splitlines()]


def by_manifest(dest: FilesDestination, stream: StreamName = STREAM) -> Counter[tuple[Any, ...]]:
    """The rows that a reader of the manifest sees."""
    live = dest.live_files("c", stream)
    assert live is not None
    found: Counter[tuple[Any, ...]] = Counter()
    for file in live.files:
        data = dest._store.get(file.key)
        assert data is not None, f"{file.key} is in the manifest and not in the store"
        rows = read_file(data, file.key)
        assert len(rows) == file.rows
        assert len(data) == file.bytes
        found.update(tuple(r.values()) for r in rows)
    return found


def by_folder(dest: FilesDestination, folder: str = "orders/") -> Counter[tuple[Any, ...]]:
    """The rows that a reader of the bare folder sees."""
    found: Counter[tuple[Any, ...]] = Counter()
    for info in dest._store.list(folder):
        data = dest._store.get(info.key)
        assert data is not None
        found.update(tuple(r.values()) for r in read_file(data, info.key))
    return found


def leftovers(dest: FilesDestination) -> list[str]:
    """Uploads that nobody has completed or aborted."""
    return [u.upload for u in dest._store.uploads("", stage="_syncline/c/public.orders/stage/")]


class Crash(BaseException):
    """The process is gone: nothing after it runs."""


class Step:
    """Wraps a store and acts at its n-th change, before or after it took effect."""

    CHANGES = ("put", "put_if_absent", "complete", "delete", "abort", "upload", "tidy")

    def __init__(self, store: Any, number: int, act: Callable[[], None], *, after: bool = False) -> None:
        self._store, self._number, self._act, self._after = store, number, act, after
        self._lock = threading.Lock()
        self.count = 0
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Any:
        whole = getattr(self._store, name)
        if name not in self.CHANGES:
            return whole

        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                number = self.count
                self.count += 1
                self.names.append(name)
            if number == self._number and not self._after:
                self._act()
            result = whole(*args, **options)
            if number == self._number and self._after:
                self._act()
            return result

        return call
