"""Callers whose credentials were looked up a moment ago.

Clients poll: the same token comes many times a second, and each look-up reads three tables. Within this process a
change of users, rights, applications or keys is seen at once; one by another process on the same store after
:data:`SECONDS`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from syncline.service.callers import Caller

__all__ = ["SECONDS", "RecentCallers"]

#: How long a look-up is good for.
SECONDS = 1.0
#: More bearers than that at once are looked up again.
_SIZE = 1000


@dataclass(frozen=True, kw_only=True)
class _Recent:
    caller: Caller
    version: int
    until: float


class RecentCallers:
    """By the whole bearer text, of which only a hash is kept. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, _Recent] = OrderedDict()

    def find(self, bearer: str, version: int) -> Caller | None:
        """None when it must be looked up: not seen lately, or identities have changed since (``version``)."""
        found = self._known.get(_digest(bearer))
        if found is None or found.version != version or self._clock() > found.until:
            return None
        return found.caller

    def add(self, bearer: str, caller: Caller, *, version: int, valid: float) -> None:
        """``version`` is that from before the look-up: a change during it makes this worthless. ``valid``: seconds
        until the credentials end by themselves."""
        until = self._clock() + min(SECONDS, valid)
        with self._lock:
            key = _digest(bearer)
            self._known[key] = _Recent(caller=caller, version=version, until=until)
            self._known.move_to_end(key)
            while len(self._known) > _SIZE:
                self._known.popitem(last=False)


def _digest(bearer: str) -> bytes:
    return hashlib.blake2b(bearer.encode("utf-8", "surrogatepass"), digest_size=16).digest()
