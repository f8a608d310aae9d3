"""The source of REST APIs keeps the contracts of fed sources, whatever way an API has to give pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import FeedConformance
from syncline.testing.saas.api_server import ApiServer, Asked, Reply

Rows = list[tuple[int, str | None]]

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_SIZE = 250

PAGES: dict[str, dict[str, Any]] = {
    "offset": {"type": "offset", "page_size": _SIZE, "resume": True},
    "page": {"type": "page", "page_size": _SIZE, "resume": True},
    "cursor": {"type": "cursor", "cursor_path": "meta.next", "page_size": _SIZE},
    "last_record": {"type": "cursor", "last_record": "id", "cursor_parameter": "after", "page_size": _SIZE},
    "link_header": {"type": "link_header", "page_size": _SIZE},
    "next_url": {"type": "next_url", "path": "meta.url", "page_size": _SIZE},
}


class _Things:
    """An API that gives what was changed at or after ``since``, a page at a time."""

    stream = "things"
    gaps: dict[str, str] = {}

    def __init__(self, pages: dict[str, Any]) -> None:
        self._pages, self._rows = pages, Rows()
        self._left: int | None = None
        self.api = ApiServer(self._answer)

    def reference(self) -> ConnectorReference:
        return ConnectorReference(
            type="rest_api",
            config={
                "url": f"{self.api.url}/v1/things",
                "pagination": self._pages,
                "primary_key": "id",
                "incremental": {"cursor_field": "changed_at", "parameter": "since"},
                "schema": {
                    "properties": {
                        "id": {"type": "integer"},
                        "name": {"type": ["string", "null"]},
                        "changed_at": {"type": "string", "format": "date-time"},
                    }
                },
            },
        )

    def fill(self, rows: Rows) -> None:
        self._rows = list(rows)

    def add(self, rows: Rows) -> None:
        self._rows += rows

    def break_after(self, rows: int) -> None:
        self._left = rows

    def _answer(self, asked: Asked) -> Any:
        records: list[dict[str, Any]] = [
            {"id": i, "name": name, "changed_at": (_BEGIN + timedelta(seconds=i)).isoformat()} for i, name in self._rows
        ]
        query = asked.query
        records = [r for r in records if r["changed_at"] >= query.get("since", "").replace("Z", "+00:00")]
        size = int(query.get("limit", query.get("per_page", _SIZE)))
        if "after" in query:
            start = next((n + 1 for n, r in enumerate(records) if str(r["id"]) == query["after"]), 0)
        elif "page" in query:
            start = (int(query["page"]) - 1) * size
        else:
            start = int(query.get("offset", query.get("cursor", 0)))
        page = records[start : start + size]
        if self._left is not None:
            self._left -= len(page)
            if self._left < 0:
                self._left = None
                return Reply(status=400, body={"error": "broken"})
        there = start + size if start + size < len(records) else None
        since = f"&since={query['since']}" if "since" in query else ""
        url = None if there is None else f"/v1/things?offset={there}&limit={size}{since}"
        headers = {} if url is None else {"Link": f'<{url}>; rel="next"'}
        return Reply(body={"data": page, "meta": {"next": there, "url": url}}, headers=headers)


class TestRestApi(FeedConformance):
    @pytest.fixture(params=[pytest.param(p, marks=() if p == "cursor" else pytest.mark.slow) for p in PAGES])
    def driver(self, request: pytest.FixtureRequest) -> Iterator[_Things]:
        driver = _Things(PAGES[request.param])
        with driver.api:
            yield driver
