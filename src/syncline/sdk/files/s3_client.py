"""One client of S3 per way of reaching it, shared by all threads of the process."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["S3Access", "s3_client"]

#: Tries per request, with growing pauses: rides over some seconds of trouble, and a wrong port still fails quickly.
_ATTEMPTS = 4
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
#: Requests at once over all stores of the process.
_CONNECTIONS = 32


@dataclass(frozen=True, kw_only=True)
class S3Access:
    """Where a bucket is and with which key; None is filled from the AWS environment."""

    bucket: str
    region: str | None = None
    endpoint: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    addressing_style: str = "auto"


def s3_client(access: S3Access) -> Any:
    """The boto3 client for this access. Makes no request; raises ``config`` when no region is known."""
    endpoint = access.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _client(
        access,
        endpoint,
        access.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        os.environ.get("AWS_ASSUME_ROLE_EXTERNAL_ID"),
        # What boto3 reads by itself when it makes a session: part of the key, so that a changed environment counts.
        tuple(os.environ.get(name) for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
    )


@cache
def _client(
    access: S3Access, endpoint: str | None, region: str | None, external_id: str | None, environment: tuple[Any, ...]
) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ProfileNotFound

    try:
        session = boto3.Session(
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
            aws_session_token=access.session_token,
        )
    except ProfileNotFound as error:
        raise SynclineError(ErrorKind.CONFIG, str(error), hint="set AWS_PROFILE to one of ~/.aws/config") from error
    region = region or session.region_name
    if region is None and endpoint is None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"no AWS region is known for bucket {access.bucket!r}",
            hint="set s3_bucket_region, or the environment variable AWS_REGION",
            where={"bucket": access.bucket},
        )
    region = region or "us-east-1"  # services like S3 take any, but the signature wants one
    if access.role_arn:
        session = _assumed(session, access.role_arn, region, external_id)
    style = access.addressing_style
    if style == "auto" and endpoint is not None:
        style = "path"
    return session.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": style},
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=_CONNECTIONS,
            # We send Content-MD5 with every part, which every service understands; the newer trailing checksums are
            # refused by older ones.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            tcp_keepalive=True,
            user_agent_extra="syncline",
        ),
    )


def _assumed(session: Any, role_arn: str, region: str, external_id: str | None) -> Any:
    """A session with credentials of the role, renewed by themselves before they run out."""
    import boto3
    import botocore.session
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    extra = {"RoleSessionName": "syncline"}
    if external_id:
        extra["ExternalId"] = external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=lambda service, **given: session.client(service, **{"region_name": region, **given}),
        source_credentials=session.get_credentials(),
        role_arn=role_arn,
        extra_args=extra,
    )
    inner = botocore.session.get_session()
    inner._credentials = DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")
    return boto3.Session(botocore_session=inner, region_name=region)
