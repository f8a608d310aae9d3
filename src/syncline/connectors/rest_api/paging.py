"""From one page to the next. A *token* says where a page begins; it is JSON, and the state keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import msgspec

from syncline.connectors.rest_api.client import Answer
from syncline.connectors.rest_api.paging_config import (
    CursorPages,
    LinkHeaderPages,
    NextUrlPages,
    NumberedPages,
    OffsetPages,
    Pagination,
)
from syncline.connectors.rest_api.paths import parse_path, value_at
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["PageRequest", "following", "page_request", "resumes"]


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """What a page adds to the request. ``url`` takes the place of address, path and parameters; ``values`` are for
    placeholders."""

    url: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def resumes(pages: Pagination | None) -> bool:
    """Whether a token is still good in another attempt."""
    return pages is not None and pages.resume


def page_request(pages: Pagination | None, token: Any) -> PageRequest:
    """The page that begins at the token; None for the first."""
    if pages is None:
        return PageRequest()
    if isinstance(pages, LinkHeaderPages | NextUrlPages) and token is not None:
        return PageRequest(url=str(token))
    sent: dict[str, Any] = {}
    values: dict[str, Any] = {}
    if pages.page_size is not None:
        values["limit"] = pages.page_size
        if pages.size_parameter is not None:
            sent[pages.size_parameter] = pages.page_size
    match pages:
        case OffsetPages():
            values["offset"] = pages.start if token is None else token
            sent[pages.offset_parameter] = values["offset"]
        case NumberedPages():
            values["page"] = pages.start if token is None else token
            sent[pages.page_parameter] = values["page"]
        case CursorPages() if token is not None:
            values["after"] = token
            if pages.cursor_parameter is not None:
                sent[pages.cursor_parameter] = token
        case _:
            pass
    if pages.into == "body":
        return PageRequest(body=sent, values=values)
    return PageRequest(params=sent, values=values)


def following(pages: Pagination | None, token: Any, answer: Answer, records: Sequence[Any]) -> Any | None:
    """The token of the next page, None when this was the last. ``records`` are the page's, as they came."""
    match pages:
        case None:
            return None
        case OffsetPages():
            # A page that is shorter than asked for says nothing: many APIs have a smaller limit of their own.
            here = pages.start if token is None else int(token)
            total = _number(answer, pages.total)
            done = not records or (total is not None and here + len(records) - pages.start >= total)
            return None if done else here + len(records)
        case NumberedPages():
            here = pages.start if token is None else int(token)
            total = _number(answer, pages.total_pages)
            if total is not None:
                return here + 1 if here + 1 - pages.start < total else None
            if pages.more is not None:
                return here + 1 if _at(answer, pages.more) else None
            return here + 1 if records else None
        case CursorPages():
            if pages.more is not None and not _at(answer, pages.more):
                return None
            if pages.cursor_path is not None:
                found = _at(answer, pages.cursor_path)
                return None if found in (None, "", False) else found
            return _last(pages, records)
        case LinkHeaderPages():
            return None if answer.next_link is None else urljoin(answer.url, answer.next_link)
        case NextUrlPages():
            there = _at(answer, pages.next)
            return urljoin(answer.url, str(there)) if there else None


def _last(pages: CursorPages, records: Sequence[Any]) -> Any | None:
    if not records:
        return None
    assert pages.last_record is not None
    found = value_at(records[-1], parse_path(pages.last_record))
    if found is None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the last record of a page has no field {pages.last_record!r} to go on from",
            hint="set pagination.last_record to a field that every record has",
        )
    return found


def _at(answer: Answer, path: str) -> Any:
    try:
        return value_at(answer.content, parse_path(path))
    except msgspec.DecodeError:
        return None


def _number(answer: Answer, path: str | None) -> int | None:
    found = None if path is None else _at(answer, path)
    if isinstance(found, str) and found.isdigit():
        return int(found)
    return found if isinstance(found, int) else None
