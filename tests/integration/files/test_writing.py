"""Local files: folders, sizes, quarantine, changing columns, and what is refused before any row is read."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from tests.integration.files.driver import (
    SCHEMA,
    STREAM,
    attempt,
    batch,
    by_folder,
    by_manifest,
    counted,
    destination,
    lay_down,
    leftovers,
    local,
    read_file,
    source,
    target,
)

from syncline.connectors.files.destination import FilesDestination
from syncline.core.batch import Batch, Misfit
from syncline.core.checkpoint import Phase, Staged
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.files.local import LocalStore, local_error
from syncline.sdk.files.log import read_manifest
from syncline.sdk.files.manifest import FileKind

PLACES = StreamSchema(
    fields=(
        Field(name="id", type=pa.int64()),
        Field(name="region", type=pa.string()),
        Field(name="level", type=pa.int32()),
        Field(name="at", type=pa.timestamp("us", tz="UTC")),
    )
)


def one_commit(dest: FilesDestination, *batches: Batch) -> Staged:
    """A new generation of one partition with these batches, committed and published."""
    at, write = dest.fence("c", STREAM), WriteMode.REPLACE
    plan = ReadPlan(id=f"p{at.token}", partitions=(Partition(id="p0", bounds={}),), end={})
    generation = at.checkpoint.generation + 1
    to = target(write, generation=generation, sync_id=f"s{generation}")
    first = at.checkpoint.next(phase=Phase.READING, plan=plan, write=write, generation=generation)
    dest.commit(to, [], first, at.token)
    dest.prepare(to, first, at.token)
    writer = dest.writer(to, "p0", at.token)
    for each in batches:
        writer.write(each)
    staged = writer.seal()
    dest.commit(to, [staged], first.next(phase=Phase.IDLE, plan=None), at.token, publish=True)
    return staged


def places() -> list[dict[str, Any]]:
    regions = ["eu", None, "", "a/b=c %é", "ü" * 60, "\ufdd0\ufdd1"]
    return [
        {
            "id": i,
            "region": regions[i % len(regions)],
            "level": [None, 7][i % 2],
            "at": datetime(2026, 1 + i % 3, 1, 23, 59, tzinfo=UTC) if i % 4 else None,
        }
        for i in range(60)
    ]


def test_folders_by_columns_hold_what_they_say(tmp_path: Path) -> None:
    config = local(tmp_path / "lake", partitioning=["region", {"field": "at", "type": "month"}, "level", "_sync_date"])
    dest = destination(config, tmp_path)
    attempt(dest, 1, {"p0": places()}, WriteMode.REPLACE, schema=PLACES)
    live = dest.live_files("c", STREAM)
    assert live is not None
    found = []
    for file in live.files:
        rows = pq.read_table(config.open_store().root / file.key, partitioning=None).to_pylist()
        assert all(set(r) == {"id", "at"} for r in rows), "identity columns live in the folder's name alone"
        level = file.values["level"]
        for row in rows:
            month = None if row["at"] is None else f"{row['at']:%Y-%m}"
            assert month == file.values["at_month"]
            assert file.values["_sync_date"] == "2026-11-21"
            part = {"region": file.values["region"], "level": None if level is None else int(level)}
            found.append({"id": row["id"], "region": part["region"], "level": part["level"], "at": row["at"]})
    assert sorted(found, key=lambda r: r["id"]) == places()
    # Others read the folder names alone. (Hive's layout has no empty text; DuckDB keeps it.)
    seen = duckdb.sql(
        f"SELECT id, region, level FROM read_parquet('{tmp_path}/lake/orders/**/*.parquet', hive_partitioning=true,"
        " hive_types={'level': INTEGER, 'region': VARCHAR}) ORDER BY id"
    ).fetchall()
    assert seen == [(r["id"], r["region"], r["level"]) for r in places()]


def test_sync_date_is_read_by_arrow_too(tmp_path: Path) -> None:
    config = local(
        tmp_path / "lake", path_prefix="bronze/erp/", partitioning=[{"field_name": "_sync_date", "type": "DATE"}]
    )
    dest = destination(config, tmp_path)
    attempt(dest, 1, source(1), WriteMode.REPLACE)
    folder = tmp_path / "lake/bronze/erp/orders"
    assert [p.name for p in folder.iterdir()] == ["_sync_date=2026-11-21"]
    data = pyarrow.dataset.dataset(folder, partitioning="hive", ignore_prefixes=["."])
    assert data.to_table().num_rows == 18
    assert set(data.to_table()["_sync_date"].to_pylist()) == {"2026-11-21"}


def test_more_folders_than_open_files(tmp_path: Path) -> None:
    config = local(tmp_path / "lake", partitioning=["id"], max_row_group_bytes=2**16)
    dest = destination(config, tmp_path / "work")
    rows = [{"id": i % 40, "v": f"{i}-" + "x" * 300} for i in range(6000)]
    attempt(dest, 1, {"p0": rows}, WriteMode.REPLACE)
    live = dest.live_files("c", STREAM)
    assert live is not None
    assert len(live.files) == 40
    found = []
    for file in live.files:
        table = pq.read_table(config.open_store().root / file.key, partitioning=None)
        found += [(int(file.values["id"] or 0), v) for v in table["v"].to_pylist()]
    assert sorted(found) == sorted((r["id"], r["v"]) for r in rows)
    assert not list((tmp_path / "work").glob("spill-*"))


@pytest.mark.parametrize("format_type", ["JSONL", "CSV"])
@pytest.mark.parametrize("codec", ["GZIP", "UNCOMPRESSED"])
def test_text_formats(tmp_path: Path, format_type: str, codec: str) -> None:
    config = local(tmp_path, format={"type": format_type, "compression": codec}, target_file_size=2000)
    dest = destination(config, tmp_path)
    rows = {"p0": [{"id": i, "v": os.urandom(20).hex()} for i in range(3000)]}
    attempt(dest, 1, rows, WriteMode.REPLACE)
    attempt(dest, 2, rows, WriteMode.APPEND)
    live = dest.live_files("c", STREAM)
    assert live is not None
    reader = "read_csv" if format_type == "CSV" else "read_json"
    files = ", ".join(f"'{url}'" for url in live.urls)
    found = duckdb.sql(f"SELECT id, v, count(*) FROM {reader}([{files}]) GROUP BY ALL ORDER BY id").fetchall()
    assert found == [(r["id"], r["v"], 2) for r in rows["p0"]]
    assert all(url.endswith(config.format.extension) for url in live.urls)


def test_files_end_at_their_size_and_row_groups_at_theirs(tmp_path: Path) -> None:
    config = local(
        tmp_path / "lake", target_file_size=200_000, max_row_group_bytes="64 KiB", format={"compression": "none"}
    )
    dest = destination(config, tmp_path)
    rows = [{"id": i, "v": os.urandom(100).hex()} for i in range(5000)]
    attempt(dest, 1, {"p0": rows}, WriteMode.REPLACE)
    live = dest.live_files("c", STREAM)
    assert live is not None
    assert len(live.files) > 3
    assert all(200_000 <= f.bytes < 400_000 for f in live.files[:-1])
    meta = pq.read_metadata(live.urls[0])
    assert meta.num_row_groups >= 3
    assert by_manifest(dest) == counted({"p0": rows})


def test_a_row_that_cannot_be_held_goes_beside(tmp_path: Path) -> None:
    config = local(tmp_path / "lake", partitioning=["v"])
    dest = destination(config, tmp_path)
    odd = batch([{"id": 1, "v": "a"}, {"id": None, "v": "b"}, {"id": 3, "v": "l" * 300}])
    misfit = Misfit(row=1, column="id", text="NaN", reason="not a number")
    staged = one_commit(dest, Batch(data=odd.data, misfits=(misfit,)))
    assert (staged.rows, staged.quarantined) == (1, 2)
    manifest = read_manifest(dest._store, "c", STREAM)
    assert manifest is not None
    beside = [f for f in manifest.live if f.kind is FileKind.QUARANTINE]
    assert [f.rows for f in beside] == [2]
    assert beside[0].key.startswith("_syncline/c/public.orders/quarantine/")
    lines = read_file(dest._store.get(beside[0].key) or b"", beside[0].key)
    assert [(r["column_name"], r["record"]["id"]) for r in lines] == [("id", "NaN"), ("v", "3")]
    assert lines[0]["reason"] == "not a number"
    live = dest.live_files("c", STREAM)
    assert live is not None
    assert [f.rows for f in live.files] == [1], "readers of the data do not meet them"

    one_commit(dest)
    assert dest._store.get(beside[0].key) is None, "it goes with its generation"


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    config = local(tmp_path / "lake", partitioning=["id"], max_row_group_bytes=2**16, target_file_size=1024)
    dest = destination(config, tmp_path / "work")
    entry = dest.fence("c", STREAM)
    writer = dest.writer(target(), "p0", entry.token)
    for start in range(0, 3000, 100):
        writer.write(batch([{"id": i % 30, "v": "x" * 200} for i in range(start, start + 100)]))
    writer.write(
        Batch(data=batch([{"id": 1, "v": ""}]).data, misfits=(Misfit(row=0, column="v", text="", reason="r"),))
    )
    assert leftovers(dest)
    writer.abort()
    writer.abort()
    assert leftovers(dest) == []
    assert not list((tmp_path / "work").glob("*"))


def test_only_our_own_older_leftovers_are_removed(tmp_path: Path) -> None:
    config = local(tmp_path / "lake")
    dead, other = destination(config, tmp_path), destination(config, tmp_path, "d")
    first = dead.fence("c", STREAM)
    lay_down(dead, target(), "p0", first.token, source(1)["p0"])
    strange = tmp_path / "lake/_syncline/c/public.orders/stage/12345678~part-0000.parquet"
    strange.write_text("somebody else's")
    theirs = other.fence("d", STREAM)
    lay_down(other, target(connection="d"), "p0", theirs.token, source(1)["p0"])

    alive = destination(config, tmp_path)
    second = alive.fence("c", STREAM)
    running = lay_down(alive, target(), "p1", second.token, source(1)["p1"])
    alive.prepare(target(), second.checkpoint, second.token)
    left = [Path(u).name.partition("~")[2] for u in leftovers(alive)]
    assert len(left) == 2
    assert "part-0000.parquet" in left
    assert running.payload["files"][0]["key"].rpartition("/")[2] in left
    assert len(list((tmp_path / "lake/_syncline/d/public.orders/stage").iterdir())) == 1


def test_lost_stages_are_told_before_anything_is_published(tmp_path: Path) -> None:
    config = local(tmp_path / "lake")
    attempt(destination(config, tmp_path), 1, source(1), WriteMode.REPLACE)
    dest = destination(config, tmp_path)
    entry = dest.fence("c", STREAM)
    plan = ReadPlan(id="x", partitions=(Partition(id="p0", bounds={}),), end={})
    to = target(generation=2)
    at = entry.checkpoint.next(phase=Phase.READING, plan=plan, write=WriteMode.REPLACE, generation=2)
    dest.commit(to, [], at, entry.token)
    at = at.next(done=frozenset({"p0"}))
    dest.commit(to, [lay_down(dest, to, "p0", entry.token, source(2)["p0"])], at, entry.token)
    shutil.rmtree(tmp_path / "lake/_syncline/c/public.orders/stage")
    with pytest.raises(SynclineError, match="1 staged files of the unfinished copy are gone") as caught:
        dest.commit(to, [], at.next(phase=Phase.IDLE, plan=None), entry.token, publish=True)
    assert "state reset" in caught.value.hint
    with pytest.raises(SynclineError, match="are gone"):
        dest.prepare(to, at, entry.token)
    assert by_manifest(dest) == by_folder(dest) == counted(source(1))


def with_type(kind: pa.DataType) -> StreamSchema:
    return StreamSchema(fields=(Field(name="id", type=kind), Field(name="v", type=pa.string())))


@pytest.mark.parametrize(
    ("before", "after", "fits"),
    [
        (pa.int32(), pa.int64(), True),
        (pa.int64(), pa.int32(), False),
        (pa.int64(), pa.string(), False),
        (pa.float32(), pa.float64(), True),
        (pa.decimal128(10, 2), pa.decimal128(12, 2), True),
        (pa.decimal128(10, 2), pa.decimal128(10, 3), False),
        (pa.list_(pa.int32()), pa.list_(pa.int64()), True),
        (pa.list_(pa.int32()), pa.int32(), False),
    ],
)
def test_a_column_may_become_wider_and_nothing_else(
    tmp_path: Path, before: pa.DataType, after: pa.DataType, fits: bool
) -> None:
    value: Any = {"double": 1.0, "float": 1.0, "string": "1"}.get(str(before), 1)
    if pa.types.is_decimal(before):
        value = Decimal(1)
    if pa.types.is_list(before):
        value = [1]
    config = local(tmp_path)
    rows = {"p0": [{"id": value, "v": "a"}]}
    attempt(destination(config, tmp_path), 1, rows, WriteMode.APPEND, schema=with_type(before))
    dest = destination(config, tmp_path)
    entry = dest.fence("c", STREAM)
    to = target(WriteMode.APPEND, generation=entry.checkpoint.generation, schema=with_type(after))
    if fits:
        dest.prepare(to, entry.checkpoint, entry.token)
        return
    with pytest.raises(SynclineError) as caught:
        dest.prepare(to, entry.checkpoint, entry.token)
    assert caught.value.kind is ErrorKind.SCHEMA
    assert "'id'" in caught.value.message
    dest.prepare(replace(to, write=WriteMode.REPLACE), entry.checkpoint, entry.token)  # a whole copy may change all


def test_columns_come_and_go(tmp_path: Path) -> None:
    dest = destination(local(tmp_path), tmp_path)
    wider = SCHEMA.extended(Field(name="more", type=pa.int32()))
    only_id = SCHEMA.select(("id",))
    attempt(dest, 1, {"p0": [{"id": 1, "v": "a"}]}, WriteMode.APPEND)
    attempt(dest, 2, {"p0": [{"id": 2, "v": "b", "more": 5}]}, WriteMode.APPEND, schema=wider)
    attempt(dest, 3, {"p0": [{"id": 3}]}, WriteMode.APPEND, schema=only_id)
    rows = duckdb.sql(
        f"SELECT id, v, more FROM read_parquet('{tmp_path}/orders/*.parquet', union_by_name=true) ORDER BY id"
    ).fetchall()
    assert rows == [(1, "a", None), (2, "b", 5), (3, None, None)]
    entry = dest.fence("c", STREAM)  # a column that was gone for a while still has its type
    retyped = only_id.extended(Field(name="more", type=pa.string()))
    with pytest.raises(SynclineError, match="'more' was int32"):
        dest.prepare(target(WriteMode.APPEND, schema=retyped), entry.checkpoint, entry.token)


@pytest.mark.parametrize(
    ("partitioning", "says"),
    [
        (["regoin"], "did you mean 'region'?"),
        (["at"], "cannot be partitioned by IDENTITY"),
        ([{"field": "region", "type": "DATE"}], "cannot be partitioned by DATE"),
        ([{"field": "_sync_date", "type": "MONTH"}], "write type: DATE"),
        (["id", "region", "level", {"field": "at", "type": "date"}], ""),
    ],
)
def test_partitioning_is_checked_before_reading(tmp_path: Path, partitioning: list[Any], says: str) -> None:
    dest = destination(local(tmp_path, partitioning=partitioning), tmp_path)
    to = target(schema=PLACES)
    errors = [f for f in dest.check([to]) if f.severity.value == "error"]
    entry = dest.fence("c", STREAM)
    if not says:
        assert errors == []
        dest.prepare(to, entry.checkpoint, entry.token)
        return
    with pytest.raises(SynclineError) as caught:
        dest.prepare(to, entry.checkpoint, entry.token)
    assert caught.value.kind is ErrorKind.CONFIG
    assert says in str(caught.value)
    assert says in f"{errors[0].message} {errors[0].hint}"


def test_streams_that_would_share_a_folder(tmp_path: Path) -> None:
    dest = destination(local(tmp_path), tmp_path)
    one, two = target(), target(stream=StreamName(namespace="sales", name="orders"))
    errors = [f for f in dest.check([one, two]) if f.severity.value == "error"]
    assert "public.orders, sales.orders" in errors[0].message
    assert "${NAMESPACE}" in errors[0].hint
    for to in (one, two):
        entry = dest.fence("c", to.stream)
        if to is one:
            dest.prepare(to, entry.checkpoint, entry.token)
            continue
        with pytest.raises(SynclineError, match="would share"):
            dest.prepare(to, entry.checkpoint, entry.token)
    apart = destination(local(tmp_path, s3_path_format="${NAMESPACE}/${STREAM_NAME}/"), tmp_path)
    assert [f.severity.value for f in apart.check([one, two])] == ["ok"]


def test_modes(tmp_path: Path) -> None:
    traits = destination(local(tmp_path), tmp_path).traits
    assert {m.value for m in traits.modes} == {"full_refresh_overwrite", "full_refresh_append", "incremental_append"}
    assert set(traits.refusals) == set(SyncMode) - traits.modes
    assert all("duckdb" in text and "Iceberg" in text for text in traits.refusals.values())


def test_a_commit_out_of_turn_is_refused(tmp_path: Path) -> None:
    dest = destination(local(tmp_path), tmp_path)
    entry = dest.fence("c", STREAM)
    for checkpoint, token in ((entry.checkpoint, entry.token), (entry.checkpoint.next(), entry.token + 1)):
        with pytest.raises(SynclineError) as caught:
            dest.commit(target(), [], checkpoint, token)
        assert caught.value.kind is ErrorKind.CONFLICT
    assert dest.committed("c", STREAM) == entry


def test_check_leaves_no_trace(tmp_path: Path) -> None:
    findings = destination(local(tmp_path / "a/b"), tmp_path).check([target()])
    assert [f.severity.value for f in findings] == ["ok"]
    assert list(tmp_path.iterdir()) == []


def test_check_tells_of_strangers_and_stand_ins(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders/old.parquet").write_text("x")
    schema = StreamSchema(fields=(Field(name="n", type=pa.decimal256(50, 2), native="numeric(50,2)"),))
    both = schema.extended(Field(name="N", type=pa.string()))
    texts = [f"{f.message} {f.hint}" for f in destination(local(tmp_path), tmp_path).check([target(schema=both)])]
    assert any("old.parquet was not written by this connection" in t for t in texts)
    assert any("numeric(50,2)) is written as exact decimal text" in t for t in texts)
    assert any("upper and lower case: n" in t for t in texts)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("no right to mount a small file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_the_old_data_stays(small_disk: Path, tmp_path: Path) -> None:
    config = local(small_disk, max_row_group_bytes="64 KiB", format={"compression": "none"})
    attempt(destination(config, tmp_path), 1, source(1), WriteMode.REPLACE)
    rows = {"p0": [{"id": i, "v": os.urandom(200).hex()} for i in range(10_000)]}
    dest = destination(config, tmp_path)
    with pytest.raises(SynclineError) as caught:
        attempt(dest, 2, rows, WriteMode.REPLACE)
    assert caught.value.kind is ErrorKind.RESOURCE
    assert "disk is full" in caught.value.message
    assert leftovers(dest) == []
    assert by_manifest(destination(config, tmp_path)) == counted(source(1))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    attempt(destination(config, tmp_path), 2, rows, WriteMode.REPLACE)
    assert by_manifest(destination(config, tmp_path)) == by_folder(dest) == counted(rows)


def test_a_read_only_file_system(small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    dest = destination(local(small_disk), tmp_path)
    assert "read-only" in next(f.message for f in dest.check() if f.severity.value == "error")
    with pytest.raises(SynclineError) as caught:
        dest.fence("c", STREAM)
    assert caught.value.kind is ErrorKind.PERMISSION


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    with pytest.raises(SynclineError) as caught:
        destination(local(tmp_path / "lake"), tmp_path).fence("c", STREAM)
    assert caught.value.kind is ErrorKind.CONFIG


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, ErrorKind.RESOURCE),
        (errno.EDQUOT, ErrorKind.RESOURCE),
        (errno.EACCES, ErrorKind.PERMISSION),
        (errno.EROFS, ErrorKind.PERMISSION),
        (errno.ENAMETOOLONG, ErrorKind.CONFIG),
        (errno.EIO, ErrorKind.TRANSIENT),
        (errno.EMFILE, ErrorKind.RESOURCE),
        (errno.EBADF, ErrorKind.INTERNAL),
    ],
)
def test_errors_of_the_system(code: int, kind: ErrorKind) -> None:
    error = local_error(OSError(code, os.strerror(code)), "/lake")
    assert error.kind is kind
    assert "/lake" in str(error)
    assert error.hint


def test_temporary_files_of_small_objects_are_tidied(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"1")
    old, new = tmp_path / "_syncline/tmp/old", tmp_path / "_syncline/tmp/new"
    old.write_text("")
    new.write_text("")
    os.utime(old, (1, 1))
    store.tidy()
    assert [p.name for p in (tmp_path / "_syncline/tmp").iterdir()] == ["new"]


def test_keys_are_listed_in_order(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    keys = ["a", "a-b", "a/1", "a/2/x", "a0", "b/c", "ab/x"]
    for key in keys:
        if key != "a":
            store.put(key, key.encode())
    found = sorted(k for k in keys if k != "a")

    def listed(prefix: str, start_after: str = "") -> list[str]:
        return [i.key for i in store.list(prefix, start_after=start_after) if not i.key.startswith("_syncline")]

    assert listed("") == found
    assert listed("a/") == ["a/1", "a/2/x"]
    assert listed("a") == [k for k in found if k.startswith("a")]
    for after in found:
        assert listed("", after) == [k for k in found if k > after]
    assert listed("a/", "a/1") == ["a/2/x"]
    assert listed("nothing/") == []
    store.copy("b/c", "z/y/x")
    assert store.get("z/y/x") == b"b/c"
    store.delete(["z/y/x", "b/c", "not there"])
    assert not (tmp_path / "z").exists()


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    """What a reader in another language needs."""
    dest = destination(local(tmp_path), tmp_path)
    attempt(dest, 1, source(1, partitions=1), WriteMode.REPLACE)
    log = sorted((tmp_path / "_syncline/c/public.orders/log").iterdir())
    body = json.loads(log[-1].read_text())
    assert body["format"] == 1
    assert body["kind"] == "mark"
    (live,) = body["manifest"]["live"]
    assert (tmp_path / live["key"]).stat().st_size == live["bytes"]
    assert live["rows"] == 6
    assert body["manifest"]["checkpoint"]["position"] == {"run": 1}
