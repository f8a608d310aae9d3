"""The page: files that were built into the distribution."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

__all__ = ["Page"]


class Page(StaticFiles):
    """The files of a folder. Any other path without an ending is the page itself, which finds its way by the address;
    paths of the APIs are not, so that a misspelt one stays a 404."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path in (".", ""):
            return await super().get_response("index.html", scope)
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            first, last = path.partition("/")[0], path.rpartition("/")[2]
            if error.status_code == 404 and "." not in last and first not in ("api", "v1", "health", "applications"):
                return await super().get_response("index.html", scope)
            raise
