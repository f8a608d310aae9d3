"""Pages of lists: in a stable order, and whether more come after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

__all__ = ["Listed", "Page", "listed"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Page:
    """``limit`` rows after the first ``offset``; a ``limit`` of None takes all."""

    limit: int | None = 20
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class Listed(Generic[T]):
    """One page, and whether there is another one."""

    items: tuple[T, ...]
    more: bool


def listed(
    transaction: Connection, query: sa.Select[Any], page: Page, make: Callable[[Iterable[Any]], list[T]]
) -> Listed[T]:
    """The page of an ordered query; one row more than asked for is read to know whether there are more."""
    if page.limit is not None:
        query = query.limit(page.limit + 1)
    elif page.offset:
        query = query.limit(2**62)  # SQLite knows no OFFSET without LIMIT
    rows = transaction.execute(query.offset(page.offset) if page.offset else query).all()
    kept = rows if page.limit is None else rows[: page.limit]
    return Listed(items=tuple(make(kept)), more=len(rows) > len(kept))
