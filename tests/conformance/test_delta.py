"""Delta Lake keeps the contracts, on a local disk and in S3; delta-rs, which shares nothing with us, is the reader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import ChangeConformance, DestinationConformance
from syncline.testing.s3_server import S3Server


class _Lake:
    gaps: dict[str, str] = {}

    def __init__(self, config: dict[str, Any], url: str, files: pafs.FileSystem, root: str) -> None:
        self._reference = ConnectorReference(type="delta", config={**config, "checkpoint_interval": 3})
        self._url, self._files, self._root = url, files, root
        self.storage_options: dict[str, str] | None = None

    def reference(self) -> ConnectorReference:
        return self._reference

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]] | None:
        try:
            table = DeltaTable(f"{self._url}/items", storage_options=self.storage_options)
        except TableNotFoundError:
            return None
        return [tuple(row.get(c) for c in columns) for row in table.to_pyarrow_table().to_pylist()]

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
    root = str(tmp_path / "lake")
    return _Lake({"path": root}, root, pafs.LocalFileSystem(), root)


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: str) -> _Lake:
    keys = s3_server.credentials
    config = {
        "bucket": s3_bucket,
        "path_prefix": "lake/",
        "s3_bucket_region": s3_server.region,
        "s3_endpoint": s3_server.endpoint_url,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
    }
    files = pafs.S3FileSystem(
        endpoint_override=s3_server.endpoint_url,
        access_key=keys.access_key_id,
        secret_key=keys.secret_access_key,
        region=s3_server.region,
        scheme="http",
    )
    made = _Lake(config, f"s3://{s3_bucket}/lake", files, f"{s3_bucket}/lake")
    made.storage_options = {
        "AWS_ENDPOINT_URL": s3_server.endpoint_url,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_REGION": s3_server.region,
        "AWS_ALLOW_HTTP": "true",
    }
    return made


class TestDelta(DestinationConformance):
    @pytest.fixture
    def driver(self, local: _Lake) -> _Lake:
        return local


@pytest.mark.slow
class TestDeltaChanges(ChangeConformance):
    @pytest.fixture
    def driver(self, local: _Lake) -> _Lake:
        return local


@pytest.mark.slow
class TestDeltaInS3(DestinationConformance):
    @pytest.fixture
    def driver(self, bucket: _Lake) -> _Lake:
        return bucket


@pytest.mark.slow
class TestDeltaChangesInS3(ChangeConformance):
    @pytest.fixture
    def driver(self, bucket: _Lake) -> _Lake:
        return bucket
