"""Low-code manifests as values: Airbyte's declarative YAML, which airbyte-cdk runs.

Only the CDK knows the language; here a manifest is recognized, its *spec* is found, and a configuration is held against
it before a process is started. A manifest that needs Python of its own is refused: it would run whatever its author
wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, SecretStr, create_model

from syncline.core.errors import ErrorKind, SynclineError, nearest

__all__ = ["check_against", "checked_manifest", "manifest_model", "manifest_spec", "runnable", "secret_values"]

_OPEN = {"additionalProperties": True}


def checked_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest. Raises ``config`` for what is none, or one that needs code."""
    missing = [key for key in ("version", "type", "streams") if key not in manifest]
    if "dynamic_streams" in manifest and "streams" in missing:
        missing.remove("streams")
    if missing or manifest["type"] != "DeclarativeSource":
        said = f"it has no {missing[0]}" if missing else f"its type is {manifest['type']}"
        raise SynclineError(
            ErrorKind.CONFIG,
            f"this is no low-code manifest: {said}",
            hint="a manifest begins with version:, type: DeclarativeSource, check: and streams:",
        )
    if (place := next(_code(manifest, ()), None)) is not None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the manifest needs Python code of its own at {place}",
            hint="manifests with custom components are not run; use a connector from PyPI, or your own command",
        )
    return dict(manifest)


def manifest_spec(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of its configuration; an open one where it says nothing."""
    spec = manifest.get("spec")
    found = spec.get("connection_specification") if isinstance(spec, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {"type": "object", **_OPEN}


def runnable(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """As the CDK is given it: it puts a key of its own into every configuration and then holds that against the spec,
    so a spec must not forbid further keys."""
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping) or manifest_spec(manifest).get("additionalProperties") is not False:
        return dict(manifest)
    return {**manifest, "spec": {**spec, "connection_specification": {**manifest_spec(manifest), **_OPEN}}}


def secret_values(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """What its spec marks as secret, in a configuration."""
    return list(_secrets(manifest_spec(manifest), config))


def manifest_model(manifest: Mapping[str, Any]) -> type[BaseModel]:
    """A model of its configuration that knows which settings are secrets, and nothing else of them."""
    return _model(manifest_spec(manifest))


def check_against(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raises ``config`` for settings that the spec requires and that are missing, and for unknown ones where it allows
    no others; the rest is the CDK's to check."""
    spec = manifest_spec(manifest)
    properties = spec.get("properties") or {}
    if missing := [key for key in spec.get("required") or () if key not in config]:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the manifest requires {missing[0]!r} under config",
            hint=str((properties.get(missing[0]) or {}).get("description") or f"it knows: {', '.join(properties)}"),
        )
    unknown = sorted(set(config) - set(properties))
    if unknown and spec.get("additionalProperties") is False:
        near = nearest(unknown[0], list(properties))
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the manifest does not know {unknown[0]!r}",
            hint=f"did you mean {near!r}?" if near else f"it knows: {', '.join(properties) or 'nothing'}",
        )


def _code(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Places of components that are Python classes."""
    if isinstance(value, Mapping):
        if "class_name" in value and str(value.get("type", "")).startswith("Custom"):
            yield ".".join(path)
        for key, inner in value.items():
            if key not in ("schema", "connection_specification"):
                yield from _code(inner, (*path, str(key)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _code(inner, (*path, str(number)))


def _secrets(spec: Mapping[str, Any], value: Any) -> Iterator[str]:
    if spec.get("airbyte_secret") and isinstance(value, str):
        yield value
    if isinstance(value, Mapping):
        arms = [spec, *(arm for arm in spec.get("oneOf") or () if isinstance(arm, Mapping))]
        for arm in arms:
            for key, inner in (arm.get("properties") or {}).items():
                if isinstance(inner, Mapping) and key in value:
                    yield from _secrets(inner, value[key])


def _model(spec: Mapping[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for part in (spec, *(arm for arm in spec.get("oneOf") or () if isinstance(arm, Mapping))):
        for name, inner in (part.get("properties") or {}).items():
            if not isinstance(inner, Mapping) or not str(name).isidentifier() or str(name).startswith("_"):
                continue
            kind: Any = SecretStr if inner.get("airbyte_secret") else _model(inner) if _nested(inner) else Any
            fields[name] = (kind, None)
    return cast("type[BaseModel]", create_model("Manifest", __config__=ConfigDict(extra="allow"), **fields))


def _nested(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("properties") or spec.get("oneOf"))
