"""References to secrets and settings inside configuration: ``${NAME}``, ``${env:NAME}``, ``${file:/path}``,
``${vault:path#key}``, ``${aws-sm:name#key}``.

They stay as they are in plans, specs and files on disk and are resolved in the process that opens the connector, at the
last moment. ``$${`` writes a literal ``${``. The placeholders of path formats (:data:`PLACEHOLDERS`) are not
references.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["PLACEHOLDERS", "PROVIDERS", "is_reference", "literal", "references", "resolve", "variables"]

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


def _from_vault(rest: str) -> str:
    from syncline.sdk.secret_providers.vault import read_vault

    return read_vault(rest)


def _from_secrets_manager(rest: str) -> str:
    from syncline.sdk.secret_providers.aws import read_secrets_manager

    return read_secrets_manager(rest)


#: Provider prefix -> function from the rest of the reference to its value.
PROVIDERS: dict[str, Callable[[str], str]] = {
    "env": _from_environment,
    "file": _from_file,
    "vault": _from_vault,
    "aws-sm": _from_secrets_manager,
}


def resolve(value: Any, *, where: str = "") -> Any:
    """``value`` (any JSON) with every reference replaced. Raises ``config`` that names the place of a missing one."""
    if isinstance(value, Mapping):
        return {k: resolve(v, where=f"{where}.{k}" if where else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(v, where=f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _REFERENCE.sub(lambda m: _one(m, where), value)
    return value


def is_reference(text: str) -> bool:
    """Whether the whole text is one reference with a provider's prefix."""
    match = _REFERENCE.fullmatch(text)
    return match is not None and not match[1] and _has_prefix(match[2])


def references(value: Any) -> Iterator[str]:
    """What stands between the braces of every reference with a provider's prefix, anywhere in ``value`` (any JSON)."""
    yield from (inner for inner in _followed(value) if _has_prefix(inner))


def variables(value: Any) -> Iterator[str]:
    """The names that :func:`resolve` would read from the environment without such a prefix: ``${NAME}``."""
    yield from (inner for inner in _followed(value) if ":" not in inner and inner not in PLACEHOLDERS)


def _followed(value: Any) -> Iterator[str]:
    """What stands between the braces of everything that is not escaped."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _followed(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _followed(each)
    elif isinstance(value, str):
        yield from (match[2].strip() for match in _REFERENCE.finditer(value) if not match[1])


def literal(value: Any) -> Any:
    """``value`` (any JSON) so that :func:`resolve` gives it back, but for references with a provider's prefix.

    For configurations of clients that know nothing of ``${NAME}``: a password may hold those characters. An escaped
    ``$${env:…}`` stays escaped."""
    if isinstance(value, Mapping):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [literal(each) for each in value]
    if isinstance(value, str) and "${" in value:
        return _REFERENCE.sub(_escaped, value)
    return value


def _escaped(match: re.Match[str]) -> str:
    if _has_prefix(match[2]) or (not match[1] and match[2].strip() in PLACEHOLDERS):
        return match[0]
    return "$" + match[0]


def _has_prefix(inner: str) -> bool:
    prefix, colon, _ = inner.strip().partition(":")
    return bool(colon) and prefix in PROVIDERS


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
