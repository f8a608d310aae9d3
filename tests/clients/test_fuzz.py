"""Whatever the OpenAPI documents allow, and what they do not, is sent to the server: none of it may be its own fault.

Schemathesis makes the requests. Two rounds per document: with whatever it draws, and with the ids of things that are
there, so that it gets behind the first 404.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.clients.prepare import interpreter, is_ready
from tests.integration.api.served import DUCKDB, POSTGRES, Served, served

pytestmark = pytest.mark.fuzz

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
]
#: Of each operation and round.
EXAMPLES = os.environ.get("SYNCLINE_FUZZ_EXAMPLES", "10")
#: Streams do not end; looks take as long as other systems do, and are tried elsewhere.
LEFT_OUT = "stream$|discover_schema|check_connection|applications/token|/login"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("fuzz"), auth="none") as running:
        yield running


@pytest.fixture(scope="module")
def known(server: Served) -> dict[str, Any]:
    """Ids of things that are there, by the names of parameters."""
    with server.client() as client:

        def made(path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        # Not the last workspace, which cannot be deleted: fuzzing deletes what it can.
        workspace = made("/v1/workspaces", {"name": "fuzz"})["workspaceId"]
        actor = {"name": "x", "workspaceId": workspace}
        source = made("/v1/sources", {**actor, "configuration": POSTGRES})["sourceId"]
        destination = made("/v1/destinations", {**actor, "configuration": DUCKDB})["destinationId"]
        connection = made("/v1/connections", {"sourceId": source, "destinationId": destination})["connectionId"]
        job = made("/v1/jobs", {"connectionId": connection, "jobType": "sync"})["jobId"]
        tag = made("/v1/tags", {"name": "x", "color": "FF0000", "workspaceId": workspace})["tagId"]
        user = made("/api/syncline/v1/users", {"email": "f@localhost", "name": "f", "password": "long enough"})[
            "userId"
        ]
    return {
        "workspaceId": workspace,
        "sourceId": source,
        "destinationId": destination,
        "connectionId": connection,
        "jobId": job,
        "tagId": tag,
        "userId": user,
    }


@pytest.mark.parametrize(
    ("prefix", "what"),
    [
        ("/v1", "anything"),
        ("/v1", "known"),
        ("/api/v1", "anything"),  # its ids are in bodies
        ("/api/syncline/v1", "anything"),
        ("/api/syncline/v1", "known"),
    ],
)
def test_nothing_is_the_servers_fault(
    server: Served, known: dict[str, Any], prefix: str, what: str, tmp_path: Path
) -> None:
    if not is_ready("schemathesis"):
        pytest.skip("no environment for schemathesis: python tests/clients/prepare.py schemathesis")
    settings = ""
    if what == "known":
        lines = [f'"path.{name}" = {json.dumps(value)}' for name, value in known.items()]
        settings = "[parameters]\n" + "\n".join(lines) + "\n"
    (tmp_path / "schemathesis.toml").write_text(settings, encoding="utf-8")
    base = server.base + prefix
    command = [
        *(str(interpreter("schemathesis").parent / "schemathesis"), "run", f"{base}/openapi.json", "--url", base),
        *("--checks", ",".join(CHECKS), "--exclude-path-regex", LEFT_OUT, "--max-examples", EXAMPLES),
        *("--phases", "coverage,fuzzing"),
        *("--continue-on-failure", "--no-shrink", "--request-timeout", "30", "--warnings", "off"),
    ]
    if os.environ.get("CI"):
        command += ["--seed", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-8000:]
    assert httpx.get(f"{server.base}/health/ready").status_code == 200
