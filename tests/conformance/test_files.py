"""Files on a local disk and in S3 keep the contracts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import DestinationConformance
from syncline.testing.s3_server import S3Server


class _Lake:
    gaps: dict[str, str] = {}

    def __init__(self, kind: str, config: dict[str, Any], files: pafs.FileSystem, root: str) -> None:
        self._reference = ConnectorReference(type=kind, config=config)
        self._files, self._root = files, root

    def reference(self) -> ConnectorReference:
        return self._reference

    def _found(self, folder: str) -> list[str]:
        selector = pafs.FileSelector(f"{self._root}/{folder}", recursive=True, allow_not_found=True)
        return [f.path for f in self._files.get_file_info(selector) if f.is_file]

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]] | None:
        found: list[tuple[Any, ...]] = []
        for path in self._found("items"):
            rows = pq.read_table(path, filesystem=self._files, partitioning=None).to_pylist()
            found += [tuple(row.get(c) for c in columns) for row in rows]
        return found

    def quarantined(self) -> int:
        count = 0
        for path in self._found("_syncline"):
            if "quarantine" in path:
                with self._files.open_input_stream(path) as stream:
                    count += sum(1 for line in stream.read().splitlines() if json.loads(line))
        return count


class TestLocal(DestinationConformance):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> _Lake:
        root = str(tmp_path / "lake")
        return _Lake("local", {"path": root}, pafs.LocalFileSystem(), root)


class TestS3(DestinationConformance):
    @pytest.fixture
    def driver(self, s3_server: S3Server, s3_bucket: str) -> _Lake:
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
        return _Lake("s3", config, files, f"{s3_bucket}/lake")
