"""Files in S3: what check finds, rights that are missing, servers that do less, lifecycle rules that are not ours."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError
from tests.integration.files.driver import (
    SCHEMA,
    STREAM,
    attempt,
    batch,
    by_folder,
    by_manifest,
    counted,
    destination,
    leftovers,
    s3,
    source,
    target,
)

from syncline.connectors.files import S3_DESTINATION
from syncline.connectors.files.config import LifecycleRule
from syncline.connectors.files.lifecycle import apply_lifecycle
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.files.s3 import S3Store
from syncline.sdk.files.s3_client import S3Access
from syncline.sdk.files.s3_errors import ACTIONS, policy
from syncline.sdk.findings import Finding
from syncline.testing.s3_server import S3Credentials, S3Server

KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-1111-1111-1111-111111111111"


def errors(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.severity.value == "error"]


def as_user(config: Any, user: S3Credentials) -> Any:
    return type(config).model_validate(
        {
            **config.model_dump(exclude_unset=True, by_alias=False, exclude={"access_key_id", "secret_access_key"}),
            "access_key_id": user.access_key_id,
            "secret_access_key": user.secret_access_key,
        }
    )


def test_all_formats_and_both_modes(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    for number, format_type in enumerate(("Parquet", "JSONL")):
        config = s3(s3_server, s3_bucket, f"f{number}/", format={"format_type": format_type})
        dest = destination(config, tmp_path)
        attempt(dest, 1, source(1), WriteMode.REPLACE)
        attempt(dest, 2, source(2), WriteMode.APPEND)
        assert by_manifest(dest) == by_folder(dest) == counted(source(1), source(2))


def test_files_of_several_parts(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    config = s3(s3_server, s3_bucket, format={"compression": "uncompressed"}, max_row_group_bytes="1 MiB")
    dest = destination(config, tmp_path)
    rows = {"p0": [{"id": i, "v": os.urandom(5000).hex()} for i in range(2500)]}  # 25 MB
    attempt(dest, 1, rows, WriteMode.REPLACE)
    (file,) = dest.live_files("c", STREAM).files
    tag = s3_server.client().head_object(Bucket=s3_bucket, Key=f"bronze/{file.key}")["ETag"]
    assert tag.endswith('-3"'), tag
    assert by_manifest(dest) == counted(rows)
    import pyarrow.parquet as pq

    table = pq.read_table(dest._store.open_input(file.key), columns=["id"])  # ranges of the object only
    assert table["id"].to_pylist() == list(range(2500))


def test_many_folders_go_through_the_work_directory(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    config = s3(s3_server, s3_bucket, partitioning=["id"], max_row_group_bytes=2**16, format={"type": "jsonl"})
    dest = destination(config, tmp_path)
    rows = {"p0": [{"id": i % 20, "v": "x" * 300} for i in range(2000)]}
    attempt(dest, 1, rows, WriteMode.REPLACE)
    live = dest.live_files("c", STREAM)
    assert live is not None
    assert sorted(int(f.values["id"] or 0) for f in live.files) == list(range(20))
    assert all(f.rows == 100 for f in live.files)
    assert list(tmp_path.iterdir()) == []


def test_check_of_a_good_bucket(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    dest = destination(s3(s3_server, s3_bucket, encryption={"type": "KMS", "key_arn": KEY}), tmp_path)
    assert {f.severity.value for f in dest.check([target()])} == {"ok"}
    assert s3_server.keys(s3_bucket) == []
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=s3_bucket)


def test_everything_is_encrypted(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    for number, encryption in enumerate(({"type": "kms", "key_arn": KEY}, {"type": "AES256"})):
        prefix = f"e{number}/"
        dest = destination(s3(s3_server, s3_bucket, prefix, encryption=encryption), tmp_path)
        attempt(dest, 1, source(1), WriteMode.REPLACE)
        keys = s3_server.keys(s3_bucket, prefix)
        assert len(keys) > 6
        for key in keys:
            head = s3_server.client().head_object(Bucket=s3_bucket, Key=key)
            assert head["ServerSideEncryption"] == ("aws:kms" if number == 0 else "AES256"), key
            assert number == 1 or head["SSEKMSKeyId"] == KEY


def test_a_missing_bucket(s3_server: S3Server, tmp_path: Path) -> None:
    dest = destination(s3(s3_server, "no-such-bucket"), tmp_path)
    (error,) = errors(dest.check())
    assert error.kind is ErrorKind.CONFIG
    assert "no bucket 'no-such-bucket'" in error.message
    assert "aws s3 mb" in error.hint
    with pytest.raises(SynclineError, match="no bucket"):
        dest.fence("c", STREAM)


def test_an_endpoint_that_nobody_serves(s3_server: S3Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    config = s3(s3_server, "lake").model_copy(update={"s3_endpoint": url})
    (error,) = errors(destination(config, tmp_path).check())
    assert error.kind is ErrorKind.UNREACHABLE
    assert url in error.message


def test_no_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    store = S3Store(S3Access(bucket="lake"))
    with pytest.raises(SynclineError, match="no AWS region is known") as caught:
        store.get("x")
    assert "AWS_REGION" in caught.value.hint
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert S3Store(S3Access(bucket="lake")).client.meta.region_name == "eu-west-1"


def test_no_credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = S3Store(S3Access(bucket="lake", endpoint=s3_server.endpoint_url))
    with pytest.raises(SynclineError) as caught:
        store.get("x")
    assert caught.value.kind is ErrorKind.AUTH
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_all_from_the_environment(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    config = S3_DESTINATION.config_model().model_validate({"bucket": s3_bucket, "path_prefix": "bronze/erp/"})
    dest: Any = S3_DESTINATION.make_destination(config, ConnectorContext(connection="c", work_dir=tmp_path))
    attempt(dest, 1, source(1), WriteMode.REPLACE)
    assert by_manifest(dest) == counted(source(1))
    assert any(k.startswith("bronze/erp/orders/s1_") for k in s3_server.keys(s3_bucket))


def test_the_least_policy_is_enough_and_each_right_is_needed(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    config = s3(s3_server, s3_bucket, "bronze/erp/")
    least = policy(s3_bucket, "bronze/erp/")
    enough = s3_server.create_user(least)
    lacking: dict[str, S3Credentials] = {}
    for statement in least["Statement"]:
        for action in statement["Action"]:
            fewer = json.loads(json.dumps(least))
            for each in fewer["Statement"]:
                each["Action"] = [a for a in each["Action"] if a != action]
            lacking[action] = s3_server.create_user(fewer)
    nobody = s3_server.create_user()
    with s3_server.enforce_iam():
        dest = destination(as_user(config, enough), tmp_path)
        assert {f.severity.value for f in dest.check()} == {"ok"}
        attempt(dest, 1, source(1), WriteMode.REPLACE)
        attempt(dest, 2, source(2), WriteMode.REPLACE)
        assert by_manifest(dest) == by_folder(dest) == counted(source(2))
        for action, user in lacking.items():
            found = destination(as_user(config, user), tmp_path).check()
            denied = errors(found)
            assert denied, f"without {action} check says that all is well"
            assert all(f.kind is ErrorKind.PERMISSION for f in denied)
            assert any(f"grant {action} on arn:aws:s3:::{s3_bucket}" in f.hint for f in denied), (action, denied)
            assert any(json.dumps(least) == f.hint for f in found), "the whole policy is offered"
        with pytest.raises(SynclineError) as caught:
            destination(as_user(config, nobody), tmp_path).fence("c", STREAM)
        assert caught.value.kind is ErrorKind.PERMISSION
        assert "s3:GetObject" in caught.value.hint


def test_another_prefix_is_denied(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    user = s3_server.create_user(policy(s3_bucket, "silver/"))
    with s3_server.enforce_iam():
        found = errors(destination(as_user(s3(s3_server, s3_bucket, "bronze/"), user), tmp_path).check())
    assert found
    assert f"s3:PutObject on arn:aws:s3:::{s3_bucket}/bronze/*" in found[0].hint


def test_a_wrong_secret_and_an_unknown_key(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    user = s3_server.create_user(policy(s3_bucket, "bronze/"))
    config = s3(s3_server, s3_bucket)
    wrong = S3Credentials(access_key_id=user.access_key_id, secret_access_key="not-the-secret")
    unknown = S3Credentials(access_key_id="AKIAUNKNOWN000000000", secret_access_key="x")
    with s3_server.enforce_iam():
        for credentials in (wrong, unknown):
            (error,) = errors(destination(as_user(config, credentials), tmp_path).check())
            assert error.kind is ErrorKind.AUTH, error
            assert "not-the-secret" not in error.message + error.hint


def test_a_role(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    iam = s3_server.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
    role = iam.create_role(RoleName=f"writer-{s3_bucket}", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    iam.put_role_policy(
        RoleName=role["RoleName"], PolicyName="p", PolicyDocument=json.dumps(policy(s3_bucket, "bronze/"))
    )
    user = s3_server.create_user(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role["Arn"]}],
        }
    )
    config = as_user(s3(s3_server, s3_bucket, role_arn=role["Arn"]), user)
    stranger = as_user(s3(s3_server, s3_bucket, role_arn=role["Arn"]), s3_server.create_user())
    with s3_server.enforce_iam():
        dest = destination(config, tmp_path)
        assert errors(dest.check()) == []
        attempt(dest, 1, source(1), WriteMode.REPLACE)
        assert by_manifest(dest) == counted(source(1))
        (error,) = errors(destination(stranger, tmp_path).check())
        assert error.kind is ErrorKind.AUTH
        assert "sts:AssumeRole" in error.hint


class ForgetsConditions:
    """A server that takes If-None-Match and does not heed it, as some do."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._store.put(key, data)
        return True


def test_a_server_without_conditional_writes_is_refused(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    dest = destination(s3(s3_server, s3_bucket), tmp_path)
    dest._store = ForgetsConditions(dest._store)  # type: ignore[arg-type]
    (error,) = errors(dest.check())
    assert error.kind is ErrorKind.CONFIG
    assert "ignores If-None-Match" in error.message


def test_two_puts_of_one_key(s3_server: S3Server, s3_bucket: str) -> None:
    store = s3(s3_server, s3_bucket).open_bucket("x/")
    assert store.put_if_absent("k", b"1")
    assert not store.put_if_absent("k", b"2")
    assert store.get("k") == b"1"


def test_an_upload_whose_parts_fail_says_why(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    config = s3(s3_server, s3_bucket, max_row_group_bytes="1 MiB", format={"compression": "none"})
    dest = destination(config, tmp_path)
    entry = dest.fence("c", STREAM)
    writer = dest.writer(target(), "p0", entry.token)
    rows = [{"id": i, "v": os.urandom(5000).hex()} for i in range(100)]

    def write(times: int) -> None:
        for _ in range(times):
            writer.write(batch(rows))

    write(3)
    s3_server.client().list_buckets()  # the server is well; only the right goes
    user = s3_server.create_user()
    denied = as_user(config, user)
    dest._store._access = denied.open_bucket()._access  # type: ignore[attr-defined]

    def rest() -> None:
        write(40)
        writer.seal()

    with s3_server.enforce_iam(), pytest.raises(SynclineError) as caught:
        rest()
    writer.abort()
    assert caught.value.kind is ErrorKind.PERMISSION
    assert "s3:PutObject" in caught.value.hint
    assert len(leftovers(dest)) <= 1, "what could not be aborted without the right, the next attempt aborts"
    again = destination(config, tmp_path)
    attempt(again, 1, source(1), WriteMode.REPLACE)
    assert leftovers(again) == []


def test_an_upload_completed_twice(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    store = s3(s3_server, s3_bucket).open_bucket("x/")
    upload = store.upload("a/b", stage="")
    upload.sink.write(b"hello")
    staged = upload.finish()
    assert store.get("a/b") is None
    store.complete(staged)
    store.complete(staged)
    assert store.get("a/b") == b"hello"
    store.delete(["a/b"])
    with pytest.raises(SynclineError) as caught:
        store.complete(staged)
    # The S3 of the tests answers 500 where S3 answers NoSuchUpload.
    assert caught.value.kind in (ErrorKind.DATA, ErrorKind.TRANSIENT)


def test_objects_by_pages(s3_server: S3Server, s3_bucket: str) -> None:
    store = s3(s3_server, s3_bucket).open_bucket("x/")
    keys = [f"k{i:04}" for i in range(25)]
    for key in keys:
        store.put(key, b"")
    pages = []

    def of_ten(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = 10
        pages.append(params.get("ContinuationToken"))

    name = "before-parameter-build.s3.ListObjectsV2"
    store.client.meta.events.register(name, of_ten)
    try:
        assert [i.key for i in store.list("k")] == keys
        assert len(pages) == 3
        assert [i.key for i in store.list("k", start_after="k0003")] == keys[4:]
    finally:
        store.client.meta.events.unregister(name, of_ten)
    store.delete(keys)
    assert list(store.list("")) == []


def test_an_object_that_changes_while_it_is_read(s3_server: S3Server, s3_bucket: str) -> None:
    store = s3(s3_server, s3_bucket).open_bucket("x/")
    store.put("a", bytes(range(256)) * 100_000)
    file = store.open_input("a")
    assert file.size() == 25_600_000
    file.seek(255)
    assert file.read(3) == b"\xff\x00\x01"
    assert file.read(1) == b"\x02"
    store.put("a", b"short")
    file.seek(20_000_000)
    with pytest.raises(SynclineError, match="changed while it was read"):
        file.read(10)


USERS = [
    {"ID": "users", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}},
    {
        "ID": "syncline-erp-x-1",
        "Status": "Enabled",
        "Filter": {"Prefix": "other/"},
        "Transitions": [{"Days": 60, "StorageClass": "STANDARD_IA"}],
    },
    {"ID": "syncline-erp-nonsense", "Status": "Disabled", "Filter": {"Prefix": "z/"}, "Expiration": {"Days": 9}},
]


def rules(server: S3Server, bucket: str) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    try:
        found = server.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except ClientError:
        return {}
    return {rule["ID"]: rule for rule in found}


def test_lifecycle_rules_are_ours_beside_the_users(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    client = s3_server.client()
    client.put_bucket_lifecycle_configuration(Bucket=s3_bucket, LifecycleConfiguration={"Rules": USERS})
    before = rules(s3_server, s3_bucket)
    wanted = [
        {"prefix": "bronze/orders/", "transition_days": 30, "storage_class": "GLACIER", "expire_days": 365},
        {"prefix": "bronze/notes/", "expire_days": 10},
    ]
    config = s3(s3_server, s3_bucket, "bronze/", lifecycle=wanted)
    dest = destination(config, tmp_path, "erp")
    entry = dest.fence("erp", STREAM)
    dest.prepare(target(connection="erp"), entry.checkpoint, entry.token)
    found = rules(s3_server, s3_bucket)
    assert {k: found[k] for k in before} == before
    ours = {k: v for k, v in found.items() if k not in before}
    assert set(ours) == {"syncline-erp-1", "syncline-erp-2"}
    assert ours["syncline-erp-1"]["Transitions"] == [{"Days": 30, "StorageClass": "GLACIER"}]
    assert ours["syncline-erp-1"]["Expiration"] == {"Days": 365}
    assert ours["syncline-erp-2"]["Filter"] == {"Prefix": "bronze/notes/"}

    store = config.open_bucket("bronze/")
    assert apply_lifecycle(store, config.lifecycle, "erp") is False, "a second time changes nothing"
    assert apply_lifecycle(store, config.lifecycle[:1], "erp") is True
    assert set(rules(s3_server, s3_bucket)) == {*before, "syncline-erp-1"}
    assert apply_lifecycle(store, (), "erp") is True
    assert rules(s3_server, s3_bucket) == before


def test_the_last_rule_goes_with_the_configuration(s3_server: S3Server, s3_bucket: str) -> None:
    store = s3(s3_server, s3_bucket).open_bucket("bronze/")
    rule = LifecycleRule(prefix="bronze/orders/", expire_days=3)
    assert apply_lifecycle(store, [rule], "erp") is True
    assert apply_lifecycle(store, [], "erp") is True
    assert rules(s3_server, s3_bucket) == {}


def test_rules_are_not_looked_at_unless_asked_for(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    user = s3_server.create_user(policy(s3_bucket, "bronze/"))
    rule = [{"prefix": "bronze/orders/", "expire_days": 30}]
    with s3_server.enforce_iam():
        attempt(destination(as_user(s3(s3_server, s3_bucket), user), tmp_path), 1, source(1), WriteMode.REPLACE)
        asking = destination(as_user(s3(s3_server, s3_bucket, lifecycle=rule), user), tmp_path)
        denied = errors(asking.check())
        assert "s3:GetLifecycleConfiguration" in denied[0].hint
        with pytest.raises(SynclineError, match="was denied"):
            attempt(asking, 2, source(2), WriteMode.REPLACE)
        granted = policy(s3_bucket, "bronze/", lifecycle=True)
    allowed = s3_server.create_user(granted)
    with s3_server.enforce_iam():
        dest = destination(as_user(s3(s3_server, s3_bucket, lifecycle=rule), allowed), tmp_path)
        attempt(dest, 2, source(2), WriteMode.REPLACE)
    assert set(rules(s3_server, s3_bucket)) == {"syncline-c-1"}


def test_rules_of_others_that_harm_us_are_told(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    harmful = [
        {
            "ID": "hasty",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
        {
            "ID": "MoveToGlacierAfter30Days",
            "Status": "Enabled",
            "Filter": {"Prefix": "bronze/"},
            "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}],
        },
        {"ID": "short", "Status": "Enabled", "Filter": {"Prefix": "bronze/erp/"}, "Expiration": {"Days": 5}},
        {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": "bronze/erp/"}, "Expiration": {"Days": 5}},
        {"ID": "elsewhere", "Status": "Enabled", "Filter": {"Prefix": "silver/"}, "Expiration": {"Days": 5}},
    ]
    s3_server.client().put_bucket_lifecycle_configuration(Bucket=s3_bucket, LifecycleConfiguration={"Rules": harmful})
    found = destination(s3(s3_server, s3_bucket, "bronze/erp/"), tmp_path).check()
    texts = [f.message for f in found if f.severity.value == "warning"]
    assert [next(n for n in ("hasty", "MoveToGlacier", "short", "off", "elsewhere") if n in t) for t in texts] == [
        "hasty",
        "MoveToGlacier",
        "short",
    ]
    assert errors(found) == []


def test_every_call_has_its_action() -> None:
    made = policy("b", "p/", key_arn=KEY, lifecycle=True)
    granted = {a for s in made["Statement"] for a in s["Action"]}
    assert granted - {"kms:GenerateDataKey", "kms:Decrypt"} <= {action for action, _ in ACTIONS.values()}
    assert made["Statement"][1]["Resource"] == "arn:aws:s3:::b/p/*"


def test_a_bucket_name_that_is_none() -> None:
    with pytest.raises(ValidationError):
        S3_DESTINATION.config_model().model_validate({"bucket": "x"})


def test_schema_of_the_configuration_can_be_shown() -> None:
    shown = S3_DESTINATION.config_model().model_json_schema()
    assert {"s3_bucket_name", "format", "partitioning", "encryption", "lifecycle"} <= set(shown["properties"])
    assert SCHEMA.arrow() == pa.schema([("id", pa.int64()), ("v", pa.string())])
