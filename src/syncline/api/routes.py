"""Finding the route of a request.

The framework tries one route after the other; with some two hundred of them in nested routers that cost as much as
answering. Here the number of parts and the first part of the path leave a handful of candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Places", "RouteIndex", "flat"]


def flat(routers: Iterable[APIRouter]) -> list[APIRoute]:
    """The routes of all ``routers``, in their order."""
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


class RouteIndex(BaseRoute):
    """One route that is all of ``routes``. Where several fit a request, the first one answers it."""

    def __init__(self, routes: Iterable[APIRoute]) -> None:
        self._fixed: dict[tuple[int, str], list[APIRoute]] = {}
        self._open: dict[int, list[APIRoute]] = {}
        for route in routes:
            first, count = _key(route.path)
            if first.startswith("{"):
                self._open.setdefault(count, []).append(route)
            else:
                self._fixed.setdefault((count, first), []).append(route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Found by path and method; by path alone, the answer is that the method is not allowed."""
        if scope["type"] != "http":
            return Match.NONE, {}
        first, count = _key(scope["path"].removeprefix(scope.get("root_path", "")))
        partial: Scope | None = None
        for route in (*self._fixed.get((count, first), ()), *self._open.get(count, ())):
            match, child = route.matches(scope)
            if match is Match.FULL:
                return match, child
            if match is Match.PARTIAL and partial is None:
                partial = child
        return (Match.NONE, {}) if partial is None else (Match.PARTIAL, partial)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        # ``matches`` of the route that was found has left it in the scope.
        await scope["route"].handle(scope, receive, send)


class Places:
    """ASGI: which application answers below which prefix; ``rest`` takes everything else, and the life cycle."""

    def __init__(self, places: Mapping[str, ASGIApp], rest: ASGIApp) -> None:
        self.places = [(prefix, f"{prefix}/", app) for prefix, app in places.items()]
        self.rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for prefix, below, app in self.places:
                if scope["path"].startswith(below):
                    await app({**scope, "root_path": scope.get("root_path", "") + prefix}, receive, send)
                    return
        await self.rest(scope, receive, send)


def _key(path: str) -> tuple[str, int]:
    """The first part of a path, and how many parts it has."""
    first, _, rest = path.lstrip("/").partition("/")
    return first, rest.count("/") + 2 if rest else 1
