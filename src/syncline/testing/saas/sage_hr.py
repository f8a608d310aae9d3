"""A counterpart of Sage HR: lists with numbered pages."""

from __future__ import annotations

from typing import Any

from syncline.testing.saas.api_server import ApiServer, Asked, Reply

__all__ = ["FakeSageHr"]

_PER_PAGE = 50


class FakeSageHr(ApiServer):
    """``records`` are what each path (``/employees``) gives."""

    def __init__(self, *, key: str = "sage-hr-local-key") -> None:
        super().__init__(self._sage)
        self.key = key
        self.records: dict[str, list[dict[str, Any]]] = {}

    def _sage(self, asked: Asked) -> Any:
        if asked.headers.get("x-auth-token") != self.key:
            return Reply(status=401, body={"error": "Unauthorized"})
        path = asked.path.removeprefix("/api")
        everything = self.records.get(path, [])
        number = int(asked.query.get("page", 1))
        page = everything[(number - 1) * _PER_PAGE : number * _PER_PAGE]
        more = number * _PER_PAGE < len(everything)
        meta = {
            "current_page": number,
            "next_page": number + 1 if more else None,
            "previous_page": number - 1 or None,
            "total_pages": -(-len(everything) // _PER_PAGE),
            "per_page": _PER_PAGE,
            "total_entries": len(everything),
        }
        return {"data": page, "meta": meta}
