"""Which waiting jobs may start now: a pure function of the queue, of what runs, and of the limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from syncline.store.job_values import Job

__all__ = ["Limits", "Room", "startable"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``slots`` jobs run at once in all. ``of`` are the limits of workspaces, sources and destinations that have one.
    Jobs that follow a log never end; they have ``following_slots`` of their own, or they would take all the others."""

    slots: int
    following_slots: int
    of: Mapping[UUID, int] = field(default_factory=dict)


class Room:
    """What ``running`` jobs leave free."""

    def __init__(self, running: Iterable[Job], limits: Limits) -> None:
        self._limits = limits
        self._used: Counter[UUID] = Counter()
        self._following = self._others = 0
        for job in running:
            self._enter(job)

    @property
    def for_others(self) -> bool:
        """Whether a job that ends by itself finds a slot."""
        return self._others < self._limits.slots

    @property
    def for_following(self) -> bool:
        """Whether a job that follows a log finds a slot."""
        return self._following < self._limits.following_slots

    @property
    def full(self) -> frozenset[UUID]:
        """Workspaces, sources and destinations whose limit is reached."""
        return frozenset(place for place, limit in self._limits.of.items() if self._used[place] >= limit)

    def take(self, job: Job) -> bool:
        """Give the job its place; False when it does not fit."""
        slot = self.for_following if _follows(job) else self.for_others
        if not slot or not self.full.isdisjoint(_places(job)):
            return False
        self._enter(job)
        return True

    def _enter(self, job: Job) -> None:
        self._used.update(_places(job))
        self._following += _follows(job)
        self._others += not _follows(job)


def startable(waiting: Sequence[Job], room: Room) -> list[Job]:
    """Those of ``waiting`` (in the order of the queue) that fit; they take their places in ``room``. One that does not
    fit keeps none behind it waiting, unless they want the same place."""
    return [job for job in waiting if room.take(job)]


def _follows(job: Job) -> bool:
    return job.cause == "continuous"


def _places(job: Job) -> tuple[UUID, UUID, UUID]:
    return (job.workspace_id, job.source_id, job.destination_id)
