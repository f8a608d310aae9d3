"""Iceberg keeps the contracts, on a local disk and in S3; pyiceberg's own scan is the reader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import ChangeConformance, DestinationConformance
from syncline.testing.s3_server import S3Server


class _Lake:
    gaps: dict[str, str] = {}

    def __init__(self, config: dict[str, Any], catalog: dict[str, str], files: pafs.FileSystem, root: str) -> None:
        self._reference = ConnectorReference(type="iceberg", config=config)
        self._catalog, self._files, self._root = catalog, files, root

    def reference(self) -> ConnectorReference:
        return self._reference

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]] | None:
        catalog = load_catalog("syncline", **self._catalog)
        try:
            table = catalog.load_table("default.items")
        except NoSuchTableError:
            return None
        finally:
            catalog.close()
        return [tuple(row.get(c) for c in columns) for row in table.scan().to_arrow().to_pylist()]

    def quarantined(self) -> int:
        selector = pafs.FileSelector(f"{self._root}/_syncline", recursive=True, allow_not_found=True)
        count = 0
        for info in self._files.get_file_info(selector):
            if info.is_file and "/quarantine/" in info.path:
                with self._files.open_input_stream(info.path) as stream:
                    count += sum(1 for line in stream.read().splitlines() if json.loads(line))
        return count


@pytest.fixture
def local(tmp_path: Path) -> _Lake:
    root = tmp_path / "lake"
    catalog = {"type": "sql", "uri": f"sqlite:///{root}/iceberg-catalog.db"}
    return _Lake({"path": str(root)}, catalog, pafs.LocalFileSystem(), str(root))


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> _Lake:
    keys = s3_server.credentials
    uri = f"sqlite:///{tmp_path}/catalog.db"
    config = {
        "bucket": s3_bucket,
        "path_prefix": "lake/",
        "s3_bucket_region": s3_server.region,
        "s3_endpoint": s3_server.endpoint_url,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "catalog": {"type": "sql", "uri": uri},
    }
    files = pafs.S3FileSystem(
        endpoint_override=s3_server.endpoint_url,
        access_key=keys.access_key_id,
        secret_key=keys.secret_access_key,
        region=s3_server.region,
        scheme="http",
    )
    catalog = {
        "type": "sql",
        "uri": uri,
        "s3.endpoint": s3_server.endpoint_url,
        "s3.access-key-id": keys.access_key_id,
        "s3.secret-access-key": keys.secret_access_key,
        "s3.region": s3_server.region,
    }
    return _Lake(config, catalog, files, f"{s3_bucket}/lake")


class TestIceberg(DestinationConformance):
    @pytest.fixture
    def driver(self, local: _Lake) -> _Lake:
        return local


@pytest.mark.slow
class TestIcebergChanges(ChangeConformance):
    @pytest.fixture
    def driver(self, local: _Lake) -> _Lake:
        return local


@pytest.mark.slow
class TestIcebergInS3(DestinationConformance):
    @pytest.fixture
    def driver(self, bucket: _Lake) -> _Lake:
        return bucket
