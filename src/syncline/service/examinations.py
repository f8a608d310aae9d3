"""Use cases that look at both ends of a stored connection: what a sync would do, whether both ends are equal, how far a
log is behind.

Each look is a process of its own, as in :mod:`syncline.service.probes`. They take as long as the data: call them from a
thread. A comparison may take hours; it runs on a thread of its own and is asked for its result.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import connections
from syncline.service.both_ends import allowed, ask
from syncline.service.callers import Caller, Role
from syncline.service.changes import UNSET, Unset
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.service.stored_connections import runnable
from syncline.store.values import StreamConfig

__all__ = ["Verification", "log_lag", "plan", "verification", "verify"]

PLAN_SECONDS = 120.0
#: A comparison reads both ends whole.
VERIFY_SECONDS = 24 * 3600.0
#: Fewer than there may be looks: somebody's check must not wait for a comparison of hours.
_AT_ONCE = 2
#: So many comparisons are remembered, in memory: their results are worth nothing once the data has changed.
_REMEMBERED = 100


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A comparison of both ends. ``equal`` and ``streams`` (as ``StreamVerdict.to_json`` writes them) are there when it
    ``succeeded``, which says that it was made, not how it came out."""

    id: UUID
    connection_id: UUID
    status: Literal["running", "succeeded", "failed"]
    started_at: datetime
    ended_at: datetime | None = None
    equal: bool | None = None
    streams: tuple[Mapping[str, Any], ...] = ()
    error: SynclineError | None = None


class _Verifications:
    """Those of this process, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[UUID, Verification] = OrderedDict()

    def find(self, verification_id: UUID) -> Verification | None:
        with self._lock:
            return self._known.get(verification_id)

    def begin(self, connection_id: UUID) -> Verification:
        """Raises ``conflict`` when one of the connection runs, or too many do."""
        with self._lock:
            if sum(v.status == "running" for v in self._known.values()) >= _AT_ONCE:
                raise SynclineError(
                    ErrorKind.CONFLICT, f"{_AT_ONCE} comparisons run already", hint="wait for one of them to end"
                )
            if any(v.connection_id == connection_id and v.status == "running" for v in self._known.values()):
                raise SynclineError(
                    ErrorKind.CONFLICT, "both ends are being compared already", hint="wait for that to end"
                )
            made = Verification(id=uuid4(), connection_id=connection_id, status="running", started_at=datetime.now(UTC))
            self._known[made.id] = made
            ended = [key for key, value in self._known.items() if value.status != "running"]
            for key in ended[: max(0, len(self._known) - _REMEMBERED)]:
                del self._known[key]
            return made

    def end(self, verification_id: UUID, **outcome: Any) -> None:
        with self._lock:
            known = self._known[verification_id]
            self._known[verification_id] = replace(known, ended_at=datetime.now(UTC), **outcome)


def plan(
    control: Control,
    caller: Caller,
    connection_id: UUID,
    streams: Sequence[StreamConfig] | Unset | None = UNSET,
) -> list[Mapping[str, Any]]:
    """What a sync would do now: ``service.plan.StreamPlan`` as JSON, one per stream. ``streams``: as if the connection
    took these (None: all). A runner's right. Takes a while."""
    allowed(control, caller, connection_id, Role.RUNNER)
    found: list[Mapping[str, Any]] = _look(control, connection_id, {"task": "plan"}, PLAN_SECONDS, streams)
    return found


def log_lag(control: Control, caller: Caller, connection_id: UUID) -> Mapping[str, Any]:
    """How far a connection that follows a log is behind: ``service.lag.LagReport`` as JSON. ``config`` for one that
    follows none. A runner's right. Takes a while."""
    allowed(control, caller, connection_id, Role.RUNNER)
    found: Mapping[str, Any] = _look(control, connection_id, {"task": "lag"}, PLAN_SECONDS)
    return found


def verify(control: Control, caller: Caller, connection_id: UUID, streams: Sequence[str] | None = None) -> Verification:
    """Begin to compare both ends, of the named streams or of all. Returns at once. A runner's right; ``conflict`` when
    one runs for the connection."""
    allowed(control, caller, connection_id, Role.RUNNER)
    known = _verifications(control)
    begun = known.begin(connection_id)

    def compare() -> None:
        try:
            task = {"task": "verify", "streams": None if streams is None else list(streams)}
            verdicts = _look(control, connection_id, task, VERIFY_SECONDS)
            equal = all(verdict["equal"] for verdict in verdicts)
            known.end(begun.id, status="succeeded", equal=equal, streams=tuple(verdicts))
        except SynclineError as error:
            known.end(begun.id, status="failed", error=error)
        except Exception as error:  # noqa: BLE001 - one that ran for ever would keep others from running
            known.end(begun.id, status="failed", error=SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}"))

    threading.Thread(target=compare, name="syncline-verify", daemon=True).start()
    return begun


def verification(control: Control, caller: Caller, verification_id: UUID) -> Verification:
    """How a comparison stands. Raises "not found" also for one of another server or of before a restart."""
    found = _verifications(control).find(verification_id)
    if found is None:
        raise NotFoundError("verification", verification_id)
    connections.get(control, caller, found.connection_id)
    return found


def _verifications(control: Control) -> _Verifications:
    known = control.memory.setdefault("verifications", _Verifications())
    assert isinstance(known, _Verifications)
    return known


def _look(
    control: Control,
    connection_id: UUID,
    task: Mapping[str, Any],
    seconds: float,
    streams: Sequence[StreamConfig] | Unset | None = UNSET,
) -> Any:
    return ask(control, runnable(control, connection_id, streams), task, seconds)
