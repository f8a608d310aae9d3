"""Configuration of the BigQuery destination. Field names are Airbyte's; friendlier names are aliases."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, field_validator

from syncline.sdk.config import ConnectorConfig

__all__ = ["BigqueryDestinationConfig", "StandardLoading"]

_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z0-9][a-z0-9-]*")


class StandardLoading(BaseModel):
    """Airbyte's form of the loading method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["Standard"] = Field(
        default="Standard",
        description="Standard: Parquet files are uploaded with the load job itself, no bucket is needed.",
    )


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
    loading_method: StandardLoading = Field(
        default=StandardLoading(),
        description="How files reach BigQuery: uploaded with the load job itself.",
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
    endpoint: str | None = Field(
        default=None,
        description="Address of the REST API, when it is not Google's: a private endpoint, or an emulator "
        "(http://127.0.0.1:9050), which is asked without credentials when none are given.",
    )

    @field_validator("loading_method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"method": value}
        method = value.get("method") if isinstance(value, dict) else None
        if method == "GCS Staging":
            raise ValueError(
                "GCS Staging is not supported: files are uploaded with the load job, so that no bucket and no HMAC key "
                "are needed; write method: Standard"
            )
        return value

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
