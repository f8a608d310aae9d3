"""What connectors change of their own configuration (refresh tokens that rotate), kept in the store as well.

A connector writes it durably into a file below the home folder, before it uses it. The server takes each change into
the store, sealed, while the run goes on; before a run it lays out what a lost or another home folder lacks. So a
rotated token outlives the machine that got it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from syncline.core.errors import SynclineError
from syncline.engine.events import Event
from syncline.engine.listener import Run, RunEnd
from syncline.service.control import Control
from syncline.store import secrets, server_values
from syncline.store.schema import new_id

__all__ = ["TokenKeeper", "lay_out"]

#: Files are looked at this often while a run tells something.
_SECONDS = 0.5
#: Of a connection's folder, what Airbyte's connectors change of their configuration.
_OWN = "airbyte-*config.json"
#: Tokens of declared APIs, which several connections of one account share.
_SHARED = "tokens"
#: Nobody's tokens are larger.
_LARGEST = 1 << 20


class TokenKeeper:
    """Takes changed files into the store, at the events of runs and at their ends. Its files' times are remembered, so
    that a look at what has not changed costs a system call."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._seen: dict[Path, int] = {}
        self._looked: dict[str, float] = {}

    def heard(self, run: Run, event: Event) -> None:
        now = time.monotonic()
        if now - self._looked.get(run.connection_id, 0.0) >= _SECONDS:
            self._looked[run.connection_id] = now
            self.look()

    def ended(self, run: Run, end: RunEnd) -> None:
        self._looked.pop(run.connection_id, None)
        self.look()

    def look(self) -> None:
        """Take what has changed. What cannot be taken now, because the store is away, is taken at the next look."""
        for path in _files(self._control):
            try:
                changed = path.stat().st_mtime_ns
                if self._seen.get(path) == changed:
                    continue
                content = path.read_bytes()
                if len(content) <= _LARGEST:
                    _keep(self._control, path, json.loads(content), changed)
                self._seen[path] = changed
            except (OSError, ValueError, SynclineError):
                continue


def lay_out(control: Control) -> None:
    """Write the files that the store has and this home folder lacks, or has older. Called before an attempt begins."""
    with control.database.read() as transaction:
        found = server_values.beginning(transaction, _PREFIX)
        rows = {name: secrets.find(transaction, UUID(value["secret_id"])) for name, value in found.items()}
    for name, value in found.items():
        row, path = rows[name], control.settings.home / name.removeprefix(_PREFIX)
        if row is None or (path.exists() and path.stat().st_mtime_ns >= value["changed"]):
            continue
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = path.with_suffix(".laid")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(json.dumps(control.secrets.open(row)).encode())
            file.flush()
            os.fsync(file.fileno())
        os.utime(new, ns=(value["changed"], value["changed"]))
        new.replace(path)


_PREFIX = "kept:"


def _files(control: Control) -> Iterator[Path]:
    home = control.settings.home
    with suppress(OSError):
        yield from sorted((home / "scratch").glob(f"*/{_OWN}"))
        yield from sorted((home / _SHARED).glob("*.json"))


def _keep(control: Control, path: Path, content: dict[str, Any], changed: int) -> None:
    name = _PREFIX + path.relative_to(control.settings.home).as_posix()
    with control.database.write() as transaction:
        known = server_values.find(transaction, name)
        if known is not None and known["changed"] >= changed:
            return
        row_id = new_id() if known is None else UUID(known["secret_id"])
        sealed = control.secrets.seal(row_id, content)
        if known is None:
            secrets.add(transaction, sealed)
        else:
            secrets.replace(transaction, sealed)
        server_values.put(transaction, name, {"secret_id": str(row_id), "changed": changed})
