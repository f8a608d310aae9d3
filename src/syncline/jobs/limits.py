"""Which waiting jobs may start now: a pure function of the queue, of what runs, and of the limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from syncline.store.job_values import Job

__all__ = ["Limits", "startable"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``slots`` jobs run at once in all. ``of`` are the limits of workspaces, sources and destinations that have one.
    Jobs that follow a log never end; they have ``following_slots`` of their own, or they would take all the others."""

    slots: int
    following_slots: int
    of: Mapping[UUID, int] = field(default_factory=dict)


def startable(waiting: Sequence[Job], running: Sequence[Job], limits: Limits) -> list[Job]:
    """Those of ``waiting`` (in the order of the queue) that fit. One that does not fit keeps none behind it waiting,
    unless they want the same place."""
    used: Counter[UUID] = Counter()
    following = sum(_follows(job) for job in running)
    others = len(running) - following
    for job in running:
        used.update(_places(job))
    chosen = []
    for job in waiting:
        if following >= limits.following_slots if _follows(job) else others >= limits.slots:
            continue
        if any(used[place] >= limits.of[place] for place in _places(job) if place in limits.of):
            continue
        chosen.append(job)
        used.update(_places(job))
        following += _follows(job)
        others += not _follows(job)
    return chosen


def _follows(job: Job) -> bool:
    return job.cause == "continuous"


def _places(job: Job) -> tuple[UUID, UUID, UUID]:
    return (job.workspace_id, job.source_id, job.destination_id)
