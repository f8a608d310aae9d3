"""The OpenAPI documents that are served: what they say is there is there, and what clients need is in them."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from tests.integration.api.served import Served

DOCUMENTS = ["/api/public/v1", "/v1", "/api/v1", "/api/syncline/v1"]

#: What the listed clients call, as (method, path).
PUBLIC = """
POST /applications/token
GET /health
POST /jobs
GET /jobs
GET /jobs/{jobId}
DELETE /jobs/{jobId}
GET /connections
POST /connections
GET /connections/{connectionId}
PATCH /connections/{connectionId}
DELETE /connections/{connectionId}
GET /workspaces
POST /workspaces
GET /workspaces/{workspaceId}
PATCH /workspaces/{workspaceId}
DELETE /workspaces/{workspaceId}
GET /sources
POST /sources
GET /sources/{sourceId}
PATCH /sources/{sourceId}
PUT /sources/{sourceId}
DELETE /sources/{sourceId}
GET /destinations
POST /destinations
GET /destinations/{destinationId}
PATCH /destinations/{destinationId}
PUT /destinations/{destinationId}
DELETE /destinations/{destinationId}
GET /streams
GET /organizations
GET /tags
GET /permissions
GET /users
GET /workspaces/{workspaceId}/definitions/sources
GET /workspaces/{workspaceId}/definitions/destinations
GET /workspaces/{workspaceId}/definitions/declarative_sources
POST /connections/{connectionId}/sync
"""

CONFIG = """
GET /health
POST /applications/token
POST /connections/sync
POST /connections/get
POST /connections/list
POST /connections/create
POST /connections/update
POST /connections/delete
POST /connections/reset
POST /jobs/get
GET /jobs/{jobId}
POST /jobs/list
POST /jobs/cancel
POST /jobs/get_last_replication_job
POST /jobs/get_without_logs
POST /operations/list
POST /sources/create
POST /sources/get
POST /sources/list
POST /sources/update
POST /sources/delete
POST /sources/discover_schema
POST /sources/check_connection
POST /destinations/create
POST /destinations/get
POST /destinations/list
POST /destinations/update
POST /destinations/delete
POST /destinations/check_connection
POST /source_definitions/list
POST /destination_definitions/list
POST /web_backend/connections/get
POST /web_backend/connections/update
POST /state/get
POST /state/create_or_update_safe
POST /workspaces/list
POST /workspaces/get
POST /workspaces/get_organization_info
POST /organizations/get_organization_info
POST /users/get_by_auth_id
POST /permissions/list_by_user
"""


def document(server: Served, prefix: str) -> dict[str, Any]:
    answer = httpx.get(f"{server.base}{prefix}/openapi.json", timeout=60)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, methods in found["paths"].items() for method in methods]


@pytest.mark.parametrize("prefix", DOCUMENTS)
def test_what_is_documented_is_there(server: Served, prefix: str) -> None:
    """Anonymously, so that nothing is changed: what is there asks for credentials, or for a body."""
    found = operations(document(server, prefix))
    assert len(found) > 20
    with server.client() as anonymous:
        for method, path in found:
            filled = re.sub(r"{\w+}", "1", path)
            answer = anonymous.request(method, f"{prefix}{filled}")
            assert answer.status_code not in (404, 405) or "openapi" in path or "receive" in path, (method, path)
            if path not in ("/health", "/info", "/login", "/applications/token") and "receive" not in path:
                assert answer.status_code == 401, (method, path, answer.text)


@pytest.mark.parametrize("prefix", DOCUMENTS)
def test_every_operation_has_a_name_of_its_own_and_failures(server: Served, prefix: str) -> None:
    found = document(server, prefix)
    names = [each["operationId"] for methods in found["paths"].values() for each in methods.values()]
    assert sorted(set(names)) == sorted(names)
    for methods in found["paths"].values():
        for each in methods.values():
            assert {"401", "404", "422"} <= set(each["responses"])
    assert set(found["components"]["securitySchemes"]) == {"bearer", "basic", "clientCredentials"}


@pytest.mark.parametrize(("prefix", "needed"), [("/v1", PUBLIC), ("/api/public/v1", PUBLIC), ("/api/v1", CONFIG)])
def test_what_clients_call_is_documented(server: Served, prefix: str, needed: str) -> None:
    found = set(operations(document(server, prefix)))
    missing = [line for line in needed.strip().splitlines() if tuple(line.split(" ", 1)) not in found]
    assert missing == []


def test_one_application_serves_both_places_of_the_public_api(server: Served) -> None:
    assert document(server, "/v1") == document(server, "/api/public/v1")
