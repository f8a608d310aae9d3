"""What differs between a thing and its block in a document, and what making them equal costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from syncline.service.declarations.record import Noun
from syncline.store.values import ActorRole

__all__ = ["REMOVED", "actor_effects", "connection_effects", "differences"]

#: Keys of which another value means another place.
_PLACES = (
    "host",
    "port",
    "database",
    "schema",
    "bucket",
    "path",
    "s3_bucket",
    "destination_path",
    "prefix",
    "namespace",
)


def actor_effects(role: ActorRole, details: Iterable[str]) -> tuple[str, ...]:
    keys = {line.partition(":")[0].rpartition(".")[2] for line in details}
    found = []
    if any(any(place in key for place in _PLACES) for key in keys):
        if role == "destination":
            found.append(
                "another place: what is written stays where it was, and everything is read again into the new one"
            )
        else:
            found.append(
                "another place: positions of the former one mean nothing there; run verify, or clear the streams"
            )
    if role == "source" and any("method" in key or "slot" in key or "publication" in key for key in keys):
        found.append("the log's reader changes: streams may be read again, and a former slot stays until it is dropped")
    return tuple(found)


def differences(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> list[str]:
    found: list[str] = []
    for key in dict.fromkeys((*before, *after)):
        name = f"{place}{key}"
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{name}.")
        elif key not in before:
            found.append(f"{name}: {_told(new)} (new)")
        elif key not in after:
            found.append(f"{name}: {_told(old)} -> nothing")
        else:
            found.append(f"{name}: {_told(old)} -> {_told(new)}")
    return found


def _told(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:117] + "..."


def connection_effects(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What a changed connection reads again, leaves behind or does differently."""
    found: list[str] = []
    old = {each["name"]: each for each in before.get("streams") or ()}
    new = {each["name"]: each for each in after.get("streams") or ()}
    if before.get("streams") != after.get("streams"):
        if before.get("streams") is None:
            found.append("takes only the named streams from now on; the tables of the others stay as they are")
        elif after.get("streams") is None:
            found.append("takes all streams of the source: those that are new are read whole")
        else:
            found += [f"{name} is read whole" for name in new if name not in old]
            found += [f"{name} is no longer synced; its table stays" for name in old if name not in new]
            for name in new.keys() & old.keys():
                if any(old[name].get(key) != new[name].get(key) for key in ("mode", "primary_key", "cursor_field")):
                    found.append(f"{name} is read again whole, if its mode, key or cursor need it")
    if any(before.get(key) != after.get(key) for key in ("mode", "cursor_field")):
        found.append("streams without a mode of their own are read again whole, if the new mode needs it")
    if any(before.get(key) != after.get(key) for key in ("mappings", "metadata_columns", "deletes")):
        found.append("rows that are written already stay as they are: refresh the streams to rewrite them")
    if after.get("enabled") is False and before.get("enabled", True):
        found.append("a running job is cancelled, and nothing is scheduled; a source's log is retained meanwhile")
    return tuple(sorted(found))


#: What removing a thing of each kind leaves behind, and loses.
REMOVED: Mapping[Noun, tuple[str, ...]] = {
    "connection": (
        "what it has written stays; a slot at the source stays until it is dropped (syncline forget)",
        "its state is lost to a new connection of the name",
    ),
    "source": ("its stored secrets are deleted",),
    "destination": ("its stored secrets are deleted; the data stays",),
}
