"""A counterpart of Salesforce: refresh tokens that rotate, descriptions of objects, query jobs with results as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from syncline.testing.saas.api_server import ApiServer, Asked, Reply

__all__ = ["FakeSalesforce"]

_TYPES = {"id": "id", "text": "string", "number": "double", "whole": "int", "yes": "boolean", "time": "datetime"}
_BOUND = re.compile(r"SystemModstamp\s*(>=|>|<=|<)\s*([0-9T:.Z+-]+)")


class FakeSalesforce(ApiServer):
    """``describe`` makes an object with fields (name -> id, text, number, whole, yes or time); ``put`` makes or changes
    a row. Each login uses the refresh token up and gives the next one."""

    def __init__(self) -> None:
        super().__init__(self._salesforce)
        self.refresh_token = "refresh-0-local"  # noqa: S105
        self.logins = 0
        self.fields: dict[str, dict[str, str]] = {}
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self._jobs: dict[str, str] = {}

    def describe(self, name: str, **fields: str) -> None:
        self.fields[name] = {"Id": "id", **fields, "SystemModstamp": "time"}
        self.rows.setdefault(name, {})

    def put(self, name: str, identifier: str, *, at: datetime | None = None, **values: Any) -> None:
        moment = (datetime.now(UTC) if at is None else at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = self.rows[name].get(identifier, {})
        self.rows[name][identifier] = {**known, **values, "Id": identifier, "SystemModstamp": moment}

    def _salesforce(self, asked: Asked) -> Any:
        if asked.path == "/services/oauth2/token":
            return self._login(asked.body or {})
        if asked.headers.get("authorization") != f"Bearer access-{self.logins}":
            return Reply(
                status=401, body=[{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]
            )
        parts = asked.path.strip("/").split("/")[3:]  # services/data/vNN.0
        if parts[:1] == ["sobjects"] and len(parts) == 1:
            return {"sobjects": [{"name": n, "queryable": True, "label": n} for n in self.fields]}
        if parts[:1] == ["sobjects"] and parts[-1] == "describe" and parts[1] in self.fields:
            return {"name": parts[1], "fields": [_field(n, k) for n, k in self.fields[parts[1]].items()]}
        if parts[:2] == ["jobs", "query"]:
            return self._job(asked, parts[2:])
        return Reply(status=404, body=[{"message": "not found", "errorCode": "NOT_FOUND"}])

    def _login(self, form: Mapping[str, str]) -> Any:
        if form.get("refresh_token") != self.refresh_token:
            gone = {"error": "invalid_grant", "error_description": "expired access/refresh token"}
            return Reply(status=400, body=gone)
        self.logins += 1
        self.refresh_token = f"refresh-{self.logins}-local"
        return {
            "access_token": f"access-{self.logins}",
            "refresh_token": self.refresh_token,
            "instance_url": "https://local.my.salesforce.com",
            "token_type": "Bearer",
        }

    def _job(self, asked: Asked, parts: list[str]) -> Any:
        if asked.method == "POST" and not parts:
            number = f"750{len(self._jobs):012d}"
            self._jobs[number] = asked.body["query"]
            return {"id": number, "state": "UploadComplete", "operation": asked.body["operation"]}
        if parts and parts[0] in self._jobs:
            if parts[1:] == ["results"]:
                text = self._csv(self._jobs[parts[0]])
                return Reply(body=text.encode(), headers={"Content-Type": "text/csv", "Sforce-Locator": "null"})
            return {"id": parts[0], "state": "JobComplete"} if asked.method == "GET" else Reply(status=204, body=b"")
        return Reply(status=404, body=[{"message": "no such job", "errorCode": "NOT_FOUND"}])

    def _csv(self, query: str) -> str:
        found = re.match(r"\s*SELECT\s+(.*?)\s+FROM\s+(\w+)", query, re.IGNORECASE | re.DOTALL)
        assert found is not None, query
        columns = [c.strip() for c in found[1].split(",")]
        rows = list(self.rows[found[2]].values())
        for sign, value in _BOUND.findall(query):
            rows = [r for r in rows if _holds(r["SystemModstamp"], sign, value)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        writer.writerows(["" if row.get(c) is None else row[c] for c in columns] for row in rows)
        return out.getvalue()


def _field(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": _TYPES[kind], "label": name, "nillable": name != "Id"}


def _holds(value: str, sign: str, bound: str) -> bool:
    left, right = (datetime.fromisoformat(v.replace("Z", "+00:00")) for v in (value, bound))
    return {">=": left >= right, ">": left > right, "<=": left <= right, "<": left < right}[sign]
