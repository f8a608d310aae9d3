"""Delta tables beyond the contract: which files a merge touches, others at the table, columns, small files, errors.

delta-rs is the reader, and the other writer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from syncline.core.change import Evolution
from syncline.core.checkpoint import Phase
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.findings import Severity
from syncline.sdk.reference import ConnectorReference, open_destination
from syncline.testing.conformance.changes import ChangeFlow, delete, insert, made_row, update
from syncline.testing.conformance.destination import FIELDS, STREAM, Flow, made_rows
from syncline.testing.s3_server import S3Server


class _System:
    gaps: dict[str, str] = {}

    def __init__(self, root: Path, **config: Any) -> None:
        self.root = root
        self._config = {"path": str(root), **config}

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="delta", config=self._config)

    def rows(self, columns: object) -> None:
        return None

    def quarantined(self) -> int:
        return 0

    @property
    def table(self) -> DeltaTable:
        return DeltaTable(self.root / "items")

    def content(self) -> dict[int, dict[str, Any]]:
        rows = self.table.to_pyarrow_table().to_pylist()
        found = {row["id"]: row for row in rows}
        assert len(found) == len(rows)
        return found

    def files(self) -> set[str]:
        return {Path(p).name for p in self.table.file_uris()}

    def on_disk(self) -> set[str]:
        return {p.name for p in (self.root / "items").glob("*.parquet")}


@pytest.fixture
def system(tmp_path: Path) -> _System:
    return _System(tmp_path / "lake")


@pytest.fixture
def flow(system: _System, tmp_path: Path) -> Iterator[Flow]:
    with closing(Flow(system, tmp_path / "work")) as opened:
        yield opened


def _load_in_files(flow: Flow, count: int, each: int) -> None:
    """A copy of several files, each with a range of keys of its own."""
    flow.begin(WriteMode.REPLACE, count, dedupe=True)
    for i in range(count):
        flow.commit(flow.stage(f"p{i}", made_rows(range(i * each, (i + 1) * each))))
    flow.publish()


def test_a_merge_rewrites_only_the_files_that_hold_its_keys(system: _System, flow: Flow) -> None:
    _load_in_files(flow, 5, 20)
    before = system.files()
    assert len(before) == 5
    flow.load(WriteMode.MERGE, made_rows([41, 47, 200], "new "))
    kept = before & system.files()
    assert len(kept) == 4  # the one file of keys 40 to 59 is new, and one with key 200
    assert len(system.files()) == 6
    rows = system.content()
    assert len(rows) == 101
    assert rows[41]["name"] == "new "
    assert system.on_disk() >= before | system.files()  # the former one stays for readers that have it open


def test_a_key_that_no_file_holds_opens_none(system: _System, flow: Flow) -> None:
    """Bounds say that a file may hold it; its key column says that it does not."""
    flow.load(WriteMode.REPLACE, made_rows(range(0, 40, 2)), dedupe=True)
    before = system.files()
    flow.load(WriteMode.MERGE, made_rows([7]))
    assert before < system.files()
    assert len(system.content()) == 21


def test_the_log_holds_bounds_and_checkpoints_that_others_read(tmp_path: Path) -> None:
    system = _System(tmp_path / "lake", checkpoint_interval=2)
    with closing(Flow(system, tmp_path / "work")) as flow:
        _load_in_files(flow, 3, 10)
    log = system.root / "items" / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet"))
    for commit in log.glob("*.json"):
        commit.rename(commit.with_suffix(".hidden"))  # a reader must not need what a checkpoint tells
        if int(commit.stem) > json.loads((log / "_last_checkpoint").read_text())["version"]:
            commit.with_suffix(".hidden").rename(commit)
    assert len(system.content()) == 30
    actions = pa.table(system.table.get_add_actions(flatten=True)).to_pylist()
    assert sorted((a["num_records"], a["min.id"], a["max.id"]) for a in actions) == [
        (10, 0, 9),
        (10, 10, 19),
        (10, 20, 29),
    ]
    with closing(Flow(system, tmp_path / "again")) as flow:  # and our own reading
        flow.load(WriteMode.APPEND, made_rows([77]))
    assert len(system.content()) == 31


def test_a_foreign_append_is_followed_and_kept(system: _System, flow: Flow) -> None:
    flow.load(WriteMode.REPLACE, made_rows(range(4)), dedupe=True)
    flow.begin(WriteMode.MERGE, 1)
    staged = flow.stage("p0", made_rows([2, 9], "ours "))
    foreign = system.table.to_pyarrow_table().slice(0, 1)
    place = foreign.schema.get_field_index("id")
    foreign = foreign.set_column(place, foreign.schema.field(place), pa.array([100], pa.int64()))
    write_deltalake(system.root / "items", foreign, mode="append")
    flow.commit(staged)
    flow.publish()
    assert sorted(system.content()) == [0, 1, 2, 3, 9, 100]
    assert system.content()[2]["name"] == "ours plain"


def test_a_foreign_commit_in_the_middle_of_a_merge_is_merged_over(
    system: _System, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look at the table and our commit somebody compacts it: the merge is made anew."""
    from syncline.connectors.delta.table import DeltaTable as Ours

    _load_in_files(flow, 3, 5)
    real = Ours.commit
    calls: list[int] = []

    def commit(self: Ours, state: Any, change: Any) -> Any:
        if change.removed and not calls:
            calls.append(1)
            system.table.optimize.compact()
        return real(self, state, change)

    monkeypatch.setattr(Ours, "commit", commit)
    flow.load(WriteMode.MERGE, made_rows([1, 7, 50], "new "))
    assert calls
    rows = system.content()
    assert sorted(rows) == [*range(15), 50]
    assert rows[7]["name"] == "new plain"


def test_a_foreign_commit_in_the_middle_of_a_flush_is_named(system: _System, tmp_path: Path) -> None:
    with closing(ChangeFlow(system, tmp_path / "work")) as flow:
        flow.copy([made_row(i) for i in range(5)])
        flow.apply(update({**made_row(1), "price": 9}))
        system.table.delete("id = 3")
        with pytest.raises(SynclineError) as caught:
            flow.commit()
        assert caught.value.kind is ErrorKind.CONFLICT
        assert caught.value.policy.retry
        assert "DELETE" in caught.value.message
        flow.lsn -= 1
        flow.flush(update({**made_row(1), "price": 9}))  # as the next attempt does
    rows = system.content()
    assert sorted(rows) == [0, 1, 2, 4]
    assert rows[1]["price"] == 9


def test_a_restored_table_stops_its_stream(system: _System, flow: Flow) -> None:
    """RESTORE takes rows away that the source was told are here, and leaves the ledger's transactions as they are. No
    commit that is made meanwhile (fencing, a checkpoint) makes that forgotten."""
    flow.load(WriteMode.REPLACE, made_rows(range(3)), dedupe=True)
    first = system.table.version()
    flow.load(WriteMode.MERGE, made_rows(range(3, 6)))
    newest = system.table.version()
    system.table.restore(first)
    system.table.create_checkpoint()
    for _ in range(2):
        with pytest.raises(SynclineError, match=rf"delta-rs.* back to version {first}, .* commit {newest}:") as caught:
            flow.load(WriteMode.MERGE, made_rows([9]))
        assert caught.value.kind is ErrorKind.DATA
        assert f"restore version {newest}" in caught.value.hint
        assert "state reset" in caught.value.hint
    assert sorted(system.content()) == [0, 1, 2]

    system.table.restore(newest)  # the first way out
    flow.load(WriteMode.MERGE, made_rows([9]))
    assert sorted(system.content()) == [*range(6), 9]
    system.table.restore(system.table.version() - 2)  # what is held moves on with our commits
    with pytest.raises(SynclineError, match="took the table"):
        flow.load(WriteMode.MERGE, made_rows([10]))


def _forget(flow: Flow) -> None:
    """As ``syncline state reset`` does it."""
    flow.token = flow.destination.fence("conformance", STREAM).token
    flow.advance(position=None, phase=Phase.IDLE, plan=None, write=None, done=frozenset())


def test_a_restored_table_is_copied_anew(system: _System, flow: Flow) -> None:
    """The second way out."""
    flow.load(WriteMode.REPLACE, made_rows(range(3)), dedupe=True)
    first = system.table.version()
    flow.load(WriteMode.MERGE, made_rows(range(3, 6)))
    system.table.restore(first)
    _forget(flow)
    flow.load(WriteMode.REPLACE, made_rows(range(6)), dedupe=True)
    flow.load(WriteMode.MERGE, made_rows([9]))
    assert sorted(system.content()) == [*range(6), 9]


def test_a_table_restored_while_its_log_is_followed_stops_the_stream(system: _System, tmp_path: Path) -> None:
    with closing(ChangeFlow(system, tmp_path / "work")) as flow:
        flow.copy([made_row(i) for i in range(3)])
        first = system.table.version()
        flow.flush(update({**made_row(1), "price": 9}))
        system.table.restore(first)
        with pytest.raises(SynclineError, match="back to version") as caught:
            flow.apply(insert(made_row(7)))
        assert caught.value.kind is ErrorKind.DATA
        assert "stream" in caught.value.where


@pytest.mark.parametrize("spoil", ["feature", "partitioned"])
def test_a_table_made_unwritable_by_others_is_refused_by_name(system: _System, flow: Flow, spoil: str) -> None:
    flow.load(WriteMode.APPEND, made_rows(range(3)))
    if spoil == "feature":
        system.table.alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
        named = "enableChangeDataFeed"
    else:
        data = system.table.to_pyarrow_table()
        write_deltalake(system.root / "items", data, mode="overwrite", partition_by=["name"], schema_mode="overwrite")
        named = "partitioning"
    before = system.table.version()
    with pytest.raises(SynclineError, match=named) as caught:
        flow.load(WriteMode.APPEND, made_rows([9]))
    assert caught.value.kind is ErrorKind.CONFIG
    assert system.table.version() == before


def test_a_table_of_somebody_else_is_not_touched(system: _System, tmp_path: Path) -> None:
    write_deltalake(system.root / "items", pa.table({"id": [1]}))
    with pytest.raises(SynclineError, match="did not make") as caught:
        Flow(system, tmp_path / "work")
    assert caught.value.kind is ErrorKind.CONFIG
    assert system.table.version() == 0


@pytest.mark.parametrize(("name", "says"), [("a b", "refuse"), ("x;y", "refuse"), ("ID", "same name"), ("", "empty")])
def test_refused_names_are_named_before_anything_is_made(system: _System, tmp_path: Path, name: str, says: str) -> None:
    fields = (*FIELDS, Field(name=name, type=pa.int64()))
    with closing(Flow(system, tmp_path / "work", fields)) as flow:
        found = flow.destination.check([flow.target(WriteMode.APPEND, 0)])
        assert [f.kind for f in found if f.severity is Severity.ERROR] == [ErrorKind.CONFIG]
        with pytest.raises(SynclineError, match=says) as caught:
            flow.begin(WriteMode.APPEND)
        assert caught.value.kind is ErrorKind.CONFIG
    assert not (system.root / "items").exists()


def test_columns_are_widened_in_every_file(system: _System, tmp_path: Path) -> None:
    narrow = (FIELDS[0], Field(name="n", type=pa.int16()), Field(name="d", type=pa.decimal128(5, 2)))
    wide = (FIELDS[0], Field(name="n", type=pa.int64()), Field(name="d", type=pa.decimal128(9, 4)))
    with closing(Flow(system, tmp_path / "work", narrow)) as flow:
        flow.load(WriteMode.APPEND, [(1, 5, None), (2, None, None)])
    with closing(Flow(system, tmp_path / "wide", wide)) as flow:
        flow.load(WriteMode.APPEND, [(3, 2**40, None)])
    assert {i: r["n"] for i, r in system.content().items()} == {1: 5, 2: None, 3: 2**40}
    for name in system.files():
        assert pq.read_schema(system.root / "items" / name).field("n").type == pa.int64()
    with closing(Flow(system, tmp_path / "narrow", narrow)) as flow:  # what is wide enough stays
        flow.load(WriteMode.APPEND, [(4, 1, None)])
    assert system.content()[3]["n"] == 2**40


def test_small_files_are_written_together_and_old_versions_go(tmp_path: Path) -> None:
    system = _System(tmp_path / "lake", maintenance={"compact_files": 4, "expire_after": 0}, checkpoint_interval=4)
    with closing(Flow(system, tmp_path / "work")) as flow:
        for i in range(4):
            flow.load(WriteMode.APPEND, made_rows([i, i + 10]))
        assert len(system.content()) == 8
        assert len(system.files()) <= 4
        assert system.on_disk() == system.files()
        assert "OPTIMIZE" in {h["operation"] for h in system.table.history()}
        flow.load(WriteMode.APPEND, made_rows([99]))
    assert 99 in system.content()
    assert not list((tmp_path / "lake" / "_syncline").rglob("scratch/*"))


def test_what_dead_attempts_left_is_removed(system: _System, flow: Flow, tmp_path: Path) -> None:
    flow.load(WriteMode.REPLACE, made_rows(range(3)))
    flow.begin(WriteMode.REPLACE)
    flow.commit(flow.stage("p0", made_rows(range(10))))  # hidden, and given up below
    flow.stage("p1", made_rows(range(5)))
    with closing(Flow(system, tmp_path / "second")) as second:
        second.load(WriteMode.REPLACE, made_rows(range(7)))
    assert len(system.content()) == 7
    stage = [p for p in (system.root / "_syncline").rglob("*") if p.is_file() and "/stage/" in str(p)]
    assert stage == []
    former = {r["path"] for r in _removed(system)}
    assert system.on_disk() == system.files() | former


def _removed(system: _System) -> list[dict[str, Any]]:
    found = []
    for commit in sorted((system.root / "items" / "_delta_log").glob("*.json")):
        found += [a["remove"] for line in commit.read_text().splitlines() if "remove" in (a := json.loads(line))]
    return found


def test_a_renamed_column_and_a_filled_one(system: _System, tmp_path: Path) -> None:
    with closing(ChangeFlow(system, tmp_path / "work")) as flow:
        flow.copy([made_row(i) for i in range(4)])
        flow.apply(delete(made_row(0)))
        renamed = (Field(name="title", type=f.type) if f.name == "name" else f for f in flow.fields)
        flow.fields = (*renamed, Field(name="state", type=pa.string()))
        row = {**made_row(9), "title": "t", "state": "new"}
        flow.apply(insert(row), evolution=Evolution(renamed={"title": "name"}, backfill={"state": pa.scalar("old")}))
        flow.commit()
    rows = system.content()
    assert "name" not in rows[1]
    assert (rows[2]["title"], rows[2]["state"]) == (made_row(2)["name"], "old")
    assert (rows[9]["title"], rows[9]["state"]) == ("t", "new")
    assert sorted(rows) == [1, 2, 3, 9]


def test_duckdb_reads_the_files_that_the_log_names(system: _System, flow: Flow) -> None:
    flow.load(WriteMode.REPLACE, made_rows(range(50)))
    paths = [str(system.root / "items" / name) for name in system.files()]
    found = duckdb.sql(f"SELECT count(*), max(id), count(name) FROM read_parquet({paths})").fetchone()
    assert found == (50, 49, 40)


def test_a_missing_bucket_is_named(s3_server: S3Server, tmp_path: Path) -> None:
    config = {
        "bucket": "there-is-none",
        "region": s3_server.region,
        "s3_endpoint": s3_server.endpoint_url,
        "access_key_id": s3_server.credentials.access_key_id,
        "secret_access_key": s3_server.credentials.secret_access_key,
    }
    context = ConnectorContext(connection="c", work_dir=tmp_path)
    with closing(open_destination(ConnectorReference(type="delta", config=config), context)) as destination:
        (error,) = [f for f in destination.check() if f.severity is Severity.ERROR]
    assert error.kind is ErrorKind.CONFIG
    assert "there-is-none" in error.message
    assert error.hint
