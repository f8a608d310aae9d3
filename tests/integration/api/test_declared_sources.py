"""A low-code manifest that is posted becomes a source: its spec, its secrets, its settings, and a configuration for the
process that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.integration.api.conftest import made
from tests.integration.api.served import Served

TOKEN = "pat-3f9c2e7b11"
FILE = Path(__file__).resolve().parents[3] / "examples" / "manifests" / "time-entries.yaml"


@pytest.fixture
def declared(api: httpx.Client, server: Served) -> dict[str, Any]:
    base = f"/v1/workspaces/{server.workspace}/definitions/declarative_sources"
    return made(api, base, {"name": "entries", "manifest": yaml.safe_load(FILE.read_text())})


def _body(server: Served, declared: dict[str, Any], **configuration: Any) -> dict[str, Any]:
    named = {"name": "mine", "workspaceId": server.workspace, "definitionId": declared["id"]}
    return {**named, "configuration": configuration}


def test_its_secrets_are_those_of_its_spec(api: httpx.Client, server: Served, declared: dict[str, Any]) -> None:
    found = made(api, "/v1/sources", _body(server, declared, pat=TOKEN, start_date="2024-01-01T00:00:00Z"))
    assert TOKEN not in str(found)
    assert found["configuration"]["start_date"] == "2024-01-01T00:00:00Z"
    read = api.get(f"/v1/sources/{found['sourceId']}")
    assert TOKEN not in read.text
    assert read.json()["configuration"]["pat"] == "**********"
    path = f"/v1/sources/{found['sourceId']}"
    changed = api.patch(path, json={"configuration": {"pat": "**********", "start_date": "2025-01-01T00:00:00Z"}})
    assert changed.status_code == 200, changed.text


def test_its_settings_are_checked(api: httpx.Client, server: Served, declared: dict[str, Any]) -> None:
    refused = api.post("/v1/sources", json=_body(server, declared))
    assert refused.status_code == 422
    assert "requires 'pat'" in refused.text
    refused = api.post("/v1/sources", json=_body(server, declared, pat=TOKEN, base_ulr="x"))
    assert refused.status_code == 422
    assert "base_url" in refused.text
    assert TOKEN not in refused.text


def test_what_is_no_manifest_is_refused(api: httpx.Client, server: Served) -> None:
    base = f"/v1/workspaces/{server.workspace}/definitions/declarative_sources"
    for manifest, words in (
        ({"version": "1"}, "it has no type"),
        ({"version": "1", "type": "Spec", "streams": []}, "its type is Spec"),
        (
            {"version": "1", "type": "DeclarativeSource", "streams": [{"type": "CustomX", "class_name": "a.B"}]},
            "Python code",
        ),
    ):
        refused = api.post(base, json={"name": "x", "manifest": manifest})
        assert refused.status_code == 422
        assert words in refused.text
