"""Configuration of the BigQuery destination. Field names are Airbyte's; friendlier names are aliases."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, field_validator

from syncline.sdk.config import ConnectorConfig

__all__ = ["BigqueryDestinationConfig", "BucketLoading", "StandardLoading"]

_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z0-9][a-z0-9-]*")


class StandardLoading(BaseModel):
    """Airbyte's form of the loading method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["Standard"] = Field(
        default="Standard",
        description="Standard: Parquet files are uploaded with the load job itself, no bucket is needed.",
    )


class BucketLoading(BaseModel):
    """Airbyte's form of loading through a bucket."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    method: Literal["GCS Staging"] = Field(
        description="GCS Staging: files are written to a bucket of Cloud Storage and loaded from there.",
    )
    bucket: str = Field(
        validation_alias=AliasChoices("gcs_bucket_name", "bucket"),
        serialization_alias="gcs_bucket_name",
        pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$",
        description="Name of the bucket, which must be where the dataset is.",
    )
    path: str = Field(
        default="",
        validation_alias=AliasChoices("gcs_bucket_path", "path"),
        serialization_alias="gcs_bucket_path",
        description="Folder in the bucket.",
    )
    keep: Literal["Delete all tmp files from GCS"] = Field(
        default="Delete all tmp files from GCS",
        validation_alias=AliasChoices("keep_files_in_gcs-bucket", "keep_files_in_gcs_bucket"),
        serialization_alias="keep_files_in_gcs-bucket",
        description="Files are removed once they are loaded; nothing else is supported.",
    )
    credential: dict[str, Any] | None = Field(
        default=None,
        exclude=True,
        repr=False,
        description="Airbyte's HMAC key. Taken so that its configurations load, and not used: the account of "
        "credentials_json writes to the bucket.",
    )
    endpoint: str | None = Field(
        default=None, description="Address of Cloud Storage, when it is not Google's: an emulator."
    )

    @property
    def folder(self) -> str:
        """What our objects' names begin with."""
        path = self.path.strip("/")
        return f"{path}/" if path else ""


class BigqueryDestinationConfig(ConnectorConfig):
    """One dataset of one project."""

    project_id: str = Field(
        validation_alias=AliasChoices("project_id", "project"),
        description="Project that holds the dataset and pays for the queries.",
    )
    dataset_id: str = Field(
        validation_alias=AliasChoices("dataset_id", "dataset"),
        description="Dataset that holds the tables and our ledger; it must exist. `project:dataset` names one of "
        "another project.",
    )
    dataset_location: str = Field(
        default="",
        validation_alias=AliasChoices("dataset_location", "location"),
        description="Where the dataset is (US, EU, europe-west3 …). Left out, it is asked for.",
    )
    credentials_json: SecretStr | None = Field(
        default=None,
        description="Key of a service account, the JSON text. Left out, the machine's own credentials are used "
        "(GOOGLE_APPLICATION_CREDENTIALS, a metadata server).",
    )
    loading_method: Annotated[StandardLoading | BucketLoading, Field(discriminator="method")] = Field(
        default=StandardLoading(),
        description="How files reach BigQuery: uploaded with the load job itself (Standard), or through a bucket "
        "(GCS Staging).",
    )
    transformation_priority: Literal["interactive", "batch"] = Field(
        default="interactive",
        description="Priority of queries. batch waits for idle slots.",
    )
    table_prefix: str = Field(
        default="",
        validation_alias=AliasChoices("table_prefix", "prefix"),
        description="Put before the name of each table.",
    )
    namespace: Literal["destination", "prefix"] = Field(
        default="destination",
        description="destination: a table is named as its stream. prefix: the stream's namespace and _ come before it.",
    )
    partitioning: Literal["none", "extracted_at", "key"] = Field(
        default="none",
        description="Of tables that we make. extracted_at: by the day of the row's extraction. key: by ranges of the "
        "first column of the primary key where it is an integer; a MERGE then reads only the ranges that changed.",
    )
    key_partition_size: int = Field(
        default=1_000_000,
        ge=1,
        description="With partitioning: key, how many keys one partition spans. There are 4,000 from 0 on; keys beyond "
        "share one.",
    )
    merge_interval: float = Field(
        default=60.0,
        ge=0,
        description="Seconds between two flushes of changes of a log at least. Each MERGE reads what it may change: "
        "longer is cheaper, shorter is fresher.",
    )
    changes: Literal["merge", "stream"] = Field(
        default="merge",
        description="How changes of a log are applied. merge: staged and merged, all tables of a flush in one "
        "transaction. stream: BigQuery's own change data capture, rows go to the default stream of tables with a "
        "declared key and each is seen when BigQuery has applied it; deletions are always hard.",
    )
    storage_endpoint: str | None = Field(
        default=None,
        description="Host and port of the Storage Write API, when it is not Google's. Used with changes: stream; "
        "spoken to in plain text when endpoint is http://.",
    )
    endpoint: str | None = Field(
        default=None,
        description="Address of the REST API, when it is not Google's: a private endpoint, or an emulator "
        "(http://127.0.0.1:9050), which is asked without credentials when none are given.",
    )

    @field_validator("loading_method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"method": value}
        return {"method": "Standard", **value} if isinstance(value, dict) else value

    @field_validator("credentials_json", mode="before")
    @classmethod
    def _key(cls, value: object) -> object:
        # Airbyte's forms send an empty text for a field that was left out.
        if value in (None, ""):
            return None
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, dict):
            text = json.dumps(text)
        try:
            parsed = json.loads(str(text))
        except ValueError:
            raise ValueError("is not JSON; paste the whole key file of the service account") from None
        if not isinstance(parsed, dict) or not {"client_email", "private_key", "token_uri"} <= set(parsed):
            raise ValueError("is not the key of a service account (client_email, private_key, token_uri)")
        return str(text)

    @field_validator("project_id")
    @classmethod
    def _project(cls, value: str) -> str:
        if not _PROJECT.fullmatch(value):
            raise ValueError(f"{value!r} is not a project's id (small letters, digits and hyphens)")
        return value

    @field_validator("dataset_id")
    @classmethod
    def _dataset(cls, value: str) -> str:
        project, _, dataset = value.rpartition(":")
        if not _DATASET.fullmatch(dataset) or (project and not _PROJECT.fullmatch(project)):
            raise ValueError(f"{value!r} is not a dataset's name (letters, digits and _)")
        return value

    @property
    def dataset(self) -> tuple[str, str]:
        """Project and name of the dataset."""
        project, _, dataset = self.dataset_id.rpartition(":")
        return project or self.project_id, dataset
