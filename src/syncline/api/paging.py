"""Lists come in pages: ``limit`` and ``offset`` in, a ``next`` address out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request

from syncline.store.paging import Page

__all__ = ["Paging", "PagingOf", "WorkspaceIds"]


@dataclass(frozen=True, kw_only=True)
class Paging:
    """The page asked for, and the address it was asked at."""

    request: Request
    limit: int
    page: Page

    def links(self, more: bool) -> dict[str, str]:
        """``next`` only when there is more; ``previous`` only after the first page. Both are empty texts otherwise."""
        limit, offset = self.limit, self.page.offset
        return {
            "next": self._at(offset + limit) if more else "",
            "previous": self._at(max(0, offset - limit)) if offset else "",
        }

    def _at(self, offset: int) -> str:
        return str(self.request.url.include_query_params(limit=self.limit, offset=offset))


async def _paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="how many at most")] = 20,
    offset: Annotated[int, Query(ge=0, lt=2**31, description="how many to leave out")] = 0,
) -> Paging:
    return Paging(request=request, limit=limit, page=Page(limit=limit, offset=offset))


async def _workspace_ids(
    workspace_ids: Annotated[
        list[str] | None, Query(alias="workspaceIds", description="repeated, or separated by commas; all when absent")
    ] = None,
) -> tuple[UUID, ...]:
    return uuids(workspace_ids)


def uuids(texts: list[str] | None) -> tuple[UUID, ...]:
    """The ids in a repeated or comma-separated parameter. A text that is no id names nothing, so it becomes an id that
    nothing has: a filter must never widen because it was misspelt."""
    parts = (part.strip() for item in texts or () for part in item.split(","))
    return tuple(as_uuid(part) for part in parts if part)


def as_uuid(text: str) -> UUID:
    """The id, or one that nothing has."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)


PagingOf = Annotated[Paging, Depends(_paging)]
WorkspaceIds = Annotated[tuple[UUID, ...], Depends(_workspace_ids)]
