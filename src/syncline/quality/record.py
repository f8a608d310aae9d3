"""What the gates remember of a stream, as plain JSON in its checkpoint: committed in one act with the rows it is about.

``gates``     fingerprint of the gates under which the running plan is screened
``note``      what the screens counted in the committed partitions of the running plan
``aside``     rows of the running plan that were set aside
``history``   rows of the last publications, oldest first
``results``   verdicts of the last publication, or of the refusal that stands
``judged_at`` when that was, ``sync_id`` by which run
``blocked``   why the plan is not published, where its rows lie; absent when nothing is held back. With ``log`` in it
              changes of a log are held back, not a plan
``replayed``  ids of quarantined rows that were written since and may still lie in the store
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from syncline.core.checkpoint import Staged
from syncline.quality.gate import GateResult
from syncline.quality.screen import merged

__all__ = ["begun", "held_back", "judged", "published", "with_stages"]

#: Publications with which a change of the row count is compared.
_HISTORY = 5

_Quality = Mapping[str, Any]


def begun(known: _Quality, fingerprint: str) -> dict[str, Any]:
    """A plan begins."""
    kept = {k: v for k, v in known.items() if k in ("history", "results", "judged_at", "sync_id", "replayed")}
    return {**kept, "gates": fingerprint, "note": {}, "aside": 0} if fingerprint else kept


def with_stages(known: _Quality, staged: Sequence[Staged]) -> dict[str, Any]:
    """Stages are committed. Without gates and without rows aside there is nothing to remember."""
    aside = sum(s.quarantined for s in staged)
    changed = dict(known)
    if aside:
        changed["aside"] = known.get("aside", 0) + aside
    for each in staged:
        if each.note:
            changed["note"] = merged(changed.get("note") or {}, each.note)
    return changed


def published(
    known: _Quality, results: Sequence[GateResult], *, rows: int, sync_id: str, at: datetime, gated: bool
) -> dict[str, Any]:
    """The plan is published; the counts of its run are done with."""
    kept = {k: v for k, v in known.items() if k in ("history", "replayed")}
    if not gated:
        return {k: v for k, v in kept.items() if k == "replayed"}
    return {
        **kept,
        "history": [*known.get("history", ()), rows][-_HISTORY:],
        "results": [r.to_json() for r in results],
        "judged_at": at.isoformat(timespec="milliseconds"),
        "sync_id": sync_id,
    }


def judged(known: _Quality, results: Sequence[GateResult], *, sync_id: str, at: datetime) -> dict[str, Any]:
    """A flush of changes was judged by some of the gates; what others said last stays."""
    new = {r.gate: r.to_json() for r in results}
    kept = [r for r in known.get("results", ()) if r["gate"] not in new]
    return {
        **known,
        "results": [*kept, *new.values()],
        "judged_at": at.isoformat(timespec="milliseconds"),
        "sync_id": sync_id,
    }


def held_back(
    known: _Quality, results: Sequence[GateResult], *, place: str, sync_id: str, at: datetime, reason: str
) -> dict[str, Any]:
    """The plan is not published, its stage stays."""
    return {
        **known,
        "results": [r.to_json() for r in results],
        "judged_at": at.isoformat(timespec="milliseconds"),
        "sync_id": sync_id,
        "blocked": {"reason": reason, "place": place, "since": at.isoformat(timespec="milliseconds")},
    }
