"""Declaring routes, and finding the one of a request.

The framework makes each route ready when it is declared and tries one after the other for each request. Of some two
hundred routes that is a second of every start, and as much time as the answer itself at every request. Here a route is
made ready when it is first asked for, and the number of parts and the first part of a path leave few candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from syncline.api.wire import WireRoute

__all__ = ["Declared", "Places", "RouteIndex", "Routes"]

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


@dataclass(kw_only=True, eq=False)
class Declared:
    """A handler at a path. ``options`` are those of the framework's routes, and only say how it is documented, but for
    ``status_code``, which is that of a success."""

    path: str
    methods: frozenset[str]
    endpoint: Callable[..., Any]
    options: Mapping[str, Any]
    _ready: WireRoute | None = field(default=None, repr=False)

    def ready(self) -> WireRoute:
        """What answers. Made at the first call; twice at worst, when two threads ask at once."""
        if self._ready is None:
            status = self.options.get("status_code")
            self._ready = WireRoute(self.path, self.endpoint, methods=sorted(self.methods), status_code=status)
        return self._ready

    def documented(self) -> APIRoute:
        """What the OpenAPI document is made from: it knows the form of the answer."""
        return APIRoute(
            self.path,
            self.endpoint,
            methods=sorted(self.methods),
            response_model_exclude_none=True,
            **self.options,
        )

    def parameters(self, parts: Sequence[str]) -> dict[str, str] | None:
        """Those in a path of as many parts; None for the path of another resource."""
        found = {}
        for pattern, part in zip(_parts(self.path), parts, strict=True):
            if pattern.startswith("{"):
                found[pattern[1:-1]] = part
            elif pattern != part:
                return None
        return found


class Routes:
    """Collects handlers: ``@routes.get("/jobs/{jobId}")``. A handler that is no coroutine may block."""

    def __init__(self, *, tags: Sequence[str] = ()) -> None:
        self.declared: list[Declared] = []
        self._tags = list(tags)

    def get(self, path: str, **options: Any) -> Callable[[_Handler], _Handler]:
        return self.at(path, "GET", **options)

    def post(self, path: str, **options: Any) -> Callable[[_Handler], _Handler]:
        return self.at(path, "POST", **options)

    def put(self, path: str, **options: Any) -> Callable[[_Handler], _Handler]:
        return self.at(path, "PUT", **options)

    def patch(self, path: str, **options: Any) -> Callable[[_Handler], _Handler]:
        return self.at(path, "PATCH", **options)

    def delete(self, path: str, **options: Any) -> Callable[[_Handler], _Handler]:
        return self.at(path, "DELETE", **options)

    def head(self, path: str, **options: Any) -> Callable[[_Handler], _Handler]:
        return self.at(path, "HEAD", **options)

    def at(self, path: str, *methods: str, **options: Any) -> Callable[[_Handler], _Handler]:
        def declare(endpoint: _Handler) -> _Handler:
            told = {"tags": self._tags, **options}
            self.declared.append(Declared(path=path, methods=frozenset(methods), endpoint=endpoint, options=told))
            return endpoint

        return declare

    def below(self, prefix: str) -> Routes:
        """The same at another place."""
        moved = Routes()
        moved.declared = [replace(each, path=prefix + each.path, _ready=None) for each in self.declared]
        return moved


class RouteIndex(BaseRoute):
    """One route of the framework that is all of ``routes``. Where several fit a request, the first one answers it."""

    def __init__(self, routes: Iterable[Routes]) -> None:
        self._by_first: dict[tuple[int, str], list[Declared]] = {}
        for each in (declared for one in routes for declared in one.declared):
            first, *rest = _parts(each.path)
            if first.startswith("{"):
                raise ValueError(f"the first part of a path is a fixed word: {each.path}")
            self._by_first.setdefault((len(rest), first), []).append(each)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Found by path and method; by path alone, the answer is that the method is not allowed."""
        if scope["type"] != "http":
            return Match.NONE, {}
        parts = _parts(scope["path"].removeprefix(scope.get("root_path", "")))
        partial: Scope | None = None
        for each in self._by_first.get((len(parts) - 1, parts[0]), ()):
            parameters = each.parameters(parts)
            if parameters is None:
                continue
            found = {"declared": each, "endpoint": each.endpoint, "path_params": parameters}
            if scope["method"] in each.methods:
                return Match.FULL, found
            partial = partial or found
        return (Match.NONE, {}) if partial is None else (Match.PARTIAL, partial)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = scope["declared"].ready()
        scope["route"] = route
        await route.handle(scope, receive, send)


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


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")
