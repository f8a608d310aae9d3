"""The document that is applied: plain JSON, made from a project file.

    {"sources":      {name: {"type", "config", "written"}},
     "destinations": {name: {"type", "config", "written"}},
     "connections":  {name: {"source", "destination", and the keys of the file's block}}}

``config`` has the values of the references that only this machine can follow (``${NAME}``, ``${env:…}``,
``${file:…}``); ``written`` is as the file says it, for writing the file again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    found: Document = {"sources": {}, "destinations": {}, "connections": {}}
    for name, connection in project.connections.items():
        if connection.destination_name is not None:
            raise invalid(
                f"connections.{connection.name}.destinations",
                "names several destinations, which `syncline sync` reads for at once and a server does not yet",
                hint="keep it in a file for `syncline sync --follow`, or declare a connection for each destination",
            )
        block = connection.sync.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        block.pop("source", None)
        block.pop("destination", None)
        _refuse_files(name, block)
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
    found["connections"] = {name: dict(each) for name, each in document["connections"].items()}
    return {key: value for key, value in found.items() if value}


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
