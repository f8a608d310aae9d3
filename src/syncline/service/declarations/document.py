"""The document that is applied: plain JSON, made from a project file.

    {"sources":      {name: {"type", "config", "written"}},
     "destinations": {name: {"type", "config", "written"}},
     "connections":  {name: {"source", "destination", and the keys of the file's block}}}

A connection with several destinations stands there once for each, as ``name/destination`` with ``fan_out``.
``config`` has the values of the references that only this machine can follow (``${NAME}``, ``${env:…}``,
``${file:…}``); ``written`` is as the file says it, for writing the file again.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.interpolation import PLACEHOLDERS, resolve
from syncline.service.errors import invalid
from syncline.service.project import ConnectionBlock, Project

__all__ = ["block_of", "document_of", "file_of"]

Document = dict[str, Any]

_REFERENCE = re.compile(r"(?<!\$)\$\{([^{}]*)\}")
#: Providers whose values lie where the file is; the others are asked by the server, at each run.
_HERE = ("env", "file")


def document_of(project: Project) -> Document:
    """The document of a loaded file. Raises ``config`` for a reference that cannot be followed and for what a server
    does not keep."""
    parts: dict[str, list[str]] = {}
    for label, connection in project.connections.items():
        parts.setdefault(connection.name, []).append(label)
    found: Document = {"sources": {}, "destinations": {}, "connections": {}}
    for name, connection in project.connections.items():
        block = connection.sync.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        block.pop("source", None)
        block.pop("destination", None)
        _refuse_files(name, block)
        if connection.destination_name is not None:
            said = {"connection": connection.name, "destination": connection.destination_name}
            block["fan_out"] = {**said, "when_behind": connection.when_behind}
        _name_others(block, lambda others: [part for other in others for part in parts.get(other, [other])])
        ends = {}
        for role, reference in (("source", connection.source), ("destination", connection.destination)):
            ends[role] = str(getattr(connection.sync, role, name))
            found[f"{role}s"].setdefault(
                ends[role],
                {
                    "type": reference.type,
                    "config": _resolved(dict(reference.config), f"{role}s.{ends[role]}.config"),
                    "written": dict(reference.config),
                },
            )
        found["connections"][name] = {**ends, **block}
    return found


def file_of(document: Mapping[str, Any]) -> Document:
    """The project file of a document: as it was written where that is known."""
    found: Document = {}
    for role in ("sources", "destinations"):
        found[role] = {
            name: {"type": each["type"], "config": each.get("written", each["config"])}
            for name, each in document[role].items()
        }
    found["connections"] = _together(document["connections"])
    return {key: value for key, value in found.items() if value}


def _together(connections: Mapping[str, Mapping[str, Any]]) -> Document:
    """Connections that read one source together as one with several destinations."""
    found: Document = {}
    names = {label: each["fan_out"]["connection"] for label, each in connections.items() if "fan_out" in each}
    for label, each in connections.items():
        block = copy.deepcopy(dict(each))
        _name_others(block, lambda others: list(dict.fromkeys(names.get(other, other) for other in others)))
        said = block.pop("fan_out", None)
        if said is None:
            found[label] = block
            continue
        known = found.get(said["connection"])
        if known is not None:
            known["destinations"].append(block["destination"])
            if block.get("enabled", True):
                known.pop("enabled", None)  # the file pauses all of them or none
            continue
        behind = {} if said.get("when_behind", "leave") == "leave" else {"when_behind": said["when_behind"]}
        ends = {"source": block.pop("source"), "destinations": [block.pop("destination")]}
        found[said["connection"]] = {**ends, **behind, **block}
    return found


def _name_others(block: Document, named: Callable[[list[str]], list[str]]) -> None:
    """Replace the names of the connections that a block comes after."""
    after = block.get("after")
    if isinstance(after, Mapping):
        block["after"] = {
            key: named(value) if key in ("all", "any") and value else value for key, value in after.items()
        }


def block_of(name: str, written: Mapping[str, Any]) -> ConnectionBlock:
    """A connection of the document, checked. Raises ``config``."""
    try:
        return ConnectionBlock.model_validate(written)
    except ValueError as error:
        raise invalid(
            f"connections.{name}", str(error).partition("\n")[2].split("[type=")[0].strip() or str(error)
        ) from None


def _refuse_files(name: str, block: Mapping[str, Any]) -> None:
    if isinstance(block.get("mappings"), str):
        raise invalid(f"connections.{name}.mappings", "names a file", hint="write the mappings into the project file")


def _resolved(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _resolved(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, f"{where}[{number}]") for number, each in enumerate(value)]
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(lambda match: _one(match, where), value)


def _one(match: re.Match[str], where: str) -> str:
    name = match[1].strip()
    prefix, colon, _ = name.partition(":")
    if name in PLACEHOLDERS or (colon and prefix not in _HERE):
        return match[0]
    try:
        return str(resolve(match[0], where=where))
    except SynclineError as error:
        raise SynclineError(ErrorKind.CONFIG, error.message, hint=error.hint, where={"key": where}) from error
