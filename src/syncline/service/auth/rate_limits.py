"""Rate limits of what can be guessed at: tokens and logins. In memory, per process, of bounded size."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from syncline.service.errors import RateLimitedError

__all__ = ["RateLimits"]

#: More names than that are forgotten, the least recently seen first: memory stays below some megabytes.
_SIZE = 10_000


class _Buckets:
    """Token buckets by name: ``burst`` at once, then ``rate`` a second."""

    def __init__(self, *, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Seconds until one more is allowed; 0 when it is now."""
        level = self._level(name)
        return 0.0 if level >= 1 else (1 - level) / self._rate

    def take(self, name: str) -> None:
        self._levels[name] = (max(0.0, self._level(name) - 1), self._clock())
        self._levels.move_to_end(name)
        while len(self._levels) > _SIZE:
            self._levels.popitem(last=False)

    def forget(self, name: str) -> None:
        self._levels.pop(name, None)

    def _level(self, name: str) -> float:
        level, at = self._levels.get(name, (self._burst, 0.0))
        return min(self._burst, level + (self._clock() - at) * self._rate)


class RateLimits:
    """Calls for tokens and logins: 500 at once and 50 a second from one address, because some clients ask for a token
    before every call. Wrong credentials: for one name from one address 10 at once, then one in 30 s, and a success
    clears it; for one address, which may be a proxy before many clients, 100 at once and one a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._calls = _Buckets(rate=50, burst=500, clock=clock)
        self._addresses = _Buckets(rate=1, burst=100, clock=clock)
        self._names = _Buckets(rate=1 / 30, burst=10, clock=clock)

    def count(self, address: str) -> None:
        """One more call for a token or login. Raises :class:`RateLimitedError`."""
        with self._lock:
            if wait := self._calls.wait(address):
                raise RateLimitedError("calls for tokens", wait)
            self._calls.take(address)

    def begin(self, address: str, name: str) -> None:
        """Before credentials are looked at. Raises :class:`RateLimitedError` after too many wrong ones."""
        with self._lock:
            if wait := max(self._addresses.wait(address), self._names.wait(_name(address, name))):
                raise RateLimitedError("wrong credentials", wait)

    def failed(self, address: str, name: str) -> None:
        with self._lock:
            self._addresses.take(address)
            self._names.take(_name(address, name))

    def succeeded(self, address: str, name: str) -> None:
        with self._lock:
            self._names.forget(_name(address, name))


def _name(address: str, name: str) -> str:
    # With the address: nobody can lock somebody out from elsewhere.
    return f"{address} {name[:200]}"
