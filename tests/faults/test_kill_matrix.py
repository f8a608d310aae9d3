"""Zero lost, zero doubled: the sync killed at every named step, for each destination and mode, and at random moments.

``SYNCLINE_KILL_ROUNDS`` multiplies the rounds (default 1: some 300 kills). The figures are printed at the end, and
appended to the file that ``SYNCLINE_KILL_REPORT`` names.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from tests.faults.kill_matrix import (
    COLUMNS,
    PRELOAD,
    Row,
    Scenario,
    Source,
    Tally,
    Target,
    duckdb_target,
    postgres_target,
)

from syncline.core.failpoints import PLAN_STEPS
from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server
from syncline.testing.zygote import Zygote

pytestmark = pytest.mark.faults

ROUNDS = int(os.environ.get("SYNCLINE_KILL_ROUNDS", "1"))
SEED = int(os.environ.get("SYNCLINE_KILL_SEED", "20261121"))
MODES = {
    "postgres": (
        "full_refresh_overwrite",
        "full_refresh_append",
        "full_refresh_overwrite_deduped",
        "incremental_append",
        "incremental_deduped_history",
    ),
    "duckdb": (
        "full_refresh_overwrite",
        "full_refresh_append",
        "full_refresh_overwrite_deduped",
        "incremental_append",
        "incremental_deduped_history",
    ),
    "delta": (
        "full_refresh_overwrite",
        "full_refresh_append",
        "full_refresh_overwrite_deduped",
        "incremental_append",
        "incremental_deduped_history",
    ),
    "iceberg": (
        "full_refresh_overwrite",
        "full_refresh_append",
        "full_refresh_overwrite_deduped",
        "incremental_append",
        "incremental_deduped_history",
    ),
    "local": ("full_refresh_overwrite", "full_refresh_append", "incremental_append"),
    "s3": ("full_refresh_overwrite", "full_refresh_append", "incremental_append"),
}
CASES = [(d, m, "keyed") for d, modes in MODES.items() for m in modes]
CASES += [("postgres", "full_refresh_overwrite", "keyless"), ("duckdb", "incremental_append", "keyless")]
CASES += [("local", "full_refresh_append", "keyless"), ("s3", "full_refresh_overwrite", "keyless")]
CASES += [("delta", "incremental_append", "keyless"), ("delta in s3", "incremental_deduped_history", "keyed")]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote(PRELOAD) as process:
        yield process


@pytest.fixture(scope="module")
def total() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    text = f"kill matrix: {tally}"
    print(f"\n{text}")
    if path := os.environ.get("SYNCLINE_KILL_REPORT"):  # workers' output is not shown
        with Path(path).open("a", encoding="utf-8") as report:
            report.write(text + "\n")


@pytest.mark.parametrize(("destination", "mode", "table"), CASES)
def test_killed_at_every_step(
    destination: str,
    mode: str,
    table: str,
    tmp_path: Path,
    postgres_server: PostgresServer,
    request: pytest.FixtureRequest,
    zygote: Zygote,
    total: Tally,
) -> None:
    chance = random.Random(f"{SEED} {destination} {mode} {table}")
    database = postgres_server.create_database()
    source = Source(dsn=postgres_server.dsn(database), rows=600, random=chance)
    source.create()
    target = _target(destination, tmp_path, postgres_server, request)
    scenario = Scenario(zygote, source, target, mode, table, tmp_path)
    for _ in range(ROUNDS):
        points: list[str] = [*PLAN_STEPS, "commit.inside:2", "commit.after:2", "seal.after:2", "read.first:2"]
        chance.shuffle(points)
        while points:
            several = [points.pop() for _ in range(min(len(points), chance.randint(1, 4)))]
            scenario.round(several, total)
        scenario.round([chance.uniform(0.02, 0.6) for _ in range(3)], total)


def _target(
    destination: str, tmp_path: Path, postgres_server: PostgresServer, request: pytest.FixtureRequest
) -> Target:
    if destination == "postgres":
        return postgres_target(postgres_server)
    if destination == "duckdb":
        return duckdb_target(tmp_path / "warehouse.duckdb")
    if destination == "delta":
        return _delta({"path": str(tmp_path / "lake")}, str(tmp_path / "lake"), None)
    if destination == "iceberg":
        return _iceberg(tmp_path / "lake")
    if destination == "local":
        return _files("local", {"path": str(tmp_path / "lake")}, pafs.LocalFileSystem(), str(tmp_path / "lake"))
    server: S3Server = request.getfixturevalue("s3_server")
    bucket: str = request.getfixturevalue("s3_bucket")
    config = {
        "bucket": bucket,
        "s3_bucket_region": "us-east-1",
        "s3_endpoint": server.endpoint_url,
        "access_key_id": server.credentials.access_key_id,
        "secret_access_key": server.credentials.secret_access_key,
        "path_prefix": "lake/",
    }
    if destination == "delta in s3":
        options = {
            "AWS_ENDPOINT_URL": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": server.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": server.credentials.secret_access_key,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        return _delta(config, f"s3://{bucket}/lake", options)
    files = pafs.S3FileSystem(
        endpoint_override=server.endpoint_url,
        access_key=server.credentials.access_key_id,
        secret_key=server.credentials.secret_access_key,
        region="us-east-1",
        scheme="http",
    )
    return _files("s3", config, files, f"{bucket}/lake")


def _delta(config: dict[str, Any], root: str, options: dict[str, str] | None) -> Target:
    def read(table: str) -> Iterable[tuple[Row, int]]:
        try:
            found = DeltaTable(f"{root}/{table}", storage_options=options)
        except TableNotFoundError:
            return []
        rows = found.to_pyarrow_table(columns=[*COLUMNS, "_syncline_generation"]).to_pylist()
        return [(tuple(r[c] for c in COLUMNS), r["_syncline_generation"]) for r in rows]

    small = {"checkpoint_interval": 5, "maintenance": {"compact_files": 3, "expire_after": 0}}
    return Target(name="delta", type="delta", config={**config, **small}, read=read)


def _iceberg(root: Path) -> Target:
    def read(table: str) -> Iterable[tuple[Row, int]]:
        uri = root / "iceberg-catalog.db"
        if not uri.exists():
            return []
        catalog = load_catalog("syncline", type="sql", uri=f"sqlite:///{uri}")
        try:
            found = catalog.load_table(f"default.{table}").scan(selected_fields=(*COLUMNS, "_syncline_generation"))
        except NoSuchTableError:
            return []
        finally:
            catalog.close()
        return [(tuple(r[c] for c in COLUMNS), r["_syncline_generation"]) for r in found.to_arrow().to_pylist()]

    config = {"path": str(root), "maintenance": {"compact_files": 3, "keep_versions": 5}}
    return Target(name="iceberg", type="iceberg", config=config, read=read)


def _files(kind: str, config: dict[str, Any], files: pafs.FileSystem, root: str) -> Target:
    def read(table: str) -> Iterable[tuple[Row, int]]:
        selector = pafs.FileSelector(f"{root}/{table}", recursive=True, allow_not_found=True)
        paths = [f.path for f in files.get_file_info(selector) if f.path.endswith(".parquet")]
        if not paths:
            return []
        # Readers of the bare directory converge: while a publish is unfinished they may see both generations, so the
        # newest file set is judged only through what the directory holds after the next run; see docs/destinations.
        data = ds.dataset(paths, filesystem=files, format="parquet").to_table([*COLUMNS, "_syncline_generation"])
        return [(tuple(r[c] for c in COLUMNS), r["_syncline_generation"]) for r in data.to_pylist()]

    return Target(name=kind, type=kind, config=config, read=read)
