"""Which values of a configuration are secrets, and taking them out and putting them back.

The connector's own model decides: a field of type ``SecretStr`` is a secret, wherever it is nested and whichever form
of a union it belongs to. A key that the model does not know is a secret when it is named like one. What a model takes
whole for somebody else (the configuration of an Airbyte connector, an environment) may have secrets under any key:
there every text is one, unless key or value says that it is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from syncline.sdk.interpolation import is_reference
from syncline.service.errors import invalid

__all__ = ["MASK", "field_names", "fill", "split"]

#: What stands for a secret in every answer; written back it means: unchanged.
MASK = "**********"

_NAMED_LIKE_ONE = re.compile(
    r"passw|passphrase|secret|token|private_?key|api_?key|access_?key|credential|ssh_key", re.I
)
#: Keys whose texts say where or how, and open nothing.
_HARMLESS_KEYS = frozenset(
    {
        "auth_method",
        "auth_type",
        "bucket",
        "database",
        "dataset",
        "dataset_id",
        "end_date",
        "endpoint",
        "engine",
        "format",
        "host",
        "hostname",
        "language",
        "locale",
        "method",
        "mode",
        "namespace",
        "option_title",
        "project_id",
        "protocol",
        "region",
        "replication_method",
        "schema",
        "schemas",
        "site",
        "start_date",
        "streams",
        "subdomain",
        "table",
        "tables",
        "timezone",
        "type",
        "warehouse",
    }
)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ][\d:.,]+(Z|[+-]\d\d:?\d\d)?)?")
#: The models that may describe one place of a configuration.
_Models = tuple[type[BaseModel], ...]


def split(
    models: _Models, configuration: Mapping[str, Any], old: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration with masks, and its secrets by their place (``/ssl_mode/client_key``).

    ``old`` are the secrets stored so far; the mask in place of a secret takes the one that is there. A whole reference
    (``${vault:db#password}``) is not a secret and stays to be seen. Raises ``config`` for a mask that masks nothing."""
    secrets: dict[str, Any] = {}
    masked = {key: _masked(models, (key,), key, value, old, secrets) for key, value in configuration.items()}
    return masked, secrets


def fill(masked: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in clear: what :func:`split` took apart."""
    return {key: _filled(value, (key,), secrets) for key, value in masked.items()}


def _masked(
    models: _Models, path: tuple[str, ...], key: str, value: Any, old: Mapping[str, Any], secrets: dict[str, Any]
) -> Any:
    fields = [field for model in models for field in _fields(model, key)]
    inner = tuple(model for field in fields for model in _models(field))
    if any(_is_foreign(field) for field in fields):
        return _foreign(path, key, value, old, secrets)
    if fields:
        secret = any(_is_secret(field) for field in fields)
        return _walk(inner, path, value, old, secrets, secret=secret, whole=secret and not inner)
    return _walk(inner, path, value, old, secrets, secret=bool(_NAMED_LIKE_ONE.search(key)), whole=False)


def _walk(
    models: _Models,
    path: tuple[str, ...],
    value: Any,
    old: Mapping[str, Any],
    secrets: dict[str, Any],
    *,
    secret: bool,
    whole: bool,
) -> Any:
    """``whole``: everything within is a secret, whatever its key. Else an object is judged key by key, also one that is
    named like a secret (``credentials``)."""
    if isinstance(value, Mapping) and whole:
        items = value.items()
        return {k: _walk((), (*path, k), each, old, secrets, secret=True, whole=True) for k, each in items}
    if isinstance(value, Mapping):
        return {key: _masked(models, (*path, key), key, each, old, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [
            _walk(models, (*path, str(number)), each, old, secrets, secret=secret, whole=whole)
            for number, each in enumerate(value)
        ]
    if not secret or value is None or value == "" or isinstance(value, bool):
        return value
    if isinstance(value, str) and is_reference(value):
        return value
    place = _place(path)
    if value == MASK:
        if place not in old:
            raise invalid(
                "configuration" + place.replace("/", "."),
                f"{MASK} stands for the stored secret, and none is stored",
                hint="send the secret itself",
            )
        value = old[place]
    secrets[place] = value
    return MASK


def _foreign(path: tuple[str, ...], key: str, value: Any, old: Mapping[str, Any], secrets: dict[str, Any]) -> Any:
    """Somebody else's settings: a text is a secret unless it is known to be none."""
    if isinstance(value, Mapping):
        return {k: _foreign((*path, k), k, each, old, secrets) for k, each in value.items()}
    if isinstance(value, list):
        return [_foreign((*path, str(number)), key, each, old, secrets) for number, each in enumerate(value)]
    secret = bool(_NAMED_LIKE_ONE.search(key))
    if not secret and isinstance(value, str) and value != MASK:
        # An address may have somebody's name and password in it, or a token behind its question mark.
        secret = key.lower() not in _HARMLESS_KEYS or bool({"@", "?"} & set(value))
        secret = secret and not _MOMENT.fullmatch(value)
    # A mask that was answered comes back as one, whatever stands there by now.
    return _walk((), path, value, old, secrets, secret=secret or value == MASK, whole=False)


def _filled(value: Any, path: tuple[str, ...], secrets: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(each, (*path, key), secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, (*path, str(number)), secrets) for number, each in enumerate(value)]
    return secrets.get(_place(path), value)


def _place(path: tuple[str, ...]) -> str:
    """A JSON pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def _fields(model: type[BaseModel], key: str) -> Iterator[FieldInfo]:
    found = _by_name(model).get(key)
    if found is not None:
        yield found


@lru_cache(maxsize=256)
def _by_name(model: type[BaseModel]) -> dict[str, FieldInfo]:
    names: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        for each in (name, field.alias, *getattr(alias, "choices", [alias])):
            if isinstance(each, str):
                names[each] = field
    return names


def field_names(model: type[BaseModel]) -> dict[str, str]:
    """Every name that a field of the model is known by, and the one that it is written with."""
    by_field = {id(field): field.serialization_alias or name for name, field in model.model_fields.items()}
    return {name: by_field[id(field)] for name, field in _by_name(model).items()}


def _types(kind: Any) -> Iterator[Any]:
    """Every class that an annotation mentions: through unions, lists, mappings and ``Annotated``."""
    kind = getattr(kind, "__value__", kind)  # a `type X = …` alias
    if isinstance(kind, type) and not get_args(kind):
        yield kind
    for part in get_args(kind):
        yield from _types(part)


def _is_secret(field: FieldInfo) -> bool:
    return any(issubclass(kind, SecretStr | SecretBytes) for kind in _types(field.annotation))


def _is_foreign(field: FieldInfo) -> bool:
    """A free mapping whose model says that there may be secrets in it."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("airbyte_secret") is True and dict in {*_origins(field.annotation)}


def _origins(kind: Any) -> Iterator[Any]:
    yield get_origin(kind) or kind
    for part in get_args(kind):
        yield get_origin(part) or part


def _models(field: FieldInfo) -> _Models:
    return tuple(kind for kind in _types(field.annotation) if issubclass(kind, BaseModel))
