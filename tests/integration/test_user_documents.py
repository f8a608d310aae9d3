"""The configuration of the user's first document, as written, against local counterparts: a Postgres that answers for
``erp-prod-db.aws`` and an S3 endpoint given by the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "erp-to-bronze.yaml"
BUCKET = "v1-data-lake"


@pytest.fixture
def lake(s3_server: S3Server) -> pafs.S3FileSystem:
    s3_server.create_bucket(BUCKET)
    return pafs.S3FileSystem(
        endpoint_override=s3_server.endpoint_url,
        access_key=s3_server.credentials.access_key_id,
        secret_key=s3_server.credentials.secret_access_key,
        region=s3_server.region,
        scheme="http",
    )


def test_the_erp_pipeline_runs_as_written(
    postgres_server: PostgresServer, s3_server: S3Server, lake: pafs.S3FileSystem, tmp_path: Path
) -> None:
    postgres_server.create_database("erp_db")
    with psycopg.connect(postgres_server.dsn("erp_db"), autocommit=True) as connection:
        connection.execute("CREATE TABLE erp_cust_az12 (cid text PRIMARY KEY, bdate date, gen text)")
        connection.execute("CREATE TABLE erp_loc_a101 (cid text PRIMARY KEY, cntry text)")
        connection.execute("CREATE TABLE erp_px_cat_g1v2 (id text PRIMARY KEY, cat text, subcat text)")
        connection.execute("CREATE TABLE not_selected (id int)")
        connection.execute(
            "INSERT INTO erp_cust_az12 SELECT 'C' || g, date '1950-01-01' + g, NULLIF(g % 3, 0)::text"
            " FROM generate_series(1, 1000) g"
        )
        connection.execute("INSERT INTO erp_loc_a101 SELECT 'C' || g, '' FROM generate_series(1, 500) g")
    # Only the port differs: the server of the test listens where there is room.
    text = EXAMPLE.read_text(encoding="utf-8").replace("port: 5432", f"port: {postgres_server.port}")
    project = tmp_path / "erp.yaml"
    project.write_text(text, encoding="utf-8")
    environment = {
        **os.environ,
        "PGHOSTADDR": "127.0.0.1",
        "PGUSER": "postgres",
        "PGPASSWORD": str(postgres_server.params("erp_db")["password"]),
        "AWS_ENDPOINT_URL": s3_server.endpoint_url,
        "AWS_ACCESS_KEY_ID": s3_server.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_server.credentials.secret_access_key,
        "AWS_REGION": s3_server.region,
        "SYNCLINE_HOME": str(tmp_path / "home"),
    }
    before = datetime.now(UTC).date()
    for command in ("check", "sync", "sync", "verify"):
        done = subprocess.run(
            [sys.executable, "-m", "syncline", command, str(project)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    days = {str(before), str(datetime.now(UTC).date())}
    for table, rows in (("erp_cust_az12", 1000), ("erp_loc_a101", 500)):
        folder = f"{BUCKET}/bronze/erp/{table}"
        found = _read(lake, folder)
        assert found.num_rows == rows
        assert set(map(str, found.column("_sync_date").to_pylist())) <= days
        paths = [f.path for f in lake.get_file_info(pafs.FileSelector(folder, recursive=True)) if f.is_file]
        assert all("/_sync_date=2" in path and path.endswith(".parquet") for path in paths)
        assert ds.dataset(paths[0], filesystem=lake, format="parquet").count_rows() > 0
    customers = _read(lake, f"{BUCKET}/bronze/erp/erp_cust_az12")
    assert customers.column("gen").null_count == 333
    keys = s3_server.keys(BUCKET)
    assert not any("not_selected" in key for key in keys)


def _read(lake: pafs.S3FileSystem, folder: str) -> pa.Table:
    # Unlike Spark, Athena and DuckDB, pyarrow passes over every folder that begins with an underscore, unless told.
    return ds.dataset(folder, filesystem=lake, format="parquet", partitioning="hive", ignore_prefixes=["."]).to_table()
