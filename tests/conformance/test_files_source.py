"""The source of files keeps the contracts, for each format, on a local disk and in S3."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import SourceConformance
from syncline.testing.s3_server import S3Server

Rows = list[tuple[int, str | None]]


def _encoded(ending: str, rows: Rows) -> bytes:
    text = io.StringIO()
    if ending == "parquet":
        sink = pa.BufferOutputStream()
        table = pa.table({"id": pa.array([r[0] for r in rows], pa.int64()), "name": pa.array([r[1] for r in rows])})
        pq.write_table(table.cast(pa.schema([("id", pa.int64()), ("name", pa.string())])), sink, row_group_size=100)
        return bytes(sink.getvalue())
    if ending == "jsonl":
        return b"".join(json.dumps({"id": i, "name": n}).encode() + b"\n" for i, n in rows) or b"\n"
    writer = csv.writer(text, quoting=csv.QUOTE_NOTNULL) if hasattr(csv, "QUOTE_NOTNULL") else None
    text.write("id,name\r\n")
    for number, name in rows:
        if writer is not None:
            writer.writerow([number, name])
        else:
            quoted = "" if name is None else '"' + name.replace('"', '""') + '"'
            text.write(f"{number},{quoted}\r\n")
    return gzip.compress(text.getvalue().encode())


class _Files:
    stream = "items"
    cursor_field: str | None = None

    def __init__(self, ending: str, config: dict[str, Any]) -> None:
        self._ending, self._written = ending, 0
        self.config = {"name": "items", "globs": [f"items/*.{ending}"], **config}
        if ending == "jsonl":  # without a row nothing else says what its columns are
            self.config["column_types"] = {"id": "integer", "name": "string"}

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="files", config=self.config)

    def fill(self, rows: Rows) -> None:
        half = len(rows) // 2
        self.add(rows[:half] if half else rows)
        if half:
            self.add(rows[half:])

    def add(self, rows: Rows) -> None:
        self._written += 1
        self.put(f"items/{self._written}.{self._ending}", _encoded(self._ending, rows))

    def put(self, key: str, data: bytes) -> None:
        raise NotImplementedError


class _Local(_Files):
    def __init__(self, ending: str, root: Path) -> None:
        super().__init__(ending, {"path": str(root)})
        self._root = root

    def put(self, key: str, data: bytes) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class _Bucket(_Files):
    def __init__(self, ending: str, server: S3Server, bucket: str) -> None:
        super().__init__(
            ending,
            {
                "bucket": bucket,
                "path_prefix": "lake",
                "s3_endpoint": server.endpoint_url,
                "region": server.region,
                "access_key_id": server.credentials.access_key_id,
                "secret_access_key": server.credentials.secret_access_key,
            },
        )
        self._client, self._bucket = server.client(), bucket

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=f"lake/{key}", Body=data)


class TestLocalFiles(SourceConformance):
    @pytest.fixture(params=["csv.gz", "jsonl", "parquet"])
    def driver(self, request: pytest.FixtureRequest, tmp_path: Path) -> _Files:
        return _Local(request.param, tmp_path / "lake")


class TestFilesInS3(SourceConformance):
    @pytest.fixture(params=["csv.gz", "jsonl", "parquet"])
    def driver(self, request: pytest.FixtureRequest, s3_server: S3Server, s3_bucket: str) -> _Files:
        return _Bucket(request.param, s3_server, s3_bucket)
