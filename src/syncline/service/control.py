"""What every use case of the server stands on: the open store, the box of secrets, the settings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from syncline.service.children import Children
from syncline.service.secrets.box import SecretBox
from syncline.service.secrets.keys import load_keys, stamp
from syncline.settings import ServerSettings
from syncline.store import secrets
from syncline.store.database import Database, open_database

__all__ = ["Control", "open_control"]


@dataclass(kw_only=True)
class Control:
    """Made once per process by :func:`open_control`; safe to use from many threads. ``memory`` keeps, by name, what
    one part remembers between calls (``setdefault`` decides who was first); ``children`` end when it is closed."""

    database: Database
    secrets: SecretBox
    settings: ServerSettings
    memory: dict[str, object] = field(default_factory=dict, repr=False)
    children: Children = field(default_factory=Children, repr=False)
    _background: ThreadPoolExecutor | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def later(self, work: Callable[[], object]) -> None:
        """Run ``work`` on a thread of ours, soon. It must keep its errors to itself; what is queued when the process
        ends is forgotten."""
        with self._lock:
            if self._background is None:
                self._background = ThreadPoolExecutor(max_workers=2, thread_name_prefix="syncline-later")
            self._background.submit(work)

    def close(self) -> None:
        self.children.close()  # before what waits for them
        with self._lock:
            if self._background is not None:
                self._background.shutdown(wait=False, cancel_futures=True)
        self.database.close()


def open_control(settings: ServerSettings) -> Control:
    """Open the store (migrating it) and load the key (making it when nothing is sealed yet). Raises ``config`` when the
    stored secrets were sealed by another key."""
    database = open_database(settings.database_url, backups=settings.backups)
    try:
        with database.read() as transaction:
            used = secrets.key_ids(transaction)
        keys = load_keys(settings, make=not used)
        box = SecretBox(keys, lambda: load_keys(settings, make=False), lambda: stamp(settings))
        for name in used:
            box.require(name)
    except BaseException:
        database.close()
        raise
    return Control(database=database, secrets=box, settings=settings)
