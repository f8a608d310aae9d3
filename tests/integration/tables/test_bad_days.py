"""What tables in a bucket say when credentials end in the middle, or never sufficed: for both formats, by name, with
nothing lost or doubled afterwards."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.findings import Severity
from syncline.sdk.reference import ConnectorReference, open_destination
from syncline.testing.conformance.changes import ChangeFlow, insert, made_row, update
from syncline.testing.conformance.destination import Flow, made_rows
from syncline.testing.s3_server import S3Credentials, S3Server

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class _System:
    """One format in one bucket, with one key; read back by the format's own library with the administrator's."""

    kind: str
    server: S3Server
    bucket: str
    folder: Path
    key: S3Credentials
    gaps = dict[str, str]()

    def reference(self) -> ConnectorReference:
        config: dict[str, Any] = {
            "bucket": self.bucket,
            "path_prefix": "lake",
            "region": self.server.region,
            "s3_endpoint": self.server.endpoint_url,
            "access_key_id": self.key.access_key_id,
            "secret_access_key": self.key.secret_access_key,
        }
        if self.kind == "iceberg":
            config["catalog"] = {"type": "sql", "uri": self._catalog}
        return ConnectorReference(type=self.kind, config=config)

    @property
    def _catalog(self) -> str:
        return f"sqlite:///{self.folder}/catalog.db"

    def rows(self, columns: object) -> None:
        return None

    def quarantined(self) -> int:
        return 0

    def ids(self) -> list[int]:
        keys = self.server.credentials
        if self.kind == "delta":
            options = {
                "AWS_ENDPOINT_URL": self.server.endpoint_url,
                "AWS_ACCESS_KEY_ID": keys.access_key_id,
                "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
                "AWS_REGION": self.server.region,
                "AWS_ALLOW_HTTP": "true",
            }
            found = DeltaTable(f"s3://{self.bucket}/lake/items", storage_options=options).to_pyarrow_table()
        else:
            properties = {
                "s3.endpoint": self.server.endpoint_url,
                "s3.region": self.server.region,
                "s3.access-key-id": keys.access_key_id,
                "s3.secret-access-key": keys.secret_access_key,
            }
            with closing(load_catalog("syncline", type="sql", uri=self._catalog, **properties)) as catalog:
                found = catalog.load_table("default.items").scan().to_arrow()
        return sorted(found["id"].to_pylist())


@pytest.fixture(params=["delta", "iceberg"])
def system(request: pytest.FixtureRequest, s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> _System:
    # A key that the server takes as long as it looks at none; within `enforce_iam` it is one that was deleted.
    key = S3Credentials(access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="of-another-day")
    return _System(request.param, s3_server, s3_bucket, tmp_path, key)


def test_credentials_that_end_in_the_middle_of_a_copy(system: _System, tmp_path: Path) -> None:
    """Between two partitions, while one is written, and at its commit: named, final for a person, and nothing doubled
    once the key is valid again."""
    with closing(Flow(system, tmp_path / "work")) as flow:
        flow.begin(WriteMode.APPEND, 3)
        flow.commit(flow.stage("p0", made_rows([0, 1])))
        with system.server.enforce_iam(), pytest.raises(SynclineError) as caught:
            flow.stage("p1", made_rows([2, 3]))
        _ensure_named(caught.value)
        staged = flow.stage("p1", made_rows([2, 3]))
        with system.server.enforce_iam(), pytest.raises(SynclineError) as caught:
            flow.commit(staged)
        _ensure_named(caught.value)
    with closing(Flow(system, tmp_path / "next")) as flow:  # the next attempt goes on from the ledger
        assert flow.checkpoint.done == {"p0"}
        flow.now = flow.target(WriteMode.APPEND, flow.checkpoint.generation)
        flow.destination.prepare(flow.now, flow.checkpoint, flow.token)
        flow.commit(flow.stage("p1", made_rows([2, 3])))
        flow.commit(flow.stage("p2", made_rows([4])))
        flow.publish()
    assert system.ids() == [0, 1, 2, 3, 4]


def test_credentials_that_end_while_a_log_is_followed(system: _System, tmp_path: Path) -> None:
    with closing(ChangeFlow(system, tmp_path / "work")) as flow:
        flow.copy([made_row(i) for i in range(4)])
        flow.apply(update({**made_row(1), "price": 9}), insert(made_row(7)))
        with system.server.enforce_iam(), pytest.raises(SynclineError) as caught:
            flow.commit()
        _ensure_named(caught.value)
    with closing(ChangeFlow(system, tmp_path / "next")) as flow:
        flow.flush(update({**made_row(1), "price": 9}), insert(made_row(7)))
    assert system.ids() == [0, 1, 2, 3, 7]


def _ensure_named(error: SynclineError) -> None:
    assert error.kind is ErrorKind.AUTH, error
    assert error.hint
    assert not error.policy.retry


def test_a_key_that_may_only_read_is_told_what_to_grant(system: _System, tmp_path: Path) -> None:
    arn = f"arn:aws:s3:::{system.bucket}"
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": [arn, f"{arn}/*"]}],
    }
    reader = replace(system, key=system.server.create_user(policy))
    context = ConnectorContext(connection="c", work_dir=tmp_path)
    with system.server.enforce_iam(), closing(open_destination(reader.reference(), context)) as destination:
        (error,) = [f for f in destination.check() if f.severity is Severity.ERROR]
    assert error.kind is ErrorKind.PERMISSION
    assert "s3:PutObject" in f"{error.message} {error.hint}"
