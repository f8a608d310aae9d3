"""An Airbyte workspace, as its APIs tell it, made a project file.

Airbyte shows no secret: in the file a reference stands for each, and :class:`Imported` names what to set. Positions
come as Airbyte's connectors wrote them, so only a connection that runs the same connector here can go on from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from syncline.core.errors import SynclineError
from syncline.service import definitions
from syncline.service.errors import invalid
from syncline.service.secrets.masking import MASK
from syncline.store.values import ActorRole

__all__ = ["Imported", "Workspace", "imported"]


@dataclass(kw_only=True)
class Workspace:
    """What Airbyte answered: objects of its public API (``/sources`` …) or of its config API (``/sources/list`` …), and
    the answers of ``/state/get``."""

    sources: list[Mapping[str, Any]] = field(default_factory=list)
    destinations: list[Mapping[str, Any]] = field(default_factory=list)
    connections: list[Mapping[str, Any]] = field(default_factory=list)
    states: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, answer: Any, where: str) -> None:
        """One document: a list, an answer with one in it, a single object, or several of these by their names."""
        if isinstance(answer, list):
            for each in answer:
                self.add(each, where)
            return
        if not isinstance(answer, Mapping):
            raise invalid(where, "holds no objects of Airbyte's APIs")
        kind = _kind(answer)
        if kind is not None:
            getattr(self, kind).append(answer)
            return
        lists = [each for each in answer.values() if isinstance(each, list | Mapping)]
        if not lists:
            raise invalid(where, "holds no sources, destinations, connections or states of Airbyte's APIs")
        for each in lists:
            if each:
                self.add(each, where)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """``file`` is the project file; ``secrets`` (place in the file -> environment variable) is what must be set;
    ``states`` are those that can be taken over, by the connection's name; ``notes`` say what is not as it was."""

    file: dict[str, Any]
    secrets: dict[str, str]
    states: dict[str, dict[str, Any]]
    notes: tuple[str, ...]


def _kind(answer: Mapping[str, Any]) -> str | None:
    if "stateType" in answer:
        return "states"
    if "connectionId" in answer and ("sourceId" in answer or "destinationId" in answer):
        return "connections"
    if "sourceId" in answer:
        return "sources"
    return "destinations" if "destinationId" in answer else None


def imported(workspace: Workspace) -> Imported:
    """Never raises for what cannot be taken over: it is left out, and the notes say so."""
    notes: list[str] = []
    secrets: dict[str, str] = {}
    named: dict[str, dict[str, str]] = {}
    #: Sources that run Airbyte's connector here too. Their names are no destinations', which may be the same.
    airbytes: set[str] = set()
    file: dict[str, Any] = {"sources": {}, "destinations": {}, "connections": {}}
    roles: tuple[ActorRole, ...] = ("source", "destination")
    for role in roles:
        named[role] = {}
        for each in getattr(workspace, f"{role}s"):
            if each.get("tombstone"):
                continue
            name = _free(str(each.get("name") or each[f"{role}Id"]), file[f"{role}s"])
            block = _connector(role, name, each, notes)
            if block is None:
                continue
            place = f"{role}s.{name}.config"
            file[f"{role}s"][name] = block | {"config": _with_references(block["config"], place, name, secrets)}
            named[role][str(each[f"{role}Id"])] = name
            if role == "source" and block["type"] == "airbyte":
                airbytes.add(name)
    states = {str(each.get("connectionId")): each for each in workspace.states}
    taken: dict[str, dict[str, Any]] = {}
    for each in workspace.connections:
        if str(each.get("status")) == "deprecated":
            continue
        name = _free(str(each.get("name") or each["connectionId"]), file["connections"])
        ends: dict[str, str | None] = {role: named[role].get(str(each.get(f"{role}Id"))) for role in roles}
        missing = [role for role, end in ends.items() if end is None]
        if missing:
            notes.append(f"connection {name!r} is left out: its {missing[0]} is not in the file")
            continue
        file["connections"][name] = {**ends, **_connection(name, each, notes)}
        state = states.get(str(each["connectionId"]))
        if state is None or state.get("stateType") == "not_set":
            continue
        if ends["source"] not in airbytes or state.get("stateType") == "legacy":
            notes.append(
                f"connection {name!r} reads everything once: the position of Airbyte's connector means nothing to the "
                "one that reads here"
            )
        else:
            taken[name] = {key: value for key, value in state.items() if key != "connectionId"}
    found = {key: value for key, value in file.items() if value}
    return Imported(file=found, secrets=secrets, states=taken, notes=tuple(notes))


def _connector(role: ActorRole, name: str, each: Mapping[str, Any], notes: list[str]) -> dict[str, Any] | None:
    config = dict(each.get("configuration") or each.get("connectionConfiguration") or {})
    written = config.pop(f"{role}Type", None)
    kind = _type(role, each, written)
    if kind is None:
        notes.append(f"{role} {name!r} is left out: its answer names no connector that is known here")
        return None
    try:
        definitions.for_type(role, kind)
    except SynclineError as error:
        if role == "source":
            notes.append(f"source {name!r} runs Airbyte's own connector: syncline connectors install {kind}")
            return {"type": "airbyte", "config": {"package": kind, "config": config}}
        notes.append(f"{role} {name!r} is left out: {error.message}")
        return None
    return {"type": kind, "config": config}


def _type(role: ActorRole, each: Mapping[str, Any], written: Any) -> str | None:
    known = each.get(f"{role}Type") or written
    if known:
        return str(known).removeprefix(f"{role}-")
    number = str(each.get("definitionId") or each.get(f"{role}DefinitionId") or "")
    return definitions.type_of(role, number)


def _with_references(value: Any, place: str, name: str, secrets: dict[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_references(each, f"{place}.{key}", name, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_references(each, f"{place}[{n}]", name, secrets) for n, each in enumerate(value)]
    if value != MASK:
        # A text of Airbyte's is no reference of ours.
        return value.replace("${", "$${") if isinstance(value, str) and _LOOKS_LIKE_ONE.search(value) else value
    last = place.partition(".config.")[2]
    variable = re.sub(r"\W+", "_", f"{name}_{last}").strip("_").upper()
    variable = variable if not variable[:1].isdigit() else f"_{variable}"
    while variable in secrets.values():
        variable += "_"
    secrets[place] = variable
    return f"${{{variable}}}"


#: Airbyte's own path variables are placeholders here as well.
_LOOKS_LIKE_ONE = re.compile(
    r"\$\{(?!NAMESPACE\}|STREAM_NAME\}|SOURCE_NAMESPACE\}|YEAR\}|MONTH\}|DAY\}|HOUR\}|MINUTE\}|SECOND\}|MILLISECOND\}"
    r"|EPOCH\}|UUID\})"
)


def _connection(name: str, each: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    said: dict[str, Any] = {"mode": "full_refresh_overwrite", **_schedule(name, each, notes)}
    if str(each.get("status")) == "inactive":
        said["enabled"] = False
    if each.get("prefix"):
        said["prefix"] = each["prefix"]
    namespace = {"customformat": "custom_format"}.get(
        str(each.get("namespaceDefinition")), each.get("namespaceDefinition")
    )
    if namespace in ("source", "custom_format"):
        said["namespace_definition"] = namespace
        if namespace == "custom_format":
            said["namespace_format"] = each.get("namespaceFormat")
    changes = each.get("nonBreakingSchemaUpdatesBehavior") or each.get("nonBreakingChangesPreference") or "ignore"
    said["schema_changes"] = {"policy": "disable_connection" if changes == "disable" else changes}
    if said["schema_changes"]["policy"] == "propagate_fully":
        del said["schema_changes"]
    tags = [str(tag["name"]) for tag in each.get("tags") or () if tag.get("name")]
    if tags:
        said["tags"] = tags
    streams = list(_streams(name, each, notes))
    return {**said, **({"streams": streams} if streams else {})}


def _schedule(name: str, each: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    schedule = each.get("schedule") or {}
    kind = each.get("scheduleType") or schedule.get("scheduleType")
    data = each.get("scheduleData") or {}
    cron = schedule.get("cronExpression") or (data.get("cron") or {}).get("cronExpression")
    if kind == "cron" and cron:
        zone = (data.get("cron") or {}).get("cronTimeZone")
        return {"schedule": cron, **({"time_zone": zone} if zone and zone not in cron else {})}
    if kind == "basic":
        timing = str(schedule.get("basicTiming") or "").lower()
        basic = data.get("basicSchedule") or schedule
        if not timing and basic.get("units"):
            timing = f"every {basic['units']} {basic['timeUnit']}"
        if timing:
            return {"schedule": timing}
    if kind not in ("manual", None):
        notes.append(f"connection {name!r}: its schedule ({kind}) is not taken over")
    return {}


def _streams(name: str, each: Mapping[str, Any], notes: list[str]) -> Iterable[dict[str, Any]]:
    """Of both APIs' forms; those that are not selected are left out."""
    configured = each.get("configurations") or {}
    public = [(stream, stream) for stream in configured.get("streams") or ()]
    catalog = (each.get("syncCatalog") or {}).get("streams") or ()
    config = [
        (pair["stream"], pair["config"])
        for pair in catalog
        if pair.get("config", {}).get("selected", True) is not False
    ]
    for stream, how in public or config:
        namespace = stream.get("namespace")
        full = f"{namespace}.{stream['name']}" if namespace else str(stream["name"])
        mode = str(how.get("syncMode") or "full_refresh_overwrite")
        if how.get("destinationSyncMode"):
            mode = _MODES.get((mode, str(how["destinationSyncMode"])), mode)
        said: dict[str, Any] = {"name": full, "mode": mode}
        for key, wanted in (("cursorField", "cursor_field"), ("primaryKey", "primary_key")):
            value = how.get(key)
            if not value:
                continue
            parts = [[part] if isinstance(part, str) else list(part) for part in value]
            if any(len(part) != 1 for part in parts):
                notes.append(f"connection {name!r}, stream {full}: the nested {key} is not taken over")
            elif wanted == "cursor_field":
                said[wanted] = parts[-1][0]
            else:
                said[wanted] = [part[0] for part in parts]
        fields = [list(f["fieldPath"]) for f in how.get("selectedFields") or () if f.get("fieldPath")]
        if fields and all(len(path) == 1 for path in fields) and how.get("fieldSelectionEnabled", True):
            said["columns"] = [path[0] for path in fields]
        if how.get("mappers"):
            said["mappers"] = list(how["mappers"])
        yield said


_MODES = {
    ("full_refresh", "overwrite"): "full_refresh_overwrite",
    ("full_refresh", "append"): "full_refresh_append",
    ("full_refresh", "overwrite_dedup"): "full_refresh_overwrite_deduped",
    ("full_refresh", "append_dedup"): "full_refresh_overwrite_deduped",
    ("incremental", "append"): "incremental_append",
    ("incremental", "append_dedup"): "incremental_deduped_history",
}


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, numbered when another has it, without what a ledger's key cannot hold."""
    clean = name.replace("/", "-").strip().lstrip(".") or "unnamed"
    found, number = clean, 2
    while found in taken:
        found, number = f"{clean} {number}", number + 1
    return found
