"""What a request's path means: one resource has one path, however many slashes a client writes.

Prefect and Kestra post to ``/connections/sync/`` with clients that do not follow redirects, and Kestra's own example
has a base address that ends in a slash and so asks for ``//api/v1/…``. Both are the same resource, answered at once.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from syncline.api.errors import ApiError, early_answer

__all__ = ["PathTidier", "tidy_path"]

_SLASHES = re.compile("/{2,}")
#: Control characters have no place in a path or a query; databases disagree on what a NUL in a text means.
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_CONTROL_QUERY = re.compile(rb"%(?:[01][0-9a-f]|7f)", re.IGNORECASE)


def tidy_path(path: str) -> str | None:
    """``path`` (percent-decoded) with single slashes and none at the end; None for one that names nothing.

    Dots are not resolved: ``/api/v1/../x`` is no resource of ours, and a server that follows it can be led past
    rules."""
    if _CONTROL.search(path) or "\\" in path or any(part in ("..", ".") for part in path.split("/")):
        return None
    tidy = _SLASHES.sub("/", path)
    return tidy.rstrip("/") or "/"


class PathTidier:
    """ASGI: gives the tidied path to what is inside. 404 for path tricks, 400 for control characters in the query,
    but for tabs and line ends, which are harmless in a value."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = tidy_path(scope["path"])
        refusal: ApiError | None = None
        if _holds_control(scope["query_string"]):
            refusal = ApiError(400, "The query holds a control character.")
        if path is None or refusal is not None:
            refusal = refusal or ApiError(404, "There is no such path.")
            await early_answer(scope["path"], refusal)(scope, receive, send)
            return
        # `raw_path` is what Starlette builds addresses from: it must not bring the untidy form back.
        await self.app({**scope, "path": path, "raw_path": path.encode()}, receive, send)


def _holds_control(query: bytes) -> bool:
    found = (match.group().lower() for match in _CONTROL_QUERY.finditer(query))
    return any(code not in (b"%09", b"%0a", b"%0d") for code in found)
