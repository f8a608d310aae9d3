"""The page, as it was built into the distribution; or, where it was not, a page that says so."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Page", "make_page"]

#: The page's built files; there when the distribution was built with them.
STATIC = Path(__file__).parent / "static"

#: A file whose name holds a digest of what is in it never changes.
_FOR_EVER = "public, max-age=31536000, immutable"

#: First parts of paths that are not the page's, also where nothing answers: a misspelt one stays a 404.
_NOT_OURS = frozenset({"api", "applications", "health", "metrics", "v1"})

_MISSING = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Syncline</title>
<body style="font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem">
<h1>Syncline runs, but its page is not built</h1>
<p>This installation was made from source, without Node or without a registry of npm packages. The APIs work.</p>
<p>To build the page: install Node 20 or newer, then run <code>make ui</code> in the source folder, and start the server
again. Distributions from the package index have it.</p>
<p>APIs: <a href="/api/public/v1/openapi.json">public</a>, <a href="/api/v1/openapi.json">config</a>,
<a href="/api/syncline/v1/openapi.json">own</a>.</p>
"""


def make_page(folder: Path = STATIC) -> ASGIApp:
    """What answers at ``/``: the built page, or one that says how to build it."""
    if (folder / "index.html").is_file():
        return Page(directory=folder)

    return _missing


async def _missing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] not in ("", "/"):
        raise HTTPException(404)
    await HTMLResponse(_MISSING)(scope, receive, send)


def _wants_page(scope: Scope) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


class Page(StaticFiles):
    """The files of a folder. Any other path without an ending is the page itself, which finds its way by the address,
    for whoever asks for a page (browsers say so). For programs, and at the APIs' paths, a misspelt one stays a 404."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path in (".", ""):
            return await self._page(scope)
        try:
            answer = await super().get_response(path, scope)
        except HTTPException as error:
            first, last = path.partition("/")[0], path.rpartition("/")[2]
            if error.status_code == 404 and "." not in last and first not in _NOT_OURS and _wants_page(scope):
                return await self._page(scope)
            raise
        if path.startswith("assets/"):
            answer.headers["Cache-Control"] = _FOR_EVER
        return answer

    async def _page(self, scope: Scope) -> Response:
        """Asked for anew each time: it names the other files, and after an update of the server those are others."""
        answer = await super().get_response("index.html", scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer
