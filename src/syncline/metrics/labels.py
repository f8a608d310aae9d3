"""Bounded labels: what names a series must not grow without end, whatever streams and connections there are."""

from __future__ import annotations

import threading

__all__ = ["OTHER", "Labels"]

#: Takes the place of names beyond the bound; no stream of ours is called so, a stream's name has its namespace.
OTHER = "other"


class Labels:
    """Knows the first ``connections`` names of connections and of each the first ``streams`` names of streams; what
    comes later is :data:`OTHER`. Thread-safe."""

    def __init__(self, *, connections: int = 2000, streams: int = 200) -> None:
        self._connections, self._streams = connections, streams
        self._known: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def connection(self, name: str) -> str:
        with self._lock:
            if name in self._known:
                return name
            if len(self._known) >= self._connections:
                return OTHER
            self._known[name] = set()
            return name

    def stream(self, connection: str, name: str) -> str:
        """Of a connection as :meth:`connection` gave it."""
        with self._lock:
            known = self._known.setdefault(connection, set())
            if name in known:
                return name
            if len(known) >= self._streams:
                return OTHER
            known.add(name)
            return name
