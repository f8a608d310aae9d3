"""An S3 endpoint of one's own: moto's server over HTTP, in a process of its own so that tests may kill their workers.

    with start_s3() as server:
        server.create_bucket("lake")
        server.client().put_object(Bucket="lake", Key="a", Body=b"1")

It answers for S3, IAM, STS and KMS. Until `S3Server.enforce_iam` it accepts any key; objects live in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

__all__ = ["S3Credentials", "S3Server", "serve", "start_s3"]

_STOP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class S3Credentials:
    """An access key of a user of the test endpoint."""

    access_key_id: str
    secret_access_key: str


def start_s3(*, region: str = "us-east-1") -> S3Server:
    """Start an endpoint on a free loopback port and return it; a context manager, or call `S3Server.close`."""
    return S3Server(region=region)


class S3Server:
    """A running endpoint. It ends with `close`, and by itself when the process that started it ends."""

    def __init__(self, *, region: str) -> None:
        self.region = region
        self.credentials = S3Credentials(access_key_id="testing", secret_access_key="testing")
        root = str(Path(__file__).resolve().parents[2])
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from syncline.testing.s3_server import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError("the S3 test server did not start: is moto installed (pip install 'syncline[test]')?")
        self.port = int(line)
        self.endpoint_url = f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def client(self, service: str = "s3", credentials: S3Credentials | None = None) -> Any:
        """A boto3 client for this endpoint, as the administrator or as `credentials`."""
        import boto3
        from botocore.config import Config

        chosen = credentials or self.credentials
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=chosen.access_key_id,
            aws_secret_access_key=chosen.secret_access_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, read_timeout=30),
        )

    def create_bucket(self, name: str | None = None) -> str:
        """Create a bucket and return its name; None makes one up."""
        name = name or f"bucket-{secrets.token_hex(6)}"
        where = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        self.client().create_bucket(Bucket=name, **where)
        return name

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with its objects, versions and unfinished uploads."""
        client = self.client()
        # Not by pages: the server leaves some out when what a page began after is deleted meanwhile.
        while True:
            page = client.list_object_versions(Bucket=name)
            entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            if not entries:
                break
            for entry in entries:
                client.delete_object(Bucket=name, Key=entry["Key"], VersionId=entry["VersionId"])
        for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", []):
            client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        client.delete_bucket(Bucket=name)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys of all objects under `prefix`, sorted."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

    def create_user(self, policy: Mapping[str, Any] | None = None, name: str | None = None) -> S3Credentials:
        """Create an IAM user with one inline policy (None: no rights at all) and return its access key.

        Call it before `enforce_iam`: within, the administrator has no rights either.
        """
        name = name or f"user-{secrets.token_hex(6)}"
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if policy is not None:
            iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return S3Credentials(access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])

    @contextlib.contextmanager
    def enforce_iam(self) -> Iterator[None]:
        """Within, signatures and policies are checked for every call, of whichever client; afterwards no longer."""
        self._post("/moto-api/reset-auth", "0")
        try:
            yield
        finally:
            self._post("/moto-api/reset-auth", "Infinity")

    def reset(self) -> None:
        """Forget every bucket, object, user and key."""
        self._post("/moto-api/reset", "")

    def close(self) -> None:
        """End the server; safe to call twice."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()  # the server ends when its standard input does
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, path: str, body: str) -> None:
        # Without a type urllib says "form", and moto then finds no data.
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(self.endpoint_url + path, body.encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=10):  # our own http endpoint
            pass


def serve() -> None:
    """What the server process runs: print the port, then answer until standard input ends."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.buffer.read()
    os._exit(0)  # in memory only: nothing to save, and a request under way must not hold us
