"""The same table and project, copied to files: plain ones and tables, in a folder or in a bucket."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyiceberg.catalog.sql import SqlCatalog
from tests.integration.quality.pipe import Pipe

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server

__all__ = ["KINDS", "LakePipe"]

KINDS = ("local", "s3", "delta", "delta-s3", "iceberg")


class LakePipe(Pipe):
    """``kind`` is one of :data:`KINDS`."""

    def __init__(
        self, server: PostgresServer, database: str, folder: Path, kind: str, s3: S3Server, bucket: str
    ) -> None:
        super().__init__(server, database, folder, kind)
        self._s3, self._bucket = s3, bucket

    def into(self) -> dict[str, Any]:
        kind = self.kind.removesuffix("-s3")
        config: dict[str, Any] = {"path": str(self.folder / "lake")}
        if self.kind.endswith("s3"):
            key = self._s3.credentials
            config = {
                "s3_bucket_name": self._bucket,
                "s3_bucket_path": "lake",
                "s3_bucket_region": self._s3.region,
                "s3_endpoint": self._s3.endpoint_url,
                "access_key_id": key.access_key_id,
                "secret_access_key": key.secret_access_key,
            }
        if kind in ("local", "s3"):
            config["format"] = {"format_type": "Parquet"}
        return {"type": kind, "config": config}

    def visible(self, columns: Sequence[str] = ("cid", "email")) -> list[tuple[Any, ...]]:
        """What a reader of the lake sees, by readers that are not ours."""
        rows = self._table().select(list(columns)).to_pylist()
        return sorted((tuple(row[name] for name in columns) for row in rows), key=lambda row: row[0])

    def _table(self) -> pa.Table:
        lake = self.folder / "lake"
        if self.kind == "delta":
            return DeltaTable(str(lake / "customers")).to_pyarrow_table()
        if self.kind == "delta-s3":
            key = self._s3.credentials
            options = {
                "AWS_ACCESS_KEY_ID": key.access_key_id,
                "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
                "AWS_REGION": self._s3.region,
                "AWS_ENDPOINT_URL": self._s3.endpoint_url,
                "AWS_ALLOW_HTTP": "true",
            }
            return DeltaTable(f"s3://{self._bucket}/lake/customers", storage_options=options).to_pyarrow_table()
        if self.kind == "iceberg":
            catalog = SqlCatalog("syncline", uri=f"sqlite:///{lake}/iceberg-catalog.db", warehouse=str(lake))
            try:
                (name,) = [t for space in catalog.list_namespaces() for t in catalog.list_tables(space)]
                return catalog.load_table(name).scan().to_arrow()
            finally:
                catalog.close()
        if self.kind == "s3":
            found = self._s3.client().list_objects_v2(Bucket=self._bucket, Prefix="lake/")["Contents"]
            keys = [o["Key"] for o in found if o["Key"].endswith(".parquet") and "/_syncline/" not in o["Key"]]
            bodies = [self._s3.client().get_object(Bucket=self._bucket, Key=k)["Body"].read() for k in keys]
            return pa.concat_tables([pq.read_table(io.BytesIO(body)) for body in bodies])
        return pa.concat_tables([pq.read_table(p) for p in lake.rglob("customers/*.parquet")])
