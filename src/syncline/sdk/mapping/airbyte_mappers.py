"""Airbyte's mapper objects, as its API has them on a stream, in our words.

    {"type": "hashing", "mapperConfiguration": {"targetField": "email", "method": "SHA-256", "fieldNameSuffix":
    "_hashed"}}

``hashing``, ``field-renaming``, ``field-filtering``, ``row-filtering`` and ``encryption``. They are carried out in the
order of the list, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from syncline.core.errors import nearest
from syncline.sdk.mapping.rows import refused
from syncline.sdk.mapping.steps import checked_step

__all__ = ["steps_of_mappers"]

_METHODS = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}


def steps_of_mappers(mappers: Sequence[Any], place: str) -> list[dict[str, Any]]:
    """The mappers as checked steps. Raises ``config`` for a type or setting that is not known or not done."""
    found = []
    for number, mapper in enumerate(mappers):
        where = f"{place}: mapper {number + 1}"
        if not isinstance(mapper, Mapping) or not isinstance(mapper.get("mapperConfiguration"), Mapping):
            raise refused(f"{where} has no type and mapperConfiguration")
        kind, config = str(mapper.get("type")), mapper["mapperConfiguration"]
        if kind not in _KINDS:
            near = nearest(kind, list(_KINDS))
            raise refused(
                f"{where}: unknown type {kind!r}", f"did you mean {near!r}?" if near else f"known: {', '.join(_KINDS)}"
            )
        try:
            step = _KINDS[kind](config, where)
        except KeyError as missing:
            raise refused(f"{where} ({kind}): {missing.args[0]!r} is required") from None
        found.append(checked_step(step, where))
    return found


def _hashing(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    method = config["method"]
    if method not in _METHODS:
        raise refused(f"{where}: method {method!r} is not done", f"use one of: {', '.join(_METHODS)}")
    suffix = config.get("fieldNameSuffix", "_hashed")
    # Airbyte hashes a key like any other column, and merges by it.
    return {"hash": [config["targetField"]], "method": _METHODS[method], "suffix": suffix, "allow_key": True}


def _renaming(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {"rename": {config["originalFieldName"]: config["newFieldName"]}}


def _field_filtering(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {"drop": [config["targetField"]]}


def _row_filtering(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {"filter": _condition(config["conditions"], where)}


def _condition(node: Any, where: str) -> str:
    """Airbyte compares values as text."""
    if not isinstance(node, Mapping):
        raise refused(f"{where}: conditions is not an object with a type")
    if node.get("type") == "EQUAL":
        column = str(node["fieldName"]).replace('"', '""')
        value = str(node["comparisonValue"]).replace("'", "''")
        return f"\"{column}\"::VARCHAR = '{value}'"
    if node.get("type") == "NOT":
        inner = [_condition(each, where) for each in node["conditions"]]
        # A row without the value is not equal to it.
        return f"NOT coalesce(({' AND '.join(inner)}), false)"
    raise refused(f"{where}: unknown condition {node.get('type')!r}", "EQUAL and NOT are known")


def _encryption(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    suffix = config.get("fieldNameSuffix", "_encrypted")
    if config["algorithm"] == "RSA":
        return {"encrypt": [config["targetField"]], "method": "rsa", "key": config["publicKey"], "suffix": suffix}
    if config["algorithm"] == "AES":
        if config["mode"] != "GCM":
            raise refused(f"{where}: AES in mode {config['mode']!r} is not done", "use mode GCM, padding NoPadding")
        return {"encrypt": [config["targetField"]], "method": "aes-gcm", "key": config["key"], "suffix": suffix}
    raise refused(f"{where}: unknown algorithm {config['algorithm']!r}", "RSA and AES are known")


_KINDS = {
    "encryption": _encryption,
    "field-filtering": _field_filtering,
    "field-renaming": _renaming,
    "hashing": _hashing,
    "row-filtering": _row_filtering,
}
