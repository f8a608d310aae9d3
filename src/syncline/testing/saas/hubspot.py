"""A counterpart of HubSpot's CRM: lists with properties and associations, the search with its 10,000 results, owners,
and OAuth with refresh tokens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from syncline.testing.saas.api_server import ApiServer, Asked, Reply

__all__ = ["FakeHubspot"]

_MOST_RESULTS = 10_000


class FakeHubspot(ApiServer):
    """``put`` makes or changes an object; ``associate`` ties two. The search shows at most ``most_results``."""

    def __init__(self, *, token: str = "pat-local-token") -> None:  # noqa: S107
        super().__init__(self._hubspot)
        self.token = token
        self.client = ("client-local", "secret-local")
        self.refresh_tokens = {"refresh-local"}
        self.most_results = _MOST_RESULTS
        self.codes: set[str] = set()  #: what the browser brings back after a consent; each can be used once
        self.associations_at_once = 100
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.owners: list[dict[str, Any]] = []
        self.tied: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._given = 0

    def put(self, kind: str, identifier: int | str, *, at: datetime | None = None, **properties: Any) -> None:
        moment = (datetime.now(UTC) if at is None else at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = self.objects.setdefault(kind, {})
        old = known.get(str(identifier))
        modified = "lastmodifieddate" if kind == "contacts" else "hs_lastmodifieddate"
        created = old["createdAt"] if old else moment
        known[str(identifier)] = {
            "id": str(identifier),
            "properties": {
                **(old["properties"] if old else {}),
                **properties,
                "hs_object_id": str(identifier),
                "createdate": created,
                modified: moment,
            },
            "createdAt": created,
            "updatedAt": moment,
            "archived": False,
        }

    def associate(self, one: tuple[str, int | str], other: tuple[str, int | str]) -> None:
        ties = self.tied.setdefault((one[0], other[0]), {})
        ties.setdefault(str(one[1]), []).append(str(other[1]))

    def _hubspot(self, asked: Asked) -> Any:
        if asked.path == "/oauth/v1/token":
            return self._token(asked.body or {})
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(status=401, body={"status": "error", "message": "Authentication credentials not found."})
        parts = asked.path.strip("/").split("/")
        if parts[:3] == ["crm", "v3", "owners"]:
            return _page(self.owners, asked.query)
        if parts[:3] == ["crm", "v3", "objects"] and f"{parts[3]}s" in self.objects:
            parts[3] += "s"  # HubSpot takes the name of an object in the singular too
        if parts == ["crm", "v3", "schemas"]:
            return {"results": []}
        if parts[:2] == ["properties", "v2"] and parts[3:] == ["properties"]:
            return self._properties(parts[2])
        if parts[:3] == ["crm", "v4", "associations"]:
            return {"status": "COMPLETE", "results": []}
        if parts[:3] == ["crm", "v3", "objects"] and len(parts) == 4:
            return self._list(parts[3], asked.query)
        if parts[:3] == ["crm", "v3", "objects"] and len(parts) == 5 and parts[4] == "search":
            return self._search(parts[3], asked.body)
        if parts[:3] == ["crm", "v3", "objects"] and len(parts) == 7 and parts[5] == "associations":
            return self._further(parts[3], parts[4], parts[6], asked.query)
        return Reply(status=404, body={"message": "resource not found"})

    def _properties(self, kind: str) -> list[dict[str, str]]:
        """What objects of a kind can have; times by their names."""
        plural = kind if kind in self.objects else f"{kind}s"
        always = {"hs_object_id", "createdate", "lastmodifieddate", "hs_lastmodifieddate"}
        names = always | {n for o in self.objects.get(plural, {}).values() for n in o["properties"]}
        return [{"name": n, "type": "datetime" if n.endswith("date") else "string"} for n in sorted(names)]

    def _token(self, form: Mapping[str, str]) -> Any:
        if (form.get("client_id"), form.get("client_secret")) != self.client:
            return Reply(status=400, body={"status": "BAD_CLIENT_ID", "message": "missing or unknown client id"})
        if form.get("grant_type") == "refresh_token" and form.get("refresh_token") in self.refresh_tokens:
            self._given += 1
            self.refresh_tokens = {f"refresh-{self._given}-local"}  # the old one is used up
            return {
                "access_token": self.token,
                "refresh_token": f"refresh-{self._given}-local",
                "expires_in": 1800,
                "token_type": "bearer",
            }
        if form.get("grant_type") == "authorization_code" and form.get("code") in self.codes:
            self.codes.discard(form["code"])
            self.refresh_tokens = {"refresh-consented"}
            return {"access_token": self.token, "refresh_token": "refresh-consented", "expires_in": 1800}
        return Reply(status=400, body={"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown refresh token"})

    def _list(self, kind: str, query: Mapping[str, str]) -> Any:
        everything = sorted(self.objects.get(kind, {}).values(), key=lambda o: int(o["id"]))
        answer = _page(everything, query)
        wanted = query.get("properties", "").split(",")
        answer["results"] = [_shown(o, wanted) for o in answer["results"]]
        for other in filter(None, query.get("associations", "").split(",")):
            for shown in answer["results"]:
                ties = self.tied.get((kind, other), {}).get(shown["id"], [])
                if ties:
                    shown.setdefault("associations", {})[other] = self._ties(kind, shown["id"], other, ties, 0)
        return answer

    def _further(self, kind: str, identifier: str, other: str, query: Mapping[str, str]) -> Any:
        return self._ties(kind, identifier, other, self.tied[kind, other][identifier], int(query.get("after", 0)))

    def _ties(self, kind: str, identifier: str, other: str, ties: list[str], start: int) -> dict[str, Any]:
        end = start + self.associations_at_once
        type_name = f"{kind}_to_{other}"
        found: dict[str, Any] = {"results": [{"id": t, "type": type_name} for t in ties[start:end]]}
        if end < len(ties):
            link = f"{self.url}/crm/v3/objects/{kind}/{identifier}/associations/{other}?after={end}"
            found["paging"] = {"next": {"after": str(end), "link": link}}
        return found

    def _search(self, kind: str, body: Mapping[str, Any]) -> Any:
        found = list(self.objects.get(kind, {}).values())
        for group in body.get("filterGroups", [])[:1]:
            for one in group["filters"]:
                found = [o for o in found if _holds(o["properties"].get(one["propertyName"]), one)]
        for sort in body.get("sorts", []):
            found.sort(key=lambda o, by=sort["propertyName"]: _comparable(o["properties"].get(by)))  # type: ignore[misc]
        start, size = int(body.get("after", 0)), min(int(body.get("limit", 10)), 200)
        if start + size > self.most_results:
            return Reply(status=400, body={"message": "the maximum of results of a search is reached"})
        page = found[start : start + size]
        answer: dict[str, Any] = {"total": len(found), "results": [_shown(o, body["properties"]) for o in page]}
        if start + size < len(found):
            answer["paging"] = {"next": {"after": str(start + size)}}
        return answer


def _page(everything: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    size, after = min(int(query.get("limit", 10)), 100), query.get("after")
    start = 0 if after is None else int(after)
    answer: dict[str, Any] = {"results": everything[start : start + size]}
    if start + size < len(everything):
        answer["paging"] = {"next": {"after": str(start + size)}}
    return answer


def _shown(thing: Mapping[str, Any], properties: list[str]) -> dict[str, Any]:
    always = {"hs_object_id", "createdate", "lastmodifieddate", "hs_lastmodifieddate"}
    return {**thing, "properties": {k: v for k, v in thing["properties"].items() if k in {*properties, *always}}}


def _holds(value: Any, condition: Mapping[str, Any]) -> bool:
    if value is None:
        return False
    left, right = _comparable(value), _comparable(condition["value"])
    return bool(
        {"GTE": left >= right, "LTE": left <= right, "GT": left > right, "EQ": left == right}[condition["operator"]]
    )


def _comparable(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        return datetime.fromisoformat(str(value)).timestamp() * 1000
