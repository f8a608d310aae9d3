"""A configured connector as plain data, and opening it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.connector import ConnectorContext, ConnectorSpec, Role, connector
from syncline.sdk.destination import Destination
from syncline.sdk.interpolation import references, resolve
from syncline.sdk.source import Source

__all__ = ["ConnectorReference", "check_config", "open_destination", "open_source", "validated"]


@dataclass(frozen=True, kw_only=True)
class ConnectorReference:
    """Connector type and its configuration with secrets still by reference; safe to write into specs and journals.

    ``mappings``, of a source: what a connection does with its rows on their way (:mod:`syncline.sdk.mapping`), as
    checked blocks. They go wherever the reference goes, so that nobody reads the source without them."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    mappings: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        written: dict[str, Any] = {"type": self.type, "config": dict(self.config)}
        if self.mappings:
            written["mappings"] = [dict(block) for block in self.mappings]
        return written

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConnectorReference:
        return cls(type=data["type"], config=data["config"], mappings=tuple(data.get("mappings", ())))


def open_source(reference: ConnectorReference, context: ConnectorContext) -> Source:
    """Resolve references, validate, make. Raises ``config`` naming the key."""
    spec = connector("source", reference.type)
    source = spec.make_source(validated(spec, reference, "source"), context)
    if not reference.mappings:
        return source
    from syncline.sdk.mapping import mapped_source  # what moves rows as they are needs none of it

    return mapped_source(source, reference.mappings)


def open_destination(reference: ConnectorReference, context: ConnectorContext) -> Destination:
    """As :func:`open_source`, for a destination."""
    spec = connector("destination", reference.type)
    return spec.make_destination(validated(spec, reference, "destination"), context)


def validated(spec: ConnectorSpec, reference: ConnectorReference, role: Role) -> ConnectorConfig:
    """The configuration as its model; every problem in one ``config`` error, unknown keys with the nearest known."""
    model = spec.config_model()
    try:
        return model.model_validate(resolve(dict(reference.config)))
    except ValidationError as error:
        raise _refused(spec, role, model, error.errors(include_url=False)) from None


def check_config(spec: ConnectorSpec, config: Mapping[str, Any], role: Role) -> None:
    """As :func:`validated`, without following references: where one stands, any value may come. Raises ``config``."""
    model = spec.config_model()
    try:
        model.model_validate(dict(config))
    except ValidationError as error:
        items = [i for i in error.errors(include_url=False) if not _stands_for_another(i)]
        if items:
            raise _refused(spec, role, model, items) from None


def _stands_for_another(item: Any) -> bool:
    return isinstance(item.get("input"), str) and any(references(item["input"]))


def _refused(spec: ConnectorSpec, role: Role, model: type[ConnectorConfig], items: list[Any]) -> SynclineError:
    return SynclineError(
        ErrorKind.CONFIG,
        "; ".join(_problem(item, model) for item in items),
        hint=f"see: syncline connectors spec {spec.name} --role {role}",
        where={"connector": f"{role} {spec.name}"},
    )


def _problem(item: Any, model: type[ConnectorConfig]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = sorted(_known_keys(model)) if len(item["loc"]) == 1 else []
        near = nearest(str(item["loc"][-1]), known)
        return f"unknown key {path!r}" + (f" (did you mean {near!r}?)" if near else "")
    if item["type"] == "missing":
        return f"{path!r} is required"
    message = item["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    return f"{path!r}: {message}" if path else message  # of the whole, not of one key


def _known_keys(model: type[ConnectorConfig]) -> set[str]:
    keys: set[str] = set()
    for name, info in model.model_fields.items():
        keys.add(name)
        alias = info.validation_alias
        keys.update(str(c) for c in getattr(alias, "choices", [alias] if alias else []))
    return keys
