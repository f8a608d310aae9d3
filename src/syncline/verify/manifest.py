"""The files that hold a stream's rows, read from the log of manifests at a destination of files.

A reader of its own, from the log's description: each entry ``log/<20 digits>.json`` holds the whole ``manifest`` after
it, or a ``change`` to the one before. Files are *live* once a later entry says that those pending are complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["LakeFile", "LiveManifest", "read_live"]

_FORMAT = 1
_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class LakeFile:
    """One file, its key relative to the destination's root. ``values``: partition columns that are not inside it."""

    key: str
    bytes: int
    rows: int = -1
    generation: int = 0
    values: Mapping[str, str | None] = field(default_factory=dict)
    pending: bool = False


@dataclass(frozen=True, kw_only=True)
class LiveManifest:
    """``number`` of the newest entry; the files of ``data`` and of ``quarantine`` that its readers see; how many files
    are decided and not yet there (``unfinished``)."""

    number: int
    data: tuple[LakeFile, ...]
    quarantine: tuple[LakeFile, ...]
    unfinished: int


def read_live(
    folder: str, keys: Callable[[str], Sequence[str]], content: Callable[[str], bytes | None]
) -> LiveManifest | None:
    """The newest manifest below ``folder`` (the stream's own, with its slash); None when there is none. ``keys`` lists
    the keys with a prefix, ``content`` reads a small object."""
    for _ in range(_ATTEMPTS):  # entries may be pruned while we read; then there are newer ones
        numbers = sorted(n for key in keys(f"{folder}log/") if (n := _number(key)))
        if not numbers:
            return None
        state = _state(numbers[-1], lambda number: content(f"{folder}log/{number:020}.json"))
        if state is not None:
            return LiveManifest(
                number=numbers[-1],
                data=_files(state["live"], "data"),
                quarantine=_files(state["live"], "quarantine"),
                unfinished=len(state["pending"]),
            )
    raise SynclineError(ErrorKind.DATA, f"the log of manifests {folder}log/ has gaps", hint="copy the stream anew")


def _number(key: str) -> int:
    name = key.rpartition("/")[2].removesuffix(".json")
    return int(name) if len(name) == 20 and name.isdigit() else 0


def _state(newest: int, entry: Callable[[int], bytes | None]) -> dict[str, Any] | None:
    """Go back to an entry with a whole manifest, then forward through the changes."""
    changes: list[dict[str, Any]] = []
    for number in range(newest, 0, -1):
        data = entry(number)
        if data is None:
            return None
        body: dict[str, Any] = json.loads(data)
        if body.get("format") != _FORMAT:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the log of manifests is of format {body.get('format')}, which this version does not know",
                hint="verify with the version of syncline that wrote it",
            )
        if "manifest" in body:
            state: dict[str, Any] = body["manifest"]
            for change in reversed(changes):
                _apply(state, change)
            return state
        changes.append(body["change"])
    return None


def _apply(state: dict[str, Any], change: Mapping[str, Any]) -> None:
    if change.get("published"):
        state["live"] = state["pending"] if state["superseding"] else state["live"] + state["pending"]
        state["pending"], state["superseding"] = [], False
    if change["kind"] != "commit":
        return
    before = _plan(state["checkpoint"])
    checkpoint = change["checkpoint"]
    if change.get("same_plan"):
        checkpoint = {**checkpoint, "plan": state["checkpoint"]["plan"]}
    same = before is not None and before == _plan(checkpoint)
    state["checkpoint"] = checkpoint
    if change.get("write") != "replace":
        state["hidden"] = []
        state["pending"] = state["pending"] + change["added"]
        return
    hidden = (state["hidden"] if same or change["publish"] else []) + change["added"]
    if change["publish"]:
        state["pending"], state["superseding"], hidden = hidden, True, []
    state["hidden"] = hidden


def _plan(checkpoint: Mapping[str, Any]) -> tuple[Any, ...] | None:
    plan = checkpoint.get("plan")
    return (plan["id"], checkpoint["generation"], checkpoint["sync_id"]) if plan else None


def _files(entries: Sequence[Mapping[str, Any]], kind: str) -> tuple[LakeFile, ...]:
    return tuple(
        LakeFile(
            key=entry["key"],
            bytes=entry["bytes"],
            rows=entry["rows"],
            generation=entry["generation"],
            values=entry.get("values", {}),
        )
        for entry in entries
        if entry.get("kind", "data") == kind
    )
