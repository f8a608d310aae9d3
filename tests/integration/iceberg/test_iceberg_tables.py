"""Iceberg tables beyond the contract: catalogs, others at the table, columns, small files and old snapshots, errors.

pyiceberg is the reader, and the other writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table
from tests.integration.iceberg.rest_catalog import RestCatalogServer

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

pytestmark = pytest.mark.slow


class _System:
    gaps: dict[str, str] = {}

    def __init__(self, root: Path, catalog: dict[str, str] | None = None, **config: Any) -> None:
        self.root = root
        self._config = {"path": str(root), **config}
        self._catalog = catalog or {"type": "sql", "uri": f"sqlite:///{root}/iceberg-catalog.db"}

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="iceberg", config=self._config)

    def rows(self, columns: object) -> None:
        return None

    def quarantined(self) -> int:
        return 0

    @property
    def table(self) -> Table:
        return load_catalog("syncline", **self._catalog).load_table("default.items")

    def content(self) -> dict[int, dict[str, Any]]:
        rows = self.table.scan().to_arrow().to_pylist()
        found = {row["id"]: row for row in rows}
        assert len(found) == len(rows)
        return found

    def files(self) -> set[str]:
        return {Path(each.file.file_path).name for each in self.table.scan().plan_files()}

    def on_disk(self) -> set[str]:
        return {p.name for p in (self.root / "items" / "data").glob("*.parquet")}


@pytest.fixture
def system(tmp_path: Path) -> _System:
    return _System(tmp_path / "lake")


@pytest.fixture
def flow(system: _System, tmp_path: Path) -> Iterator[Flow]:
    with closing(Flow(system, tmp_path / "work")) as opened:
        yield opened


def _load_in_files(flow: Flow, count: int, each: int) -> None:
    flow.begin(WriteMode.REPLACE, count, dedupe=True)
    for i in range(count):
        flow.commit(flow.stage(f"p{i}", made_rows(range(i * each, (i + 1) * each))))
    flow.publish()


def test_a_merge_rewrites_only_the_files_that_hold_its_keys(system: _System, flow: Flow) -> None:
    _load_in_files(flow, 5, 20)
    before = system.files()
    assert len(before) == 5
    flow.load(WriteMode.MERGE, made_rows([41, 47], "new "))
    assert len(before & system.files()) == 4
    assert len(system.files()) == 5
    rows = system.content()
    assert len(rows) == 100
    assert (rows[41]["name"], rows[47]["name"]) == ("new ", "new plain")
    assert system.on_disk() > before | system.files()  # the former ones stay for readers that have them open


def test_the_pointer_is_in_the_snapshot(system: _System, flow: Flow) -> None:
    flow.load(WriteMode.APPEND, made_rows(range(3)))
    snapshot = system.table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    said = snapshot.summary.additional_properties
    assert (int(said["syncline.token"]), int(said["syncline.sequence"])) == (flow.token, flow.checkpoint.sequence)
    assert "cursor" in said["syncline.position"]


def test_a_foreign_append_is_followed_and_kept(system: _System, flow: Flow) -> None:
    flow.load(WriteMode.REPLACE, made_rows(range(4)), dedupe=True)
    flow.begin(WriteMode.MERGE, 1)
    staged = flow.stage("p0", made_rows([2, 9], "ours "))
    foreign = system.table.scan().to_arrow().slice(0, 1)
    place = foreign.schema.get_field_index("id")
    system.table.append(foreign.set_column(place, foreign.schema.field(place), pa.array([100], pa.int64())))
    flow.commit(staged)
    flow.publish()
    assert sorted(system.content()) == [0, 1, 2, 3, 9, 100]
    assert system.content()[2]["name"] == "ours plain"


def test_a_foreign_commit_in_the_middle_of_a_merge_is_merged_over(
    system: _System, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look at the table and our commit somebody deletes a row: the merge is made anew, not put on top."""
    from syncline.connectors.iceberg.table import IcebergTable

    _load_in_files(flow, 3, 5)
    real = IcebergTable.commit
    calls: list[int] = []

    def commit(self: IcebergTable, state: Any, change: Any) -> Any:
        if change.removed and not calls:
            calls.append(1)
            system.table.delete("id = 2")
        return real(self, state, change)

    monkeypatch.setattr(IcebergTable, "commit", commit)
    flow.begin(WriteMode.MERGE, 1)
    flow.commit(flow.stage("p0", made_rows([1, 7, 50], "new ")))
    flow.publish()
    assert calls
    rows = system.content()
    assert sorted(rows) == [0, 1, *range(3, 15), 50]
    assert rows[7]["name"] == "new plain"


def test_a_foreign_commit_in_the_middle_of_a_flush_is_told(system: _System, tmp_path: Path) -> None:
    with closing(ChangeFlow(system, tmp_path / "work")) as flow:
        flow.copy([made_row(i) for i in range(5)])
        flow.apply(update({**made_row(1), "price": 9}))
        system.table.delete("id = 3")
        with pytest.raises(SynclineError) as caught:
            flow.commit()
        assert caught.value.kind is ErrorKind.CONFLICT
        assert caught.value.policy.retry
        flow.lsn -= 1
        flow.flush(update({**made_row(1), "price": 9}))
    rows = system.content()
    assert sorted(rows) == [0, 1, 2, 4]
    assert rows[1]["price"] == 9


def test_a_table_that_was_rolled_back_stops_its_stream(system: _System, flow: Flow) -> None:
    """Its rows are older than what the ledger has promised the source: nothing goes on by guessing. An attempt that was
    told so, and whatever it committed before, does not make that forgotten."""
    flow.load(WriteMode.REPLACE, made_rows(range(3)), dedupe=True)
    first = system.table.current_snapshot()
    assert first is not None
    flow.load(WriteMode.MERGE, made_rows(range(3, 6)))
    newest = system.table.current_snapshot()
    assert newest is not None
    system.table.manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    for _ in range(2):
        with pytest.raises(SynclineError, match=r"rolled the table default\.items back") as caught:
            flow.load(WriteMode.MERGE, made_rows([9]))
        assert caught.value.kind is ErrorKind.DATA
        assert str(newest.snapshot_id) in caught.value.hint
        assert "state reset" in caught.value.hint
    assert sorted(system.content()) == [0, 1, 2]

    system.table.manage_snapshots().set_current_snapshot(newest.snapshot_id).commit()  # the first way out
    flow.load(WriteMode.MERGE, made_rows([9]))
    assert sorted(system.content()) == [*range(6), 9]


def _forget(flow: Flow) -> None:
    """As ``syncline state reset`` does it."""
    flow.token = flow.destination.fence("conformance", STREAM).token
    flow.advance(position=None, phase=Phase.IDLE, plan=None, write=None, done=frozenset())


def test_a_table_that_was_rolled_back_is_copied_anew(system: _System, flow: Flow) -> None:
    """The second way out."""
    flow.load(WriteMode.REPLACE, made_rows(range(3)), dedupe=True)
    first = system.table.current_snapshot()
    assert first is not None
    flow.load(WriteMode.MERGE, made_rows(range(3, 6)))
    system.table.manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    _forget(flow)
    flow.load(WriteMode.REPLACE, made_rows(range(6)), dedupe=True)
    flow.load(WriteMode.MERGE, made_rows([9]))
    assert sorted(system.content()) == [*range(6), 9]


def test_snapshots_that_others_expired_are_not_missed(system: _System, flow: Flow) -> None:
    flow.load(WriteMode.APPEND, made_rows(range(3)))
    flow.load(WriteMode.APPEND, made_rows(range(3, 6)))
    system.table.append(system.table.scan().to_arrow().slice(0, 1))
    table = system.table
    now = table.current_snapshot()
    assert now is not None
    older = [s.snapshot_id for s in table.snapshots() if s.snapshot_id != now.snapshot_id]
    table.maintenance.expire_snapshots().by_ids(older).commit()
    assert len(system.table.snapshots()) == 1
    flow.load(WriteMode.APPEND, made_rows([9]))
    assert system.table.scan().count() == 8


def test_a_table_of_somebody_else_is_not_touched(system: _System, tmp_path: Path) -> None:
    system.root.mkdir()
    catalog = load_catalog("syncline", type="sql", uri=f"sqlite:///{system.root}/iceberg-catalog.db")
    catalog.create_namespace("default")
    location = f"file://{system.root}/theirs"
    catalog.create_table("default.items", schema=pa.schema([("id", pa.int64())]), location=location)
    with pytest.raises(SynclineError, match="did not make") as caught:
        Flow(system, tmp_path / "work")
    assert caught.value.kind is ErrorKind.CONFIG


def test_a_partitioning_of_others_is_refused_by_name(system: _System, flow: Flow) -> None:
    flow.load(WriteMode.APPEND, made_rows(range(3)))
    with system.table.update_spec() as change:
        change.add_identity("id")
    with pytest.raises(SynclineError, match="partitioning") as caught:
        flow.load(WriteMode.APPEND, made_rows([9]))
    assert caught.value.kind is ErrorKind.CONFIG


def test_columns_are_widened_and_added(system: _System, tmp_path: Path) -> None:
    narrow = (FIELDS[0], Field(name="n", type=pa.int32()), Field(name="d", type=pa.decimal128(5, 2)))
    wide = (
        FIELDS[0],
        Field(name="n", type=pa.int64()),
        Field(name="d", type=pa.decimal128(9, 4)),
        Field(name="list", type=pa.list_(pa.int32())),
    )
    with closing(Flow(system, tmp_path / "work", narrow)) as flow:
        flow.load(WriteMode.APPEND, [(1, 5, None), (2, None, None)])
    with closing(Flow(system, tmp_path / "wide", wide)) as flow:
        flow.load(WriteMode.APPEND, [(3, 2**40, None, [1, None])])
    rows = system.content()
    assert {i: r["n"] for i, r in rows.items()} == {1: 5, 2: None, 3: 2**40}
    assert rows[3]["list"] == [1, None]


def test_a_copy_brings_other_types(system: _System, tmp_path: Path) -> None:
    with closing(Flow(system, tmp_path / "work", (FIELDS[0], Field(name="n", type=pa.string())))) as flow:
        flow.load(WriteMode.REPLACE, [(1, "x"), (2, "y")])
    with closing(Flow(system, tmp_path / "again", (FIELDS[0], Field(name="n", type=pa.float64())))) as flow:
        flow.load(WriteMode.REPLACE, [(1, 0.5), (3, None)])
    assert {i: r["n"] for i, r in system.content().items()} == {1: 0.5, 3: None}


def test_small_files_are_written_together_and_old_snapshots_go(tmp_path: Path) -> None:
    system = _System(tmp_path / "lake", maintenance={"compact_files": 4, "expire_after": 0})
    with closing(Flow(system, tmp_path / "work")) as flow:
        for i in range(4):
            flow.load(WriteMode.APPEND, made_rows([i, i + 10]))
        assert len(system.content()) == 8
        assert len(system.files()) <= 4
        assert system.on_disk() == system.files()
        assert len(system.table.snapshots()) == 1
        manifests = {Path(m.manifest_path).name for m in _manifests(system.table)}
        assert {p.name for p in (system.root / "items" / "metadata").glob("*-m*.avro")} == manifests
        flow.load(WriteMode.APPEND, made_rows([99]))
    assert 99 in system.content()


def test_old_metadata_goes_with_the_commits(system: _System, flow: Flow) -> None:
    """Each version of the metadata names every snapshot: a log that is followed must not leave one per flush behind."""
    for i in range(8):
        flow.load(WriteMode.APPEND, made_rows([i]))
    table = system.table
    listed = {Path(e.metadata_file).name for e in table.metadata.metadata_log} | {Path(table.metadata_location).name}
    assert {p.name for p in (system.root / "items" / "metadata").glob("*.metadata.json")} == listed
    assert len(table.snapshots()) > len(listed)  # there were more commits than versions that are kept


def _manifests(table: Table) -> list[Any]:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.manifests(table.io)


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


# -- catalogs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[RestCatalogServer]:
    with closing(RestCatalogServer(tmp_path / "rest")) as server:
        yield server


def test_a_rest_catalog(rest: RestCatalogServer, tmp_path: Path) -> None:
    system = _rest_system(tmp_path, rest)
    with closing(Flow(system, tmp_path / "work")) as flow:
        flow.load(WriteMode.REPLACE, made_rows(range(6)), dedupe=True)
        flow.load(WriteMode.MERGE, made_rows([2, 8], "new "))
        with closing(Flow(system, tmp_path / "other")):
            pass
        with pytest.raises(SynclineError) as caught:
            flow.advance()
        assert caught.value.kind is ErrorKind.CONFLICT
    assert sorted(system.content()) == [0, 1, 2, 3, 4, 5, 8]
    assert any(each.startswith("POST /v1/namespaces/default/tables/items") for each in rest.requests)


def _rest_system(tmp_path: Path, rest: RestCatalogServer, token: str | None = None) -> _System:
    settings = {"type": "rest", "uri": rest.uri, "token": token or rest.token}
    system = _System(tmp_path / "lake", settings)
    system._config["catalog"] = settings
    return system


def test_a_token_that_has_expired(rest: RestCatalogServer, tmp_path: Path) -> None:
    system = _rest_system(tmp_path, rest)
    with closing(Flow(system, tmp_path / "work")) as flow:
        flow.load(WriteMode.APPEND, made_rows(range(2)))
        before, rest.token = rest.token, "another"
        with pytest.raises(SynclineError) as caught:
            flow.load(WriteMode.APPEND, made_rows([5]))
        assert caught.value.kind is ErrorKind.AUTH
        assert caught.value.hint
        rest.token = before
    assert sorted(system.content()) == [0, 1]


def test_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    system = _System(tmp_path / "lake")
    system._config["catalog"] = {"type": "rest", "uri": "http://127.0.0.1:9"}
    with pytest.raises(SynclineError) as caught:
        Flow(system, tmp_path / "work")
    assert caught.value.kind is ErrorKind.UNREACHABLE


def test_glue(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    keys = s3_server.credentials
    config = {
        "bucket": s3_bucket,
        "path_prefix": "lake",
        "region": s3_server.region,
        "s3_endpoint": s3_server.endpoint_url,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "catalog": {"type": "glue", "glue_endpoint": s3_server.endpoint_url},
    }
    system = _System(
        tmp_path,
        {
            "type": "glue",
            "glue.endpoint": s3_server.endpoint_url,
            "client.region": s3_server.region,
            "client.access-key-id": keys.access_key_id,
            "client.secret-access-key": keys.secret_access_key,
            "s3.endpoint": s3_server.endpoint_url,
            "s3.region": s3_server.region,
            "s3.access-key-id": keys.access_key_id,
            "s3.secret-access-key": keys.secret_access_key,
        },
    )
    system._config = config
    with closing(Flow(system, tmp_path / "work")) as flow:
        flow.load(WriteMode.REPLACE, made_rows(range(4)))
        flow.load(WriteMode.APPEND, made_rows([7]))
    assert sorted(system.content()) == [0, 1, 2, 3, 7]


def test_a_missing_bucket_is_named(s3_server: S3Server, tmp_path: Path) -> None:
    config = {
        "bucket": "there-is-none",
        "region": s3_server.region,
        "s3_endpoint": s3_server.endpoint_url,
        "access_key_id": s3_server.credentials.access_key_id,
        "secret_access_key": s3_server.credentials.secret_access_key,
        "catalog": {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"},
    }
    context = ConnectorContext(connection="c", work_dir=tmp_path)
    with closing(open_destination(ConnectorReference(type="iceberg", config=config), context)) as destination:
        (error,) = [f for f in destination.check() if f.severity is Severity.ERROR]
    assert error.kind is ErrorKind.CONFIG
    assert "there-is-none" in error.message
