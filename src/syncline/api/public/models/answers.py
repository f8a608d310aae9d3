"""What all answers of the public API share."""

from __future__ import annotations

from typing import Any

from syncline.api.wire import WireModel

__all__ = ["Page", "Problem"]


class Problem(WireModel):
    """Why a request failed."""

    status: int
    type: str
    title: str
    detail: str
    message: str
    data: dict[str, Any] | None = None


class Page(WireModel):
    """``next`` and ``previous`` are addresses, or empty."""

    next: str = ""
    previous: str = ""
