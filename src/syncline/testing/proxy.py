"""A TCP proxy for tests of bad networks: passes bytes on until it is told to cut, to stall or to refuse.

with Proxy("127.0.0.1", 5432) as proxy:
    connect(port=proxy.port)
    proxy.stall()      # nothing passes any more, nobody is told
    proxy.resume()
    proxy.cut()        # every connection is reset; new ones are taken
    proxy.refuse()     # and new ones are not
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["Proxy"]

_CHUNK = 1 << 16


@dataclass(eq=False)
class _Pipe:
    """One direction of one connection: what was read from ``origin`` and not yet written to ``target``."""

    origin: socket.socket
    target: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    ended: bool = False


class Proxy:
    """Listens on a loopback port and connects to one address; one thread. The methods may be called by any thread and
    take effect at once.

    ``stall`` has a direction: ``both``, ``down`` (nothing comes from the server) or ``up`` (nothing reaches it)."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._lock = threading.Lock()
        self._stalled: frozenset[str] = frozenset()
        self._refusing = self._cutting = self._closing = False
        self._pairs: list[tuple[_Pipe, _Pipe]] = []
        self.connections = 0  #: taken so far
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    def stall(self, direction: str = "both") -> None:
        """Keep connections open and pass nothing on; ``direction``: both, down, up."""
        self._say(stalled=frozenset({"down", "up"} if direction == "both" else {direction}))

    def resume(self) -> None:
        """Pass on again, also what waited, and take connections again."""
        self._say(stalled=frozenset(), refusing=False)

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self._say(cutting=True)

    def refuse(self) -> None:
        """Reset every connection, and every new one, until `resume`."""
        self._say(cutting=True, refusing=True)

    def close(self) -> None:
        self._say(closing=True)
        self._thread.join(10)
        self._listener.close()
        self._wake.close()
        self._woken.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(
        self,
        *,
        stalled: frozenset[str] | None = None,
        refusing: bool | None = None,
        cutting: bool = False,
        closing: bool = False,
    ) -> None:
        with self._lock:
            self._stalled = self._stalled if stalled is None else stalled
            self._refusing = self._refusing if refusing is None else refusing
            self._cutting |= cutting
            self._closing |= closing
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    # -- the thread -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            with self._lock:
                cutting, self._cutting = self._cutting, False
                stalled, refusing, closing = self._stalled, self._refusing, self._closing
            if cutting or closing:
                for pair in list(self._pairs):
                    self._reset(pair)
            if closing:
                return
            self._once(stalled, refusing)

    def _once(self, stalled: frozenset[str], refusing: bool) -> None:
        """Wait for something that may be done now, and do it."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            wanted: dict[socket.socket, int] = {}
            for up, down in self._pairs:
                for direction, pipe in (("up", up), ("down", down)):
                    if direction in stalled:
                        continue
                    if not pipe.ended and len(pipe.waiting) < _CHUNK:
                        wanted[pipe.origin] = wanted.get(pipe.origin, 0) | selectors.EVENT_READ
                    if pipe.waiting:
                        wanted[pipe.target] = wanted.get(pipe.target, 0) | selectors.EVENT_WRITE
            for each, events in wanted.items():
                selector.register(each, events)
            ready = {key.fileobj: events for key, events in selector.select(1.0)}
        if self._woken in ready:
            self._woken.recv(64)
            return  # what it said comes first
        for pair in list(self._pairs):
            for direction, pipe in zip(("up", "down"), pair, strict=True):
                if direction not in stalled and not self._pass_on(pipe, ready):
                    self._reset(pair)
                    break
            else:
                if all(pipe.ended and not pipe.waiting for pipe in pair):
                    self._reset(pair)
        if self._listener in ready:
            self._take(refusing)

    @staticmethod
    def _pass_on(pipe: _Pipe, ready: Mapping[Any, int]) -> bool:
        """False when the connection is broken."""
        try:
            if not pipe.ended and ready.get(pipe.origin, 0) & selectors.EVENT_READ and len(pipe.waiting) < _CHUNK:
                data = pipe.origin.recv(_CHUNK)
                pipe.waiting += data
                pipe.ended = not data
            if pipe.waiting:
                sent = pipe.target.send(pipe.waiting)
                del pipe.waiting[:sent]
            if pipe.ended and not pipe.waiting:
                with contextlib.suppress(OSError):
                    pipe.target.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _take(self, refusing: bool) -> None:
        client, _ = self._listener.accept()
        if refusing:
            _abort(client)
            return
        self.connections += 1
        try:
            server = socket.create_connection(self._address, timeout=5)
        except OSError:
            _abort(client)
            return
        for each in (client, server):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.append((_Pipe(client, server), _Pipe(server, client)))

    def _reset(self, pair: tuple[_Pipe, _Pipe]) -> None:
        self._pairs.remove(pair)
        clean = all(pipe.ended and not pipe.waiting for pipe in pair)
        for pipe in pair:
            if clean:
                pipe.origin.close()
            else:
                _abort(pipe.origin)


def _abort(connection: socket.socket) -> None:
    """Close with a reset instead of a farewell."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
