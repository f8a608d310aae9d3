"""Low-code manifests: Airbyte's declarative YAML, run by airbyte-cdk.

Only the CDK knows the language; here a manifest is read, its *spec* is found, and a configuration is held against it
before a process is started. A manifest that needs Python of its own is refused: it would run whatever its author wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from syncline.core.errors import ErrorKind, SynclineError, nearest

__all__ = ["check_against", "load_manifest", "manifest_spec", "runnable", "secret_values"]

_OPEN = {"additionalProperties": True}


def load_manifest(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """From a path, or as it is. Raises ``config`` for what is no manifest, or one that needs code."""
    manifest = _read(Path(given).expanduser()) if isinstance(given, str) else dict(given)
    missing = [key for key in ("version", "type", "streams") if key not in manifest]
    if "dynamic_streams" in manifest and "streams" in missing:
        missing.remove("streams")
    if missing or manifest["type"] != "DeclarativeSource":
        raise SynclineError(
            ErrorKind.CONFIG,
            "this is no low-code manifest: "
            + (f"it has no {missing[0]}" if missing else f"its type is {manifest['type']}"),
            hint="a manifest begins with version:, type: DeclarativeSource, check: and streams:",
        )
    if (place := next(_code(manifest, ()), None)) is not None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the manifest needs Python code of its own at {place}",
            hint="manifests with custom components are not run; use a connector from PyPI, or your own command",
        )
    return manifest


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


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SynclineError(
            ErrorKind.CONFIG, f"the manifest {path} cannot be read: {reason}", hint="check the path"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise SynclineError(
            ErrorKind.CONFIG, f"the manifest {path} is not valid YAML{place}", hint="check the indentation there"
        ) from None
    if not isinstance(found, dict):
        raise SynclineError(ErrorKind.CONFIG, f"the manifest {path} holds no mapping", hint="is it the right file?")
    return found


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
