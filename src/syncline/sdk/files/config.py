"""Settings of a connection to S3, shared by all that keep files there, and how to open the store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, field_validator, model_validator

from syncline.sdk.config import ConnectorConfig

if TYPE_CHECKING:
    from syncline.sdk.files.s3 import S3Store

__all__ = ["EncryptionConfig", "Prefix", "S3AccessConfig", "S3ConnectionConfig"]


def _normal_prefix(value: str) -> str:
    value = re.sub("/+", "/", value.strip("/"))
    if ".." in value.split("/"):
        raise ValueError("must not contain ..")
    return f"{value}/" if value else ""


#: The beginning of keys: no slash before it, one after it.
Prefix = Annotated[str, AfterValidator(_normal_prefix)]


class EncryptionConfig(ConnectorConfig):
    """Server-side encryption of every object that is written."""

    type: Literal["KMS", "AES256"] = Field(
        default="KMS", description="KMS: with a key of AWS KMS. AES256: with keys that S3 manages."
    )
    key_arn: str | None = Field(
        default=None, description="ARN of the KMS key. Without it S3 takes the account's own key for S3 (aws/s3)."
    )

    @field_validator("type", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        known = {"KMS": "KMS", "SSE-KMS": "KMS", "AWS:KMS": "KMS", "AES256": "AES256", "SSE-S3": "AES256"}
        return known.get(value.upper(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _key_only_for_kms(self) -> EncryptionConfig:
        if self.type == "AES256" and self.key_arn:
            raise ValueError("key_arn belongs to type KMS; with AES256 the keys are S3's own")
        return self


class S3AccessConfig(ConnectorConfig):
    """Where a bucket is, where there is one, and who we are. What is left out comes from the usual AWS environment:
    variables, profile, container or instance role."""

    s3_bucket_name: str | None = Field(
        default=None,
        min_length=3,
        validation_alias=AliasChoices("s3_bucket_name", "bucket"),
        description="Name of the bucket.",
    )
    s3_bucket_region: str | None = Field(
        default=None,
        validation_alias=AliasChoices("s3_bucket_region", "region", "region_name", "aws_region"),
        description="AWS region of the bucket. Default: AWS_REGION or AWS_DEFAULT_REGION.",
    )
    s3_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices("s3_endpoint", "endpoint", "endpoint_url"),
        description="URL of another S3 service (MinIO, Ceph, R2 …). Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, "
        "then AWS itself.",
    )
    access_key_id: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("access_key_id", "aws_access_key_id"),
        description="Access key. Default: the AWS environment.",
    )
    secret_access_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("secret_access_key", "aws_secret_access_key"),
        description="Its secret.",
    )
    session_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("session_token", "aws_session_token"),
        description="Session token of temporary credentials.",
    )
    role_arn: str | None = Field(
        default=None,
        description="Role to assume with these credentials. External id: AWS_ASSUME_ROLE_EXTERNAL_ID.",
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="Bucket in the host name (virtual) or in the path. auto: path with s3_endpoint, else virtual.",
    )

    @field_validator("s3_bucket_name")
    @classmethod
    def _bare_name(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.removeprefix("s3://").removeprefix("s3a://").rstrip("/")
        if "/" in value:
            raise ValueError("give the bucket's name alone, and the rest as path_prefix")
        return value

    @field_validator("s3_endpoint")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if not value:  # Airbyte's form stores an empty text for "AWS itself"
            return None
        return value if "://" in value else f"https://{value}"

    @field_validator("s3_bucket_region", "role_arn")
    @classmethod
    def _empty_is_none(cls, value: str | None) -> str | None:
        return value or None

    @model_validator(mode="after")
    def _whole_key(self) -> S3AccessConfig:
        if bool(self.access_key_id) != bool(self.secret_access_key):
            given, lacking = ("access_key_id", "secret_access_key")
            if self.secret_access_key:
                given, lacking = lacking, given
            raise ValueError(f"{given} is given without {lacking}")
        return self

    def open_bucket(self, prefix: str = "", encryption: EncryptionConfig | None = None) -> S3Store:
        """The store over the bucket's keys below ``prefix``. Connects at the first request."""
        from syncline.sdk.files.s3 import S3Store
        from syncline.sdk.files.s3_client import S3Access

        assert self.s3_bucket_name is not None
        return S3Store(
            S3Access(
                bucket=self.s3_bucket_name,
                region=self.s3_bucket_region,
                endpoint=self.s3_endpoint,
                access_key_id=_plain(self.access_key_id),
                secret_access_key=_plain(self.secret_access_key),
                session_token=_plain(self.session_token),
                role_arn=self.role_arn,
                addressing_style=self.addressing_style,
            ),
            prefix,
            encryption=None if encryption is None else (encryption.type, encryption.key_arn),
        )


class S3ConnectionConfig(S3AccessConfig):
    """A bucket that must be there."""

    s3_bucket_name: str = Field(
        min_length=3, validation_alias=AliasChoices("s3_bucket_name", "bucket"), description="Name of the bucket."
    )


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
