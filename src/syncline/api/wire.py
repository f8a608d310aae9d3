"""How requests and answers look on the wire, in every API of ours.

Names are camelCase. Fields without a value are left out of answers (Airbyte's serializer does so too, and Dagster
parses any ``lastUpdatedAt`` that is there), but empty texts and lists stay. Fields that a request should not have are
ignored: clients of other versions send them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import iscoroutinefunction
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import to_json

from syncline.api.errors import ApiError

__all__ = ["Name", "WireModel", "WireRoute", "iso_duration", "iso_time"]

#: A name that people give: not empty, and not a document.
Name = Annotated[str, Field(min_length=1, max_length=256)]

#: Beyond these a database's integer column cannot hold a number.
_LARGEST = 2**63 - 1


class WireModel(BaseModel):
    """Base of everything that goes over the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        serialize_by_alias=True,
    )


class WireRoute(APIRoute):
    """A route that omits fields without a value and reads strict JSON.

    A handler that may block, one that is no coroutine, runs in a thread, and so does the writing of its answer: one
    change of threads per request. What it returns is what its annotation says, as the type checker has seen, and is not
    validated once more."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _answering(endpoint, options.get("status_code") or 200), response_model=None, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly


def _answering(endpoint: Callable[..., Any], status: int) -> Callable[..., Coroutine[Any, Any, Response]]:
    """``endpoint`` as a coroutine that returns a whole answer."""
    if iscoroutinefunction(endpoint):

        @wraps(endpoint)
        async def answer(**arguments: Any) -> Response:
            return _answer(await endpoint(**arguments), status)

        return answer

    def blocking(arguments: dict[str, Any]) -> Response:
        return _answer(endpoint(**arguments), status)

    @wraps(endpoint)
    async def answer_from_thread(**arguments: Any) -> Response:
        return await asyncio.get_running_loop().run_in_executor(None, blocking, arguments)

    return answer_from_thread


def _answer(value: Any, status: int) -> Response:
    if isinstance(value, Response):
        return value
    return Response(to_json(value, by_alias=True, exclude_none=True), status, media_type="application/json")


class _StrictRequest(Request):
    """JSON as the standard has it: no NaN, no half of a character, no NUL, which some databases cannot store."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            value = json.loads(body, parse_constant=_no_constant)
            _check_storable(value)
        except json.JSONDecodeError:
            raise
        except (UnicodeDecodeError, RecursionError, ValueError) as error:
            raise ApiError(400, f"The body is not usable JSON: {_reason(error)}.") from None
        return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)


def _check_storable(value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a text holds a NUL character")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("a text holds half of a surrogate pair") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_storable(key)
            _check_storable(item)
    elif isinstance(value, list):
        for item in value:
            _check_storable(item)
    elif isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    elif isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise ValueError("a number is larger than 64 bits hold")


def iso_time(moment: datetime) -> str:
    """``2026-11-21T10:00:00Z``: UTC, whole seconds, as Airbyte writes job times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_duration(span: timedelta) -> str:
    """``PT42S``, ``PT1H2M3S``: ISO 8601, whole seconds."""
    seconds = max(0, int(span.total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    text = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if value)
    return f"PT{text or '0S'}"
