"""Files through a bucket: written, listed, removed, and what is said when that cannot be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials

from syncline.connectors.bigquery.bucket import Bucket
from syncline.connectors.bigquery.config import BucketLoading
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.bucket_server import BucketServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BucketServer]:
    with BucketServer(tmp_path / "buckets") as running:
        running.create_bucket("here")
        yield running


def bucket_of(server: BucketServer, name: str = "here", path: str = "a/b") -> Bucket:
    config = BucketLoading(method="GCS Staging", bucket=name, path=path, endpoint=server.endpoint)
    return Bucket(config, AnonymousCredentials())


def test_objects_come_and_go(server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncline.connectors.bigquery.bucket._CHUNK", 256 << 10)
    large, empty = tmp_path / "large", tmp_path / "empty"
    large.write_bytes(bytes(range(256)) * 4000)
    empty.touch()
    with closing(bucket_of(server)) as bucket:
        assert bucket.put(large, "x_1/ünï 1") == "gs://here/a/b/x_1/ünï 1"
        for name in ("x_1/2", "x_2/1"):
            bucket.put(empty, name)
        assert (server.root / "here/a/b/x_1/ünï 1").read_bytes() == large.read_bytes()
        assert list(bucket.names("x_1")) == ["x_1/2", "x_1/ünï 1"]
        for name in ("x_1/ünï 1", "x_1/2", "x_1/2"):
            bucket.delete(name)
    assert server.objects("here") == ["a/b/x_2/1"]


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (404, ErrorKind.CONFIG, "there is no bucket here"),
        (403, ErrorKind.PERMISSION, "may not write gs://here/a/b/x"),
        (401, ErrorKind.AUTH, "cannot be refreshed"),
        (400, ErrorKind.CONFIG, "status 400"),
    ],
)
def test_what_is_refused(server: BucketServer, tmp_path: Path, status: int, kind: ErrorKind, said: str) -> None:
    file = tmp_path / "file"
    file.touch()
    server.refuse = status
    with closing(bucket_of(server)) as bucket:
        with pytest.raises(SynclineError, match=said) as caught:
            bucket.put(file, "x")
        assert caught.value.kind is kind
        with pytest.raises(SynclineError) as caught:
            list(bucket.names("x"))
        assert caught.value.kind is kind
