"""Looking at other systems without keeping anybody waiting.

A check or a discovery may take as long as a distant database likes. It runs in threads of its own, so that however many
hang, reads go on being answered; a request waits for it for some seconds and then says so, while the look goes on, and
who asks again in time joins it or gets what it found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from syncline.api.errors import ApiError
from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.callers import Caller
from syncline.service.errors import NotFoundError, RateLimitedError

__all__ = ["LONG_WAIT", "SHORT_WAIT", "Looking", "about_caller", "at_both_ends", "outside"]

T = TypeVar("T")

#: Seconds. SDKs give up after 5 (the public API), the older Dagster resource after 15 (the config API).
SHORT_WAIT = 4.5
LONG_WAIT = 12.0


@dataclass(kw_only=True)
class _Look:
    task: asyncio.Task[Any]
    finished: float | None = None


class Looking:
    """``threads`` looks at once; more wait for their turn. ``keep`` seconds is how long the outcome of a look that
    nobody waited for any more stays for who asks again. Used in one event loop only."""

    def __init__(self, threads: int = 8, keep: float = 60.0) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="looking")
        self._keep = keep
        self._looks: dict[Hashable, _Look] = {}

    async def run(self, key: Hashable, wait: float, look: Callable[[], T]) -> T:
        """What ``look`` returns or raises; looks of one key are one look. 409 ``try-again-later`` when it has not ended
        after ``wait`` seconds."""
        self._forget()
        found = self._looks.get(key)
        if found is None:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._threads, look)
            found = self._looks[key] = _Look(task=asyncio.ensure_future(_held(future)))
        try:
            result: T = await asyncio.wait_for(asyncio.shield(found.task), wait)
        except TimeoutError:
            raise ApiError(
                409,
                f"The other system has not answered within {wait:g} seconds. The look goes on: ask again in a moment.",
                title="try-again-later",
            ) from None
        finally:
            if found.task.done() and self._looks.get(key) is found:
                del self._looks[key]
        return result

    def close(self) -> None:
        """Waits for nothing: looks are processes that end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget(self) -> None:
        """Drop what finished long ago and was never fetched."""
        now = time.monotonic()
        for key, look in list(self._looks.items()):
            if look.task.done() and look.finished is None:
                look.finished = now
                look.task.exception()  # seen: asyncio would complain about one that nobody fetched
            if look.finished is not None and now - look.finished > self._keep:
                del self._looks[key]


async def _held(future: asyncio.Future[T]) -> T:
    return await future


def about_caller(error: SynclineError) -> bool:
    """Whether an error of a look is about who asked, or what was asked for, and not about the other system."""
    missing_right = error.kind is ErrorKind.PERMISSION and "connector" not in error.where
    return missing_right or isinstance(error, NotFoundError | RateLimitedError) or error.kind is ErrorKind.INTERNAL


def outside(error: SynclineError) -> Exception:
    """A right that is missing in another system is no right that the caller lacks here: 422 instead of 403."""
    if error.kind is not ErrorKind.PERMISSION or about_caller(error):
        return error
    detail = f"{error.message}. {error.hint}" if error.hint else error.message
    return ApiError(422, detail, data={"kind": error.kind.value})


async def at_both_ends(request: Request, caller: Caller, what: tuple[Hashable, ...], look: Callable[[], T]) -> T:
    """What a look of this caller at both ends of a connection finds; ``what`` tells it from others. 409 while it lasts
    longer than clients wait."""
    looking: Looking = request.app.state.looking
    try:
        return await looking.run((caller.user_id, *what), LONG_WAIT, look)
    except SynclineError as error:
        raise outside(error) from error
