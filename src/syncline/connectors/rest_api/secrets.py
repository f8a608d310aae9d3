"""What of a configuration must never be said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from syncline.connectors.rest_api.config import RestApiConfig

__all__ = ["secrets_of"]


def secrets_of(config: RestApiConfig) -> Iterator[str]:
    """Every secret value, and headers' values: which of those are secret, only the API knows."""
    yield from _secrets(config)
    requests = [config, *config.streams, *(s.changes for s in (config, *config.streams) if s.changes is not None)]
    for headers in (r.headers for r in requests):
        for name, kept in headers.items():
            if name.lower() in ("accept", "content-type", "user-agent"):
                continue
            value = kept.get_secret_value()
            yield value
            scheme, _, rest = value.partition(" ")  # Bearer TOKEN
            if rest and scheme.isalpha():
                yield rest.strip()
    for params in (r.params for r in requests):
        for name, value in params.items():
            if any(word in name.lower() for word in ("key", "token", "secret", "auth", "passw", "sig")):
                yield str(value)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name, None))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner)
