"""References to secrets and settings inside configuration: ``${NAME}``, ``${env:NAME}``, ``${file:/path}``.

They stay as they are in plans, specs and files on disk and are resolved in the process that opens the connector, at the
last moment. ``$${`` writes a literal ``${``. The placeholders of path formats (:data:`PLACEHOLDERS`) are not
references.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["PLACEHOLDERS", "PROVIDERS", "resolve"]

#: Names that destinations fill in (Airbyte's path variables); never read from the environment.
PLACEHOLDERS = frozenset(
    [
        "NAMESPACE",
        "STREAM_NAME",
        "SOURCE_NAMESPACE",
        "YEAR",
        "MONTH",
        "DAY",
        "HOUR",
        "MINUTE",
        "SECOND",
        "MILLISECOND",
        "EPOCH",
        "UUID",
    ]
)

_REFERENCE = re.compile(r"\$(\$?)\{([^{}]*)\}")


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise SynclineError(
            ErrorKind.CONFIG, f"environment variable {name} is not set", hint=f"export {name}=…"
        ) from None


def _from_file(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"secret file {path} cannot be read: {error.strerror}", hint="check the path and its mode"
        ) from error


#: Provider prefix -> function from the rest of the reference to its value.
PROVIDERS: dict[str, Callable[[str], str]] = {"env": _from_environment, "file": _from_file}


def resolve(value: Any, *, where: str = "") -> Any:
    """``value`` (any JSON) with every reference replaced. Raises ``config`` that names the place of a missing one."""
    if isinstance(value, Mapping):
        return {k: resolve(v, where=f"{where}.{k}" if where else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(v, where=f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _REFERENCE.sub(lambda m: _one(m, where), value)
    return value


def _one(match: re.Match[str], where: str) -> str:
    if match[1]:
        return "${" + match[2] + "}"
    name = match[2].strip()
    if name in PLACEHOLDERS:
        return match[0]
    prefix, colon, rest = name.partition(":")
    provider = PROVIDERS.get(prefix) if colon else _from_environment
    if provider is None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"unknown secret provider {prefix!r} in ${{{name}}}",
            hint=f"known: {', '.join(sorted(PROVIDERS))}, or a plain environment variable ${{NAME}}",
            where={"key": where},
        )
    try:
        return provider(rest if colon else name)
    except SynclineError as error:
        raise error.at(key=where) from error.__cause__
