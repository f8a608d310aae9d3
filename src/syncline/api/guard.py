"""Keeping web pages of others out while nobody has to log in.

Without authentication whoever reaches the port may do everything, and any page that the user opens in a browser reaches
a port on this machine. Two ways in are closed: a page of another origin that sends requests here, and a foreign name
that its owner lets resolve to 127.0.0.1. With authentication both are harmless: a browser adds no credentials by
itself.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from syncline.api.errors import ApiError, early_answer

__all__ = ["BrowserGuard"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "host.docker.internal"})  # noqa: S104 - names, not a bind


class BrowserGuard:
    """ASGI: 403 for requests from pages of other origins, 421 for names that are not this machine's or in ``hosts``."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] = frozenset()) -> None:
        self.app = app
        self.hosts = _LOOPBACK | hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(Headers(scope=scope))
            if refusal is not None:
                await early_answer(scope["path"], refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> ApiError | None:
        host = headers.get("host", "")
        if _name(host) not in self.hosts:
            return ApiError(
                421,
                "This server runs without authentication and answers only to the names of its own machine. Add the "
                "name to SYNCLINE_ALLOWED_HOSTS, or turn authentication on.",
            )
        origin = headers.get("origin")
        foreign = origin is not None and (origin == "null" or urlsplit(origin).netloc != host)
        if foreign or headers.get("sec-fetch-site") == "cross-site":
            return ApiError(403, "Pages of other origins may not call a server that runs without authentication.")
        return None


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
