"""Configuration of the source ``rest_api``: one request and its pages, or a base and many streams.

url: https://api.example.com/v1/entries        # one stream, named after the last part of the path
base_url: https://api.example.com/v1           # or several
streams: [{name: entries, path: /entries}, …]
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from syncline.connectors.rest_api.auth_config import Auth
from syncline.connectors.rest_api.incremental_config import Incremental, span
from syncline.connectors.rest_api.paging_config import Pagination
from syncline.connectors.rest_api.paths import parse_path
from syncline.sdk.config import ConnectorConfig

__all__ = ["ChangesConfig", "ParentConfig", "RateLimitConfig", "RestApiConfig", "RetryConfig", "StreamConfig"]

Method = Literal["GET", "POST"]


class ParentConfig(ConnectorConfig):
    """A stream that is asked for once per record of another: ``path: /projects/{parent.id}/tasks``."""

    stream: str = Field(description="name of the stream whose records are the parents")
    key: str = Field(default="id", description="field that names a parent; parents are taken in its order")
    include: dict[str, str] = Field(
        default_factory=dict, description="columns of each child taken from its parent: {project_id: id}"
    )


class RateLimitConfig(ConnectorConfig):
    """What the API allows. 429 and Retry-After are respected in any case."""

    requests_per_second: float | None = Field(default=None, gt=0, description="at most so many, over all streams")


class RetryConfig(ConnectorConfig):
    """How long to insist: on lost connections, timeouts, 429 and 5xx. Other refusals are final at once."""

    attempts: int = Field(default=6, ge=1, le=100, description="tries of one request")
    max_wait_seconds: float = Field(
        default=900, ge=0, description="a longer wait asked for by the API ends the run; the next one goes on there"
    )


class _Request(ConnectorConfig):
    method: Method = Field(default="GET", description="GET or POST")
    params: dict[str, Any] = Field(default_factory=dict, description="query parameters; {since}, {parent.id} … allowed")
    body: dict[str, Any] | None = Field(
        default=None, description="JSON body; an entry whose placeholder has no value is left out"
    )
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="request headers; their values are secrets")
    records: str | None = Field(
        default=None,
        validation_alias=AliasChoices("records", "record_selector", "records_path"),
        description="where the records are in the answer: data.items, or $ for the answer itself (default: the answer "
        "when it is a list, else its only list)",
    )
    explode: str | None = Field(
        default=None, description="path inside each record to a list whose elements become the records"
    )
    explode_more: str | None = Field(
        default=None, description="with explode: path inside each record to the address of further elements"
    )
    keep: dict[str, str] = Field(
        default_factory=dict, description="with explode: columns taken from the outer record, {contact_id: id}"
    )
    fields: dict[str, str] = Field(
        default_factory=dict, description="columns and their paths inside each record; fields not named are left out"
    )
    copies: dict[str, str] = Field(
        default_factory=dict,
        description="columns taken from another field where they are missing: {updated: created}",
    )
    empty_as_null: bool = Field(default=False, description="take empty texts for NULL")
    flatten: tuple[str, ...] = Field(
        default=(), description="objects inside each record whose fields become columns of their own"
    )
    pagination: Pagination | None = Field(
        default=None, description="how the answer comes in pages (default: it does not)"
    )

    @field_validator("method", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("records", "explode")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            parse_path(value)
        return value


class ChangesConfig(_Request):
    """Another request for what is new, where an API lists all in one way and changes in another. It replaces the
    stream's own request once there is a cursor."""

    path: str = Field(description="path below base_url")
    reach: float | None = Field(
        default=None,
        description="how far back changes can be asked for (30d): after a longer pause everything is read again",
    )
    newest_first: bool = Field(
        default=False,
        description="the newest change comes first: only that of each key is taken",
    )

    @field_validator("reach", mode="before")
    @classmethod
    def _span(cls, value: Any) -> Any:
        return span(value)


class StreamConfig(_Request):
    """One stream."""

    name: str = Field(min_length=1, description="name of the stream and of its table")
    path: str = Field(default="", description="path below base_url; {parent.id} stands for the parent's field")
    primary_key: tuple[str, ...] = Field(default=(), description="fields that name a record")
    incremental: Incremental | None = Field(default=None, description="how to ask for what is new")
    changes: ChangesConfig | None = Field(default=None, description="another request for what is new")
    parent: ParentConfig | None = Field(default=None, description="asked for once per record of another stream")
    json_schema: dict[str, Any] | None = Field(
        default=None,
        validation_alias=AliasChoices("schema", "json_schema"),
        serialization_alias="schema",
        description="JSON Schema of a record (default: inferred from a sample, then kept)",
    )

    @field_validator("primary_key", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _changes_need_a_cursor(self) -> StreamConfig:
        if self.changes is not None and self.incremental is None:
            raise ValueError("changes needs incremental")
        if self.changes is not None and self.incremental is not None and self.incremental.step is not None:
            raise ValueError("incremental.step and changes do not go together")
        return self


class RestApiConfig(StreamConfig):
    """One API. Settings of a request at this level hold for every stream that does not set them itself."""

    name: str = Field(default="", description="with url: name of the only stream (default: last part of the path)")
    url: str | None = Field(default=None, description="address of the only stream")
    base_url: str | None = Field(default=None, description="address that the streams' paths are below")
    streams: tuple[StreamConfig, ...] = Field(default=(), description="the streams below base_url")
    auth: Auth | None = Field(
        default=None,
        validation_alias=AliasChoices("auth", "authentication", "authenticator"),
        description="bearer, basic, api_key or oauth2",
    )
    rate_limit: RateLimitConfig = Field(default_factory=RateLimitConfig, description="what the API allows")
    retries: RetryConfig = Field(default_factory=RetryConfig, description="how long to insist")
    timeout_seconds: float = Field(default=60, gt=0, description="longest silence of the API within a request")
    sample_records: int = Field(
        default=1000, ge=1, le=100_000, description="records looked at to infer a stream's columns"
    )
    extra_column: str | None = Field(
        default="_extra", description="JSON column for fields that are not among the columns; null leaves them out"
    )
    ca_bundle: str | None = Field(default=None, description="file with the authorities to trust, as behind a proxy")
    secrets: tuple[SecretStr, ...] = Field(
        default=(),
        description="further values that must not appear in errors",
        json_schema_extra={"airbyte_secret": True},
    )

    @model_validator(mode="after")
    def _one_form(self) -> RestApiConfig:
        if (self.url is None) == (self.base_url is None):
            raise ValueError("give either url, or base_url with streams")
        if self.url is not None and self.streams:
            raise ValueError("url is one stream; use base_url with streams")
        if self.base_url is not None and not self.streams:
            raise ValueError("base_url needs streams")
        for address in (self.url, self.base_url):
            parts = None if address is None else urlsplit(address)
            if parts is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
                raise ValueError(f"{address} is no http or https address")
        names = [s.name for s in self.streams]
        if doubles := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"two streams are named {doubles[0]}")
        for stream in self.streams:
            if stream.parent is not None and stream.parent.stream not in names:
                raise ValueError(f"stream {stream.name} has the parent {stream.parent.stream}, which is no stream")
            if stream.parent is not None and stream.parent.stream == stream.name:
                raise ValueError(f"stream {stream.name} is its own parent")
        return self

    def all_streams(self) -> tuple[StreamConfig, ...]:
        """Every stream with what this level says for all of them."""
        if self.url is not None:
            last = [part for part in urlsplit(self.url).path.split("/") if part]
            name = self.name or (last[-1] if last else str(urlsplit(self.url).hostname))
            own = {f: getattr(self, f) for f in StreamConfig.model_fields if f in self.model_fields_set}
            return (StreamConfig.model_construct(**{**_defaults(), **own, "name": name, "path": ""}),)
        inherited = {
            f: getattr(self, f) for f in ("method", "records", "flatten", "pagination") if f in self.model_fields_set
        }
        return tuple(
            s.model_copy(
                update={
                    **{k: v for k, v in inherited.items() if k not in s.model_fields_set},
                    "headers": {**self.headers, **s.headers},
                    "params": {**self.params, **s.params},
                }
            )
            for s in self.streams
        )

    def address(self) -> str:
        """Where requests go to."""
        return self.url or str(self.base_url)


def _defaults() -> dict[str, Any]:
    return {name: info.get_default(call_default_factory=True) for name, info in StreamConfig.model_fields.items()}
