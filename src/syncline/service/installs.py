"""Use cases: the catalog of connectors for those who look at a page, and installing one of them in the background."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import connectors
from syncline.service.callers import Caller, Role
from syncline.service.connectors import Installable
from syncline.service.control import Control
from syncline.service.errors import NotFoundError

__all__ = ["Install", "begin", "catalog", "get"]

#: So many are remembered, in memory: what is installed is told by the catalog.
_REMEMBERED = 50


@dataclass(frozen=True, kw_only=True)
class Install:
    """One installation; ``steps`` are what it said, oldest first."""

    id: UUID
    name: str
    status: Literal["running", "succeeded", "failed"]
    started_at: datetime
    ended_at: datetime | None = None
    steps: tuple[str, ...] = ()
    result: Mapping[str, Any] | None = None
    error: SynclineError | None = None


class _Installs:
    """Those of this process, oldest first; one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[UUID, Install] = OrderedDict()

    def find(self, install_id: UUID) -> Install | None:
        with self._lock:
            return self._known.get(install_id)

    def begin(self, name: str) -> Install:
        with self._lock:
            running = next((each for each in self._known.values() if each.status == "running"), None)
            if running is not None:
                raise SynclineError(
                    ErrorKind.CONFLICT, f"{running.name} is being installed", hint="wait until that has ended"
                )
            made = Install(id=uuid4(), name=name, status="running", started_at=datetime.now(UTC))
            self._known[made.id] = made
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return made

    def tell(self, install_id: UUID, step: str) -> None:
        with self._lock:
            known = self._known[install_id]
            self._known[install_id] = replace(known, steps=(*known.steps, step))

    def end(self, install_id: UUID, **outcome: Any) -> None:
        with self._lock:
            self._known[install_id] = replace(self._known[install_id], ended_at=datetime.now(UTC), **outcome)


def catalog(word: str = "") -> list[Installable]:
    """What can be installed here, narrowed by a word, and which versions are. Anybody who signed in may look."""
    return connectors.installables(word)


def begin(control: Control, caller: Caller, name: str) -> Install:
    """Install a connector of the catalog, in the background. An instance admin's right: it runs other people's code on
    this machine. Raises ``config`` for one that the catalog does not know, ``conflict`` while another is installed."""
    caller.require(Role.ADMIN, None)
    entry = connectors.describe(name).entry
    known = _installs(control)
    begun = known.begin(entry.name)

    def work() -> None:
        try:
            result = connectors.install_connector(
                entry.name,
                version=None,
                overrides=None,
                python=None,
                tell=lambda step: known.tell(begun.id, step),
            )
            known.end(begun.id, status="succeeded", result=result)
        except SynclineError as error:
            known.end(begun.id, status="failed", error=error)
        except Exception as error:  # noqa: BLE001 - one that ran for ever would keep others from being installed
            known.end(begun.id, status="failed", error=SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}"))

    threading.Thread(target=work, name="syncline-install", daemon=True).start()
    return begun


def get(control: Control, caller: Caller, install_id: UUID) -> Install:
    """How an installation stands. Raises "not found" also for one of before a restart."""
    caller.require(Role.ADMIN, None)
    found = _installs(control).find(install_id)
    if found is None:
        raise NotFoundError("installation", install_id)
    return found


def _installs(control: Control) -> _Installs:
    known = control.memory.setdefault("installs", _Installs())
    assert isinstance(known, _Installs)
    return known
