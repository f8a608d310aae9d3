"""Which files belong to a stream, which are new, and what happens when they change under us."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.integration.files_source.harness import Lake

from syncline.connectors.files import source_listing
from syncline.connectors.files.source_listing import glob_pattern
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SyncMode
from syncline.sdk.findings import Severity
from syncline.testing.s3_server import S3Server


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", globs="**/*.csv")


@pytest.mark.parametrize(
    ("glob", "matches", "misses"),
    [
        ("**/*.csv", ["a.csv", "x/a.csv", "x/y/a.csv"], ["a.csvx", "a.tsv"]),
        ("*.csv", ["a.csv"], ["x/a.csv"]),
        ("x/**", ["x/a", "x/y/b"], ["y/a"]),
        ("a?[0-9].{csv,tsv}", ["ab1.csv", "ab1.tsv"], ["abc.csv", "a/1.csv"]),
        ("[!a]*.csv", ["b.csv"], ["a.csv", "/a.csv"]),
        ("a+b(1).csv", ["a+b(1).csv"], ["aab1.csv"]),
    ],
)
def test_globs(glob: str, matches: list[str], misses: list[str]) -> None:
    pattern = glob_pattern(glob)
    assert [k for k in [*matches, *misses] if pattern.fullmatch(k)] == matches


def test_hidden_empty_and_our_own_files_do_not_count(lake: Lake) -> None:
    lake.put("a.csv", "id\n1\n")
    for key in (".b.csv", ".c/d.csv", "_syncline/e.csv", "x/_syncline/f.csv"):
        lake.put(key, "id\n2\n")
    lake.put("empty.csv", "")
    assert [r["id"] for r in lake.rows()] == [1]


def test_several_streams(lake: Lake) -> None:
    lake.put("a/1.csv", "id\n1\n")
    lake.put("b/1.jsonl", '{"id":1}\n')
    streams = [{"name": "b", "globs": "b/*.jsonl"}, {"name": "a", "globs": ["a/*.csv"], "primary_key": ["id"]}]
    config = {"path": str(lake.root), "streams": streams}
    lake.config = config
    catalog = lake.source().discover()
    assert [(str(s.name), s.primary_key) for s in catalog.streams] == [("a", ("id",)), ("b", ())]
    assert all(s.source_defined_cursor and s.dialect is None and s.kind == "file" for s in catalog.streams)


def test_increments_bring_new_and_changed_files(lake: Lake) -> None:
    lake.put("a.csv", "id\n1\n", mtime=1000)
    lake.put("b.csv", "id\n2\n", mtime=2000)
    source = lake.source()
    selected = lake.select(source)
    position = source.snapshot(selected).end
    assert source.read_since(selected, position).partitions == ()
    lake.put("same-time.csv", "id\n3\n", mtime=2000)
    lake.put("late.csv", "id\n4\n", mtime=500)  # a slow upload, or a file moved in with its times
    lake.put("a.csv", "id\n5\n6\n", mtime=3000)
    plan = source.read_since(selected, position)
    assert sorted(r["id"] for r in lake.read_plan(source, selected, plan)[0]) == [3, 4, 5, 6]
    assert source.read_since(selected, plan.end).partitions == ()
    for key in ("a.csv", "b.csv", "same-time.csv", "late.csv"):
        (lake.root / key).unlink()
    assert source.read_since(selected, plan.end).partitions == ()


def test_only_the_newest_files_are_remembered_one_by_one(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_listing, "_REMEMBERED", 2)
    for number, mtime in enumerate([1000, 2000, 2000, 2000, 3000]):
        lake.put(f"{number}.csv", f"id\n{number}\n", mtime=mtime)
    source = lake.source()
    selected = lake.select(source)
    position: dict[str, Any] = dict(source.snapshot(selected).end)
    assert list(position["keys"]) == ["1.csv", "2.csv", "3.csv", "4.csv"], "all files of the oldest time kept"
    assert (position["since"], position["mtime"]) == (
        "1970-01-01T00:33:20.000000+00:00",
        "1970-01-01T00:50:00.000000+00:00",
    )
    assert source.read_since(selected, position).partitions == ()
    lake.put("x.csv", "id\n7\n", mtime=2000)
    lake.put("y.csv", "id\n8\n", mtime=1500)
    rows, _ = lake.read_plan(source, selected, source.read_since(selected, position))
    assert [r["id"] for r in rows] == [7]


def test_partitions_are_groups_of_files(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_listing, "_PART_BYTES", 50)
    for number in range(30):
        lake.put(f"{number}.csv", f"id\n{number}\n")
    source = lake.source(primary_key="id")
    appended = source.snapshot(lake.select(source))
    assert 3 < len(appended.partitions) < 10
    assert len({p.id for p in appended.partitions}) == len(appended.partitions)
    deduped = lake.select(source, SyncMode.INCREMENTAL_DEDUPED_HISTORY)
    assert len(source.snapshot(deduped).partitions) == 1, "the newest file must be read last"
    monkeypatch.setattr(source_listing, "_PARTS", 2)
    assert len(source.snapshot(lake.select(source)).partitions) <= 4


def test_files_that_vanish_and_change(lake: Lake) -> None:
    lake.put("a.csv", "id\n1\n")
    source = lake.source()
    selected = lake.select(source)
    plan = source.snapshot(selected)
    lake.put("a.csv", "id\n1\n2\n")
    assert len(lake.read_plan(source, selected, plan)[0]) == 2, "as it is now"
    assert source.read_since(selected, plan.end).partitions, "and once more by the next increment"
    batches = source.read(selected, plan.partitions[0])
    next(batches)
    os.utime(lake.root / "a.csv", (1, 1))
    with pytest.raises(SynclineError, match="changed while it was read") as raised:
        next(batches)
    assert raised.value.kind is ErrorKind.TRANSIENT
    (lake.root / "a.csv").unlink()
    with pytest.raises(SynclineError, match="is gone") as raised:
        lake.read_plan(source, selected, plan)
    assert raised.value.kind is ErrorKind.CONFLICT


def test_columns_left_out_are_no_news_and_new_ones_are(lake: Lake) -> None:
    lake.put("a.csv", "id,v,w\n1,x,y\n")
    source = lake.source()
    whole = lake.select(source)
    narrow = type(whole)(
        stream=type(whole.stream)(name=whole.name, schema=whole.stream.schema.select(("w", "id"))),
        sync_mode=SyncMode.FULL_REFRESH_OVERWRITE,
    )
    plan = source.snapshot(narrow)
    assert lake.read_plan(source, narrow, plan)[0] == [{"id": 1, "w": "y"}]
    lake.put("a.csv", "id,v,w,new\n1,x,y,z\n")
    with pytest.raises(SynclineError, match="column 'new'") as raised:
        lake.read_plan(source, narrow, plan)
    assert raised.value.kind is ErrorKind.SCHEMA


def test_check_says_what_is_wrong(lake: Lake) -> None:
    (gone,) = lake.source().check()
    assert (gone.severity, gone.kind) == (Severity.ERROR, ErrorKind.CONFIG)
    assert "there is no folder" in gone.message
    lake.put("a.txt", "id\n1\n")
    (nothing,) = lake.source().check()
    assert "**/*.csv" in nothing.message
    with pytest.raises(SynclineError, match=r"matches \*\*/\*\.csv") as raised:
        lake.source().discover()
    assert raised.value.kind is ErrorKind.CONFIG
    lake.put("a.csv", "id\n1\n2,3\n")
    (broken,) = lake.source().check()
    assert (broken.kind, "a.csv: row 3" in broken.message) == (ErrorKind.DATA, True)
    lake.put("a.csv", "id\n1\n")
    (good,) = lake.source().check()
    assert (good.severity, good.stream) == (Severity.OK, "t")
    with pytest.raises(SynclineError, match="primary_key"):
        lake.source(primary_key="key").discover()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(lake: Lake) -> None:
    lake.put("a.csv", "id\n1\n")
    (lake.root / "a.csv").chmod(0)
    (finding,) = lake.source().check()
    assert finding.kind is ErrorKind.PERMISSION
    assert "no right to read" in finding.message


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"bucket": "b-1"}, "either path"),
        ({"globs": "*"}, "file type"),
        ({"globs": "../*.csv"}, r"\.\."),
        ({"format": {"delimiter": "ab"}}, "one ASCII character"),
        ({"format": {"encoding": "klingon"}}, "unknown encoding"),
        ({"globs": "*.parquet", "column_types": {"a": "string"}}, "column_types"),
        ({"glbs": "x"}, "globs"),
        ({"streams": [{"name": "x", "globs": "*.csv"}]}, "either streams"),
    ],
)
def test_settings_that_make_no_sense(lake: Lake, config: dict[str, Any], words: str) -> None:
    with pytest.raises(SynclineError, match=words) as raised:
        lake.source(**config)
    assert raised.value.kind is ErrorKind.CONFIG


def test_buckets_say_what_is_wrong(s3_server: S3Server, s3_bucket: str) -> None:
    lake = Lake(Path("/nowhere"))
    lake.config = {
        "bucket": s3_bucket,
        "name": "t",
        "globs": "*.csv.gz",
        "s3_endpoint": s3_server.endpoint_url,
        "region": "us-east-1",
        "access_key_id": "testing",
        "secret_access_key": "testing",
    }
    (nothing,) = lake.source().check()
    assert s3_bucket in nothing.message
    (gone,) = lake.source(bucket="no-such-bucket-here").check()
    assert gone.kind is ErrorKind.CONFIG
    s3_server.client().put_object(Bucket=s3_bucket, Key="a.csv.gz", Body=b"no gzip")
    (broken,) = lake.source().check()
    assert broken.kind is ErrorKind.DATA
