"""A counterpart of Sage Intacct's REST API: the query service, and tokens for a client's own credentials."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from syncline.testing.saas.api_server import ApiServer, Asked, Reply

__all__ = ["FakeSageIntacct"]

_ROOT = "/ia/api/v1"
_MOST = 4000


class FakeSageIntacct(ApiServer):
    """``put`` makes or changes an object; fields are named by path, as in ``{"glAccount.id": "4000"}``."""

    def __init__(self, *, token: str = "intacct-local-token", company: str = "our-company") -> None:  # noqa: S107
        super().__init__(self._intacct)
        self.token, self.company = token, company
        self.client = ("client.app.sage.com", "client-secret-local")
        self.objects: dict[str, dict[int, dict[str, Any]]] = {}

    def put(self, kind: str, key: int, fields: Mapping[str, Any] | None = None, *, at: datetime | None = None) -> None:
        moment = (datetime.now(UTC) if at is None else at).isoformat(timespec="seconds").replace("+00:00", "Z")
        known = self.objects.setdefault(kind, {})
        created = known[key]["audit.createdDateTime"] if key in known else moment
        known[key] = {
            "key": str(key),
            "id": str(key),
            **known.get(key, {}),
            **(fields or {}),
            "audit.createdDateTime": created,
            "audit.modifiedDateTime": moment,
        }

    def _intacct(self, asked: Asked) -> Any:
        if asked.path == f"{_ROOT}/oauth2/token":
            form = asked.body or {}
            user = str(form.get("username", ""))
            good = (form.get("client_id"), form.get("client_secret")) == self.client
            if not good or form.get("grant_type") != "client_credentials" or not user.endswith(f"@{self.company}"):
                return Reply(status=401, body={"error": "invalid_client"})
            return {"token_type": "Bearer", "access_token": self.token, "expires_in": 43200}
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(status=401, body=_error("unauthorized", "the access token is not valid"))
        if asked.path != f"{_ROOT}/services/core/query" or asked.method != "POST":
            return Reply(status=404, body=_error("notFound", "there is no such resource"))
        return self._query(asked.body)

    def _query(self, body: Mapping[str, Any]) -> Any:
        found = [row for _, row in sorted(self.objects.get(body["object"], {}).items())]
        for condition in body.get("filters", []):
            for operator, fields in condition.items():
                for field, value in fields.items():
                    if operator != "$gte":
                        return Reply(status=400, body=_error("invalidRequest", f"unknown operator {operator}"))
                    found = [row for row in found if row.get(field) is not None and row[field] >= value]
        start, size = int(body.get("start", 1)), min(int(body.get("size", 100)), _MOST)
        page = found[start - 1 : start - 1 + size]
        following = start + size if start - 1 + size < len(found) else None
        return {
            "ia::result": [{field: row.get(field) for field in body["fields"]} for row in page],
            "ia::meta": {
                "totalCount": len(found),
                "start": start,
                "pageSize": size,
                "next": following,
                "previous": None if start == 1 else max(1, start - size),
            },
        }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"ia::result": {"ia::error": {"code": code, "message": message}}, "ia::meta": {"totalCount": 1}}
