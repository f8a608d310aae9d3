"""A connection on which nothing comes any more: told from a server that is still at work by asking the server.

TCP finds a peer that has gone; it does not find a proxy, balancer or pooler that goes on acknowledging for a peer that
it has lost. Waiting for an answer there never ends. No limit on time alone would do, for a server may rightly work for
hours without a word. So whoever has waited for a while asks over another connection what our server process does: when
it is waiting for us, or is not there any more, each side waits for the other, and the connection is dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg

if TYPE_CHECKING:
    from psycopg.abc import PQGen

__all__ = ["Silence", "WatchedConnection", "open_watched"]

_Result = TypeVar("_Result")

#: After so long without a byte the server is asked, and again after as long. Two answers that say the same end it: one
#: alone may have met the moment in which the server was about to send.
ASK_SECONDS = 20.0
_TIMES = 2
#: When it cannot be asked either, so often: three to five minutes, for a pooler that is full has no session for us, and
#: long work must not end for that.
_TIMES_UNREACHABLE = 9
_ASK_TIMEOUT = 15

#: What a server process waits for when it is our turn. Parameters: its number.
_DOES = """
SELECT state, wait_event
FROM pg_catalog.pg_stat_activity
WHERE pid = %s
"""
_OUR_TURN = frozenset(
    {"ClientRead", "ClientWrite", "WalSenderMain", "WalSenderWaitForWal", "WalSenderWaitForWAL", "WalSenderWriteData"}
)


#: A server that says so has ended every session that it had.
_RESTARTED = ("starting up", "shutting down", "in recovery", "not yet accepting")


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A session of psycopg whose every wait ends when the connection is dead. ``ask`` opens another one to the same
    server; None: nobody watches."""

    ask: Callable[[], psycopg.Connection[tuple[Any, ...]]] | None = None

    def wait(self, gen: PQGen[_Result], *args: Any, **kwargs: Any) -> _Result:
        return super().wait(gen if self.ask is None else _watched(gen, self), *args, **kwargs)


def open_watched(parameters: dict[str, Any], **more: Any) -> WatchedConnection:
    """``psycopg.connect``, watched. ``more`` are arguments that only this session has, and not the one that asks."""
    session = WatchedConnection.connect(**parameters, autocommit=True, prepare_threshold=None, **more)
    asking = {**parameters, "connect_timeout": _ASK_TIMEOUT}
    session.ask = lambda: _Asking.connect(**asking, autocommit=True, prepare_threshold=None)
    return session


class _Asking(psycopg.Connection[tuple[Any, ...]]):
    """A session that is given up when it is not answered soon."""

    def wait(self, gen: PQGen[_Result], *args: Any, **kwargs: Any) -> _Result:
        return super().wait(_bounded(gen), *args, **kwargs)


def _bounded(gen: PQGen[_Result]) -> Generator[Any, Any, _Result]:
    deadline = time.monotonic() + _ASK_TIMEOUT
    try:
        state = next(gen)
        while True:
            ready = yield state
            if time.monotonic() > deadline:
                raise psycopg.OperationalError(f"no answer within {_ASK_TIMEOUT} s")
            state = gen.send(ready)
    except StopIteration as end:
        return cast(_Result, end.value)


def _watched(gen: PQGen[_Result], session: WatchedConnection) -> Generator[Any, Any, _Result]:
    """``gen``, with a look at the silence between two of its steps. (A wait that times out sends 0.)"""
    silence = Silence(session)
    try:
        state = next(gen)
        while True:
            ready = yield state
            if ready:
                silence.heard()
            else:
                silence.goes_on()
            state = gen.send(ready)
    except StopIteration as end:
        return cast(_Result, end.value)


class Silence:
    """For one wait: :meth:`heard` when something came, :meth:`goes_on` several times a minute while nothing does."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self._session = session
        self._ask = getattr(session, "ask", None)
        self.heard()

    def heard(self) -> None:
        self._asked = time.monotonic()
        self._dead = self._unreachable = 0

    def goes_on(self) -> None:
        """Raises psycopg's error and ends the session when each side waits for the other."""
        if self._ask is None or time.monotonic() - self._asked < ASK_SECONDS:
            return
        try:
            problem = _problem(self._ask, self._session.info.backend_pid)
        except psycopg.Error as error:
            if _answered(error):
                self.heard()
                return
            self._unreachable += 1
            problem = f"the server cannot be reached on another connection either: {error}"
        else:
            self._unreachable = 0
            self._dead = self._dead + 1 if problem else 0
        if problem and (self._dead >= _TIMES or self._unreachable >= _TIMES_UNREACHABLE):
            self._session.pgconn.finish()  # or whoever tidies up would wait there as well
            raise psycopg.OperationalError(f"nothing comes on the connection any more: {problem}")
        self._asked = time.monotonic()


def _answered(error: psycopg.Error) -> bool:
    """Whether a server that serves others refused us (no connection left, a role's limit): that says nothing."""
    text = str(error)
    return "FATAL" in text and not any(word in text for word in _RESTARTED)


def _problem(ask: Callable[[], psycopg.Connection[tuple[Any, ...]]], pid: int) -> str:
    """What is wrong with the session of that process; empty when it is at work, or when nobody can tell."""
    with ask() as other:
        found = other.execute(_DOES.encode(), [pid]).fetchone()
        if found is None:
            own = other.execute("SELECT pg_backend_pid()").fetchone()
            # Behind a pooler the numbers that we are given are not the server's.
            plain = own is not None and own[0] == other.info.backend_pid
            return f"its server process {pid} is gone" if plain else ""
    state, event = found
    if event in _OUR_TURN or (state or "").startswith("idle"):
        return f"its server process {pid} ({state}, {event}) waits for us"
    return ""
