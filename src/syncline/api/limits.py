"""How big a request may be."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncline.api.errors import ApiError, early_answer

__all__ = ["MAX_BODY", "BodyLimit"]

#: 16 MiB: a catalog of ten thousand tables with their JSON schemas is about a third of it.
MAX_BODY = 16 * 1024 * 1024

#: 256 MiB: what is read and thrown away of a body that is too big. A client that is still sending when the answer comes
#: and the connection closes sees a broken pipe and not the 413, so its body is swallowed first; but not without end.
MAX_DRAINED = 256 * 1024 * 1024


class BodyLimit:
    """ASGI: reads the whole body before anything else runs; 413 when it is above ``limit`` bytes, announced or not."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        body = bytearray()
        size = 0
        while size <= MAX_DRAINED:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client has gone
            size += len(message.get("body", b""))
            if size <= self.limit:
                body += message.get("body", b"")
            else:
                body.clear()
            if not message.get("more_body", False):
                break
        if size > self.limit:
            refusal = ApiError(413, f"The body is larger than {self.limit // (1024 * 1024)} MiB.")
            await early_answer(scope["path"], refusal)(scope, receive, send)
            return
        await self.app(scope, _replay(bytes(body), receive), send)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once and then what the server says (a disconnect)."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
