"""What the configurations of all declared services have in common, and the way from them to ``rest_api``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import AliasChoices, Field, ValidationError, field_validator

from syncline.connectors.rest_api.config import RateLimitConfig, RestApiConfig, RetryConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.config import ConnectorConfig

__all__ = ["ServiceConfig", "columns"]

_TYPES: Mapping[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "decimal": {"type": "number", "airbyte_type": "big_number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "date-time"},
    "json": {"type": ["object", "array"]},
}


class ServiceConfig(ConnectorConfig):
    """Settings of every service."""

    service_url: ClassVar[str] = ""

    base_url: str | None = Field(
        default=None, description="address of the API, where it is another than the service's own (a proxy, a test)"
    )
    rate_limit: RateLimitConfig | None = Field(default=None, description="requests per second, over all streams")
    retries: RetryConfig = Field(default_factory=RetryConfig, description="how long to insist")
    ca_bundle: str | None = Field(default=None, description="file with the authorities to trust, as behind a proxy")
    start_date: str | None = Field(
        default=None,
        validation_alias=AliasChoices("start_date", "start_datetime"),
        description="only what changed since then (2024-01-01); default: everything",
    )

    @field_validator("start_date", mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        return value.isoformat() if hasattr(value, "isoformat") else value  # YAML reads 2020-01-01 as a date

    def address(self) -> str:
        """Of the API, without a slash at its end."""
        return (self.base_url or self.service_url).rstrip("/")

    def declaration(self, *, pace: float | None, **declared: Any) -> RestApiConfig:
        """The service as a REST API. ``pace``: requests per second, unless the user sets another."""
        limit = self.rate_limit or RateLimitConfig(requests_per_second=pace)
        given = {"base_url": self.address(), "rate_limit": limit, "retries": self.retries, "ca_bundle": self.ca_bundle}
        try:
            return RestApiConfig.model_validate({**given, **declared})
        except ValidationError as error:
            said = "; ".join(str(e["msg"]).removeprefix("Value error, ") for e in error.errors(include_url=False))
            raise SynclineError(ErrorKind.CONFIG, said, hint="check base_url and the other settings") from None


def columns(**kinds: str) -> dict[str, Any]:
    """A JSON Schema from names by kind: ``columns(text="id name", integer="created")``."""
    named = {name: _TYPES[kind] for kind, names in kinds.items() for name in names.split()}
    return {"type": "object", "properties": named}
