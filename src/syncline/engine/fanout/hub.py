"""The one source behind the runs of several destinations: asked once, read once, its log received once.

    hub = Hub(reference, context, destinations=("lake", "warehouse"), leave_behind=True)
    run_attempt(…, open_source=hub.opener("lake"))     # in a thread of its own; and so for each
    hub.ended("lake")                                  # it will not run again
    hub.close()

What is shared, and for how long: a catalogue or a look at the source for a minute; a plan as long as whoever asks later
would plan the same (and the log is still kept for it from the plan's beginning on); rows while somebody may want them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import Catalog, SelectedStream
from syncline.engine.fanout.recording import Item, Recording
from syncline.engine.ports import SourceOpener
from syncline.sdk.change_log import ChangeLog, ReadsChanges, SharedLog, SharesLog
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.reference import ConnectorReference, open_source
from syncline.sdk.source import Source

__all__ = ["COPY_BYTES", "Hub"]

#: What is read once and not yet taken by all may take so much of the disk.
COPY_BYTES = 4 << 30
#: A look at the source holds for others so long: they all begin together.
_LOOK_SECONDS = 60.0
#: Who comes later than this plans anew, and rows that nobody took for so long go.
_PLAN_SECONDS = 600.0
_SWEEP_SECONDS = 15.0

T = TypeVar("T")


@dataclass(kw_only=True)
class _Look:
    """An answer of the source, and which destinations have it."""

    answer: Any
    at: float
    told: set[str] = field(default_factory=set)


@dataclass(eq=False)
class _Plan:
    """A plan that several carry out. ``users`` go by it now; ``source`` is what made it and may hold a snapshot open
    for it."""

    key: str
    plan: ReadPlan
    source: Source
    own_source: bool
    made_at: float
    users: set[str] = field(default_factory=set)
    recordings: dict[str, Recording] = field(default_factory=dict)
    taken: dict[str, set[str]] = field(default_factory=dict)  # recording -> who has all of it
    #: all who went by it are done, and the source has heard of it
    released: bool = False

    @property
    def is_recorded(self) -> bool:
        """Whether every row is still to be had without the source."""
        return len(self.recordings) >= len(self.plan.partitions) and all(r.usable for r in self.recordings.values())


class Hub:
    """``destinations`` are those that run, ``every`` one of the connection's has a place in the log. ``context`` is the
    source's: connection and local folder. Any thread."""

    def __init__(
        self,
        reference: ConnectorReference,
        context: ConnectorContext,
        *,
        destinations: Sequence[str],
        every: Sequence[str] = (),
        leave_behind: bool = True,
        copy_bytes: int = COPY_BYTES,
    ) -> None:
        self._reference, self._context = replace(reference, mappings=()), context
        self._every, self._leave_behind = tuple(every or destinations), leave_behind
        self._copy_bytes = copy_bytes
        self._live = set(destinations)
        self._lock = threading.RLock()
        self._asking = threading.Lock()
        self._folder = context.work_dir / "copies"
        self._numbers = count(1)
        self.source = open_source(self._reference, context)
        self.log = self._shared_log()
        self._looks: dict[str, _Look] = {}
        self._plans: dict[str, _Plan] = {}
        self._going_by: dict[tuple[str, str], _Plan] = {}  # destination and stream
        self._feeds: dict[str, Recording] = {}
        self._fed: dict[str, set[str]] = {}
        self._closing = threading.Event()
        _clear(self._folder)  # of a run that was killed
        self._sweeper = threading.Thread(target=self._sweep_now_and_then, name="fan-out", daemon=True)
        self._sweeper.start()

    def opener(self, destination: str, stop: threading.Event | None = None) -> SourceOpener:
        """How the run of a destination comes by its source. What it reads ends with an error once ``stop`` is set: a
        copy has no other way to hear of it."""
        from syncline.engine.fanout.source import source_for

        def opened(reference: ConnectorReference, context: ConnectorContext) -> Source:
            return source_for(self, destination, reference, stop)

        return opened

    def begins(self, destination: str) -> None:
        """An attempt of this destination begins. Plans of its former one are forgotten: what it resumes it reads by
        itself."""
        with self._lock:
            self._live.add(destination)
        self._forget_plans_of(destination)

    def _forget_plans_of(self, destination: str) -> None:
        with self._lock:
            for place in [place for place in self._going_by if place[0] == destination]:
                self._going_by.pop(place).users.discard(destination)

    def ended(self, destination: str) -> None:
        """It does not run any more: nothing is kept for it, but its place in the log."""
        self._forget_plans_of(destination)
        with self._lock:
            self._live.discard(destination)
        self._sweep()

    def close(self) -> None:
        """After all runs have ended."""
        self._closing.set()
        self._sweeper.join()
        with self._lock:
            recordings = [*self._feeds.values(), *(r for p in self._plans.values() for r in p.recordings.values())]
            plans, self._plans, self._feeds = list(self._plans.values()), {}, {}
        for recording in recordings:
            recording.drop()
        for plan in plans:
            self._release(plan)
        if self.log is not None:
            self.log.close()
        self.source.close()
        _clear(self._folder)

    # -- looks -----------------------------------------------------------------------------------------------------

    def once(self, destination: str, what: str, ask: Callable[[], T]) -> T:
        """What another destination was answered a moment ago, or a new answer. Who asks again begins again."""
        with self._asking:
            known = self._looks.get(what)
            if known is None or destination in known.told or time.monotonic() - known.at > _LOOK_SECONDS:
                known = self._looks[what] = _Look(answer=ask(), at=time.monotonic())
            known.told.add(destination)
            return cast(T, known.answer)

    def discover(self, destination: str) -> Catalog:
        return self.once(destination, "catalog", self.source.discover)

    def change_log(self, destination: str, selection: Sequence[SelectedStream]) -> ChangeLog | None:
        return None if self.log is None else self.log.of(destination, selection)

    def _shared_log(self) -> SharedLog | None:
        source = self.source
        if isinstance(source, SharesLog):
            return source.shared_log(self._every, leave_behind=self._leave_behind)
        if isinstance(source, ReadsChanges) and source.change_log(()) is not None:
            source.close()
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the log of a {self._reference.type} source is not kept here: each destination would read it at the "
                "server by itself",
                hint="give each destination a connection of its own, or read this source without its log",
                where={"connection": self._context.connection},
            )
        return None

    # -- plans -----------------------------------------------------------------------------------------------------

    def plan(
        self, destination: str, selected: SelectedStream, what: str, make: Callable[[Source], ReadPlan]
    ) -> ReadPlan:
        """The plan that others go by, or a new one. ``what`` says which: a whole copy, or from which position on."""
        key = f"{what} {json.dumps(selected.to_json(), sort_keys=True)}"
        with self._asking:
            with self._lock:
                found = self._plans.get(key)
                if found is not None and self._suits(found, destination):
                    found.users.add(destination)
                    self._going_by[destination, str(selected.name)] = found
                    return found.plan
                # A source keeps one snapshot open for a stream; that of others must not be closed by our asking.
                held = any(p.users and not p.released and not p.plan.resumable for p in self._of_stream(selected))
            source = open_source(self._reference, self._context) if held else self.source
            try:
                made = make(source)
            except BaseException:
                if held:
                    source.close()
                raise
            plan = _Plan(key=key, plan=made, source=source, own_source=held, made_at=time.monotonic())
            with self._lock:
                plan.users.add(destination)
                former = self._plans.get(key)
                if former is not None and not former.users:
                    self._forget(former)
                elif former is not None:
                    self._plans[f"{key} {former.made_at}"] = former
                self._plans[key] = plan
                self._going_by[destination, str(selected.name)] = plan
            return made

    def _of_stream(self, selected: SelectedStream) -> list[_Plan]:
        name = str(selected.name)
        return [plan for (_, stream), plan in self._going_by.items() if stream == name]

    def _suits(self, found: _Plan, destination: str) -> bool:
        if destination in found.users or time.monotonic() - found.made_at > _PLAN_SECONDS:
            return False
        if found.released and not found.plan.resumable and not found.is_recorded:
            return False  # its snapshot is gone
        begins = found.plan.end.get("lsn")
        if begins is None or self.log is None:
            return True
        held = self.log.held_from(destination)
        return held is not None and held <= begins

    def acknowledge(self, destination: str, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        """The source hears of it when all who go by the same plan are there."""
        with self._asking:
            with self._lock:
                plan = self._going_by.pop((destination, str(selected.name)), None)
                if plan is None:
                    return
                plan.users.discard(destination)
                last = not plan.users
                plan.released = plan.released or last
            if last:
                plan.source.acknowledge(selected, position)
        self._sweep()

    # -- rows ------------------------------------------------------------------------------------------------------

    def partition(
        self, destination: str, selected: SelectedStream, partition: Partition, read: Callable[[], Iterator[Item]]
    ) -> Recording | None:
        """The recording of a partition of the plan that this destination goes by; None when it has to read by itself:
        it resumes a plan of an earlier attempt, has taken this once, or comes too late."""
        with self._lock:
            plan = self._going_by.get((destination, str(selected.name)))
            if plan is None or partition not in plan.plan.partitions:
                return None
            key = f"{partition.id} {json.dumps(selected.stream.schema.to_json(), sort_keys=True)}"
            return self._recording(plan.recordings, plan.taken, key, destination, read)

    def feed(self, destination: str, what: str, read: Callable[[], Iterator[Item]]) -> Recording | None:
        """As :meth:`partition`, of a feed that begins at the same states."""
        with self._lock:
            known = self._feeds.get(what)
            if known is not None and time.monotonic() - known.made_at > _PLAN_SECONDS:
                return None
            return self._recording(self._feeds, self._fed, what, destination, read)

    def _recording(
        self,
        recordings: dict[str, Recording],
        taken: dict[str, set[str]],
        key: str,
        destination: str,
        read: Callable[[], Iterator[Item]],
    ) -> Recording | None:
        known = recordings.get(key)
        if known is not None and (not known.usable or destination in taken[key]):
            return None
        if known is None:
            known = recordings[key] = Recording(self._folder / str(next(self._numbers)), read)
            taken[key] = set()
        taken[key].add(destination)
        return known

    # -- what goes -------------------------------------------------------------------------------------------------

    def _sweep_now_and_then(self) -> None:
        while not self._closing.wait(_SWEEP_SECONDS):
            self._sweep()

    def swept(self) -> None:
        """Somebody has taken a recording."""
        self._sweep()

    def _sweep(self) -> None:
        """Drop what nobody wants any more, and the oldest where all takes too much."""
        gone: list[Recording] = []
        with self._lock:
            for plan in list(self._plans.values()):
                gone += self._done(plan.recordings, plan.taken, self._awaited(plan))
                late = time.monotonic() - plan.made_at > _PLAN_SECONDS
                if not plan.users and not plan.recordings and late:
                    self._forget(plan)
            gone += self._done(self._feeds, self._fed, set(self._live))
            kept = [*self._feeds.values(), *(r for p in self._plans.values() for r in p.recordings.values())]
        for recording in gone:
            recording.drop()
        over = sum(r.bytes for r in kept) - self._copy_bytes
        for recording in sorted(kept, key=lambda r: r.made_at):
            if over <= 0:
                break
            over -= recording.give_up(over)

    def _awaited(self, plan: _Plan) -> set[str]:
        """Who may still go by a plan: those who do, and those who have not come to it yet."""
        if time.monotonic() - plan.made_at > _PLAN_SECONDS:
            return set(plan.users)
        return set(self._live)

    def _done(self, recordings: dict[str, Recording], taken: dict[str, set[str]], awaited: set[str]) -> list[Recording]:
        gone = []
        for key, recording in list(recordings.items()):
            coming = awaited - taken[key]
            if coming and time.monotonic() - recording.touched_at < _PLAN_SECONDS and recording.usable:
                continue
            recording.expect_nobody()
            if not recording.taken_from:
                gone.append(recordings.pop(key))
        return gone

    def _forget(self, plan: _Plan) -> None:
        for key, known in list(self._plans.items()):
            if known is plan:
                del self._plans[key]
        self._release(plan)

    def _release(self, plan: _Plan) -> None:
        if plan.own_source:
            plan.own_source = False
            plan.source.close()


def _clear(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
