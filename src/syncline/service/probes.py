"""Use cases that look at a source or destination: check, discover, reading and setting states.

Each look is a process of its own (:mod:`syncline.service.probe`), killed when it takes too long. Everything here waits
for somebody else's database: call it from a thread, never inside a transaction.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.interpolation import literal
from syncline.service import actors, airbyte_config, definitions
from syncline.service.callers import SYSTEM, Caller, Role
from syncline.service.control import Control
from syncline.service.definitions import Definition
from syncline.store import catalogs as rows
from syncline.store.schema import new_id, now
from syncline.store.values import Actor, ActorRole, StoredCatalog

__all__ = [
    "ProbeResult",
    "check_actor",
    "check_configuration",
    "discover",
    "fetch",
    "fetch_soon",
    "known_catalog",
    "look",
]

CHECK_SECONDS = 60.0
DISCOVER_SECONDS = 120.0
#: A source whose catalog was asked for in the background is left alone for so long.
_NOT_AGAIN_SECONDS = 300.0
#: So many looks at once; each is a process of some 100 MB.
_AT_ONCE = threading.BoundedSemaphore(4)
#: The server's own secrets, which no connector needs.
_KEPT_BACK = ("SYNCLINE_SECRET_KEY", "SYNCLINE_DATABASE_URL", "SYNCLINE_ADMIN_PASSWORD")


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """``findings`` as ``sdk.findings.Finding.to_json`` writes them; ``message`` says what is wrong and what to do."""

    ok: bool
    message: str
    findings: tuple[Mapping[str, Any], ...] = ()


def check_actor(control: Control, caller: Caller, role: ActorRole, actor_id: UUID) -> ProbeResult:
    """Can a stored source or destination be used? A runner's right. What cannot be reached is an answer, no error."""
    actor = actors.get(control, caller, role, actor_id)
    caller.require(Role.RUNNER, actor.workspace_id)
    definition = definitions.get(control, caller, role, actor.definition_id)
    return _checked(control, definition, actors.clear_configuration(control, actor))


def check_configuration(
    control: Control,
    caller: Caller,
    role: ActorRole,
    configuration: Mapping[str, Any],
    *,
    workspace_id: UUID,
    definition_id: UUID | None = None,
    actor_id: UUID | None = None,
) -> ProbeResult:
    """The same for a configuration that is not stored. With ``actor_id`` masks in it stand for that one's secrets, and
    the connector is its. An editor's right."""
    caller.require(Role.EDITOR, workspace_id)
    if actor_id is not None:
        actor = actors.get(control, caller, role, actor_id)
        caller.require(Role.EDITOR, actor.workspace_id)
        definition, whole = actors.tried(control, caller, actor, configuration)
    else:
        new = actors.NewActor(
            workspace_id=workspace_id, name="check", configuration=configuration, definition_id=definition_id
        )
        definition, whole = actors.untried(control, caller, role, new)
    return _checked(control, definition, whole)


def _checked(control: Control, definition: Definition, whole: Mapping[str, Any]) -> ProbeResult:
    request = {"task": "check", "role": definition.role, "reference": _reference(definition, whole)}
    try:
        findings = look(control, request, CHECK_SECONDS)
    except SynclineError as error:
        return ProbeResult(ok=False, message=_sentence(error.message, error.hint))
    wrong = [_sentence(f["message"], f["hint"]) for f in findings if f["severity"] == "error"]
    return ProbeResult(ok=not wrong, message="; ".join(wrong), findings=tuple(findings))


def discover(control: Control, caller: Caller, source_id: UUID, *, fresh: bool = False) -> StoredCatalog:
    """What the source offers: as last seen with this configuration, or (``fresh``, or never seen) as it is now. Raises
    what the connector raises."""
    source = actors.get(control, caller, "source", source_id)
    if not fresh and (known := known_catalog(control, source)) is not None:
        return known
    caller.require(Role.RUNNER, source.workspace_id)
    return fetch(control, source, definitions.get(control, caller, "source", source.definition_id))


def known_catalog(control: Control, source: Actor) -> StoredCatalog | None:
    """The catalog as last seen, unless the source was configured anew since."""
    with control.database.read() as transaction:
        known = rows.of_source(transaction, source.id)
    return known if known is not None and known.configuration_digest == _digest(source) else None


def fetch(control: Control, source: Actor, definition: Definition) -> StoredCatalog:
    """Look at the source and remember what it offers."""
    whole = actors.clear_configuration(control, source)
    request = {"task": "discover", "role": "source", "reference": _reference(definition, whole)}
    found = look(control, request, DISCOVER_SECONDS)
    catalog = StoredCatalog(
        id=new_id(), source_id=source.id, configuration_digest=_digest(source), catalog=found, discovered_at=now()
    )
    with control.database.write() as transaction:
        rows.save(transaction, catalog)
    return catalog


def fetch_soon(control: Control, source: Actor) -> None:
    """Have the source's catalog in the store before somebody asks for it. A source that cannot be seen is for its
    check to tell, and is not looked at again and again for a hundred connections that are made on it."""
    if known_catalog(control, source) is not None:
        return
    asked = control.memory.setdefault("catalogs_asked_for", {})
    assert isinstance(asked, dict)
    key = (source.id, _digest(source))
    if time.monotonic() - asked.get(key, -_NOT_AGAIN_SECONDS) < _NOT_AGAIN_SECONDS:
        return
    asked[key] = time.monotonic()

    def work() -> None:
        with contextlib.suppress(SynclineError):
            fetch(control, source, definitions.get(control, SYSTEM, "source", source.definition_id))

    control.later(work)


def _digest(source: Actor) -> str:
    """Of all but the secrets: a new password finds the same catalog."""
    text = json.dumps([source.connector, source.configuration], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _reference(definition: Definition, whole: Mapping[str, Any]) -> dict[str, Any]:
    spec = definitions.connector_of(definition)
    return {"type": spec.name, "config": literal(airbyte_config.connector_config(definition, whole))}


def _sentence(message: str, hint: str) -> str:
    return f"{message} ({hint})" if hint else message


def look(control: Control, request: Mapping[str, Any], seconds: float) -> Any:
    """Do ``request`` in a process of its own and give its answer. Raises the connector's error, ``unreachable`` when it
    took longer than ``seconds``, ``transient`` when too many look at once."""
    if not _AT_ONCE.acquire(timeout=seconds):
        raise SynclineError(ErrorKind.TRANSIENT, "too many checks and discoveries at once", hint="try again")
    try:
        text = _run(control, request, seconds)
    finally:
        _AT_ONCE.release()
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise SynclineError(
            ErrorKind.INTERNAL, "the process that looks ended without an answer", hint="see the server's log"
        ) from None
    if "error" in found:
        # Said here for all: it is not the caller who lacks a right or gave a wrong password.
        raise SynclineError.from_json(found["error"]).at(connector=request.get("role", "either end"))
    return found["answer"]


def _run(control: Control, request: Mapping[str, Any], seconds: float) -> str:
    settings = control.settings
    whole = {**request, "id": new_id().hex, "home": str(settings.home), "keep_runs": settings.keep_runs}
    command = [sys.executable, "-m", "syncline.service.probe"]
    environment = {name: value for name, value in os.environ.items() if name not in _KEPT_BACK}
    return control.children.ask(command, json.dumps(whole).encode(), environment, seconds).decode(errors="replace")
