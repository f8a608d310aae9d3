"""A counterpart of Stripe: lists by ``created`` newest first, ``starting_after``, and events of what happens here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from syncline.testing.saas.api_server import ApiServer, Asked, Reply

__all__ = ["FakeStripe"]

_KINDS = {"customers": "customer", "charges": "charge", "invoices": "invoice", "subscriptions": "customer.subscription"}


class FakeStripe(ApiServer):
    """``put`` and ``delete`` change objects and leave events, as Stripe does. ``objects`` are what lists give."""

    def __init__(self, *, key: str = "sk_test_local") -> None:
        super().__init__(self._stripe)
        self.key = key
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []

    def put(self, kind: str, identifier: str, *, at: int | None = None, **fields: Any) -> None:
        """Make or change an object (``customers``, ``charges`` …) at a time (default: now)."""
        moment = int(time.time()) if at is None else at
        known = self.objects.setdefault(kind, {})
        what = "updated" if identifier in known else "created"
        base = known.get(identifier) or {
            "id": identifier,
            "object": kind.removesuffix("s"),
            "created": moment,
            "livemode": False,
            "metadata": {},
        }
        known[identifier] = {**base, **fields}
        self._event(kind, what, moment, known[identifier])

    def delete(self, kind: str, identifier: str, *, at: int | None = None) -> None:
        gone = self.objects[kind].pop(identifier)
        self._event(kind, "deleted", int(time.time()) if at is None else at, {**gone, "deleted": True})

    def _event(self, kind: str, what: str, at: int, thing: Mapping[str, Any]) -> None:
        self.events.append(
            {
                "id": f"evt_{len(self.events):08d}",
                "object": "event",
                "type": f"{_KINDS.get(kind, kind.removesuffix('s'))}.{what}",
                "created": at,
                "livemode": False,
                "data": {"object": dict(thing)},
            }
        )

    def _stripe(self, asked: Asked) -> Any:
        if asked.headers.get("authorization") != f"Bearer {self.key}":
            return Reply(status=401, body={"error": {"message": "Invalid API Key provided", "type": "invalid_request"}})
        kind = asked.path.removeprefix("/v1/")
        if kind == "events":
            wanted = [v for k, v in asked.all_query if k == "types[]"]
            if len(wanted) > 20 or any("*" in each for each in wanted):
                return Reply(status=400, body={"error": {"message": "types: up to 20 event names"}})
            found = [e for e in self.events if not wanted or e["type"] in wanted]
            newest_first = sorted(found, key=lambda e: (e["created"], e["id"]), reverse=True)
        else:
            newest_first = sorted(
                self.objects.get(kind, {}).values(), key=lambda o: (o["created"], o["id"]), reverse=True
            )
        if (low := asked.query.get("created[gte]")) is not None:
            newest_first = [o for o in newest_first if o["created"] >= int(low)]
        if (high := asked.query.get("created[lte]")) is not None:
            newest_first = [o for o in newest_first if o["created"] <= int(high)]
        start = 0
        if (after := asked.query.get("starting_after")) is not None:
            at = [n for n, o in enumerate(newest_first) if o["id"] == after]
            if not at:
                return Reply(status=400, body={"error": {"message": f"No such object: '{after}'"}})
            start = at[0] + 1
        size = int(asked.query.get("limit", 10))
        page = newest_first[start : start + min(size, 100)]
        return {"object": "list", "data": page, "has_more": start + len(page) < len(newest_first), "url": asked.path}
