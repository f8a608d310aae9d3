"""Serving the application until the process is asked to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

import uvicorn

from syncline.api.app import create_app
from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.control import Control

__all__ = ["bind", "make_server", "serve"]

#: Seconds that answers under way get after SIGTERM; streams are cut off then.
GRACE = 3


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. ``config`` error when the place is taken or not ours.

    Bound before anything else is started: a second server must not touch the store and then find that it cannot
    serve."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        raise SynclineError(
            ErrorKind.CONFIG,
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="another server runs there: stop it, or choose another port"
            if taken
            else "choose another host or port",
        ) from error
    listener.set_inheritable(False)
    return listener


def serve(control: Control, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests on ``listener`` until SIGTERM or SIGINT; call from the main thread. ``ready`` is called once,
    when requests are answered. Who opened ``control`` closes it afterwards."""
    asyncio.run(make_server(control, ready).serve(sockets=[listener]))


def make_server(control: Control, ready: Callable[[], None]) -> uvicorn.Server:
    """The server that :func:`serve` runs. It ends when its ``should_exit`` is set; outside of the main thread only
    so."""
    configuration = uvicorn.Config(
        create_app(control),
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        # Forwarded addresses are believed from a proxy on this machine, or from those in FORWARDED_ALLOW_IPS: others
        # would choose the address that rate limits and the audit log see.
        proxy_headers=True,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=30,
        lifespan="on",
    )
    return _Server(configuration, ready)


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
