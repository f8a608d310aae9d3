"""``syncline connectors``: Airbyte's registry imported, versions updated, specifications kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.integration.command import succeed, syncline

REGISTRY = {
    "sources": [
        {
            "sourceDefinitionId": "11111111-2222-4333-8444-555555555555",
            "name": "Weather",
            "dockerRepository": "airbyte/source-weather",
            "dockerImageTag": "1.2.3",
            "documentationUrl": "https://docs.example.com/weather",
            "license": "MIT",
            "tags": ["language:python"],
            "remoteRegistries": {"pypi": {"enabled": True, "packageName": "airbyte-source-weather"}},
            "spec": {"connectionSpecification": {"type": "object", "required": ["key"], "properties": {"key": {}}}},
        },
        {
            "sourceDefinitionId": "11111111-2222-4333-8444-666666666666",
            "name": "Tides",
            "dockerRepository": "airbyte/source-tides",
            "dockerImageTag": "0.1.0",
            "tags": ["language:manifest-only"],
        },
        {
            "sourceDefinitionId": "11111111-2222-4333-8444-777777777777",
            "name": "Stripe of the registry",
            "dockerRepository": "airbyte/source-stripe",
            "dockerImageTag": "99.0.0",
        },
        {"dockerRepository": "airbyte/source-gone", "tombstone": True},
    ],
    "destinations": [],
}


def test_a_registry_joins_the_catalog_behind_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    registry = tmp_path / "registry.json"
    registry.write_text(json.dumps(REGISTRY))
    assert succeed("connectors", "import", registry).out.strip() == "3 connectors"
    found = {e["name"]: e for e in succeed("connectors", "search", "--json").json}
    assert found["weather"]["version"] == "1.2.3"
    assert found["weather"]["definition"] == "11111111-2222-4333-8444-555555555555"
    assert found["tides"]["form"] == "manifest"
    assert found["stripe"]["version"] == "5.14.1"  # ours was tried
    assert succeed("connectors", "spec", "weather", "--json").json == REGISTRY["sources"][0]["spec"]
    assert "key" in succeed("connectors", "spec", "weather").out
    refused = syncline("connectors", "install", "tides")
    assert refused.code == 3
    assert "not on PyPI" in refused.err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sources": [{}]}', '{"sources": 3}'])
def test_what_is_no_registry_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    registry = tmp_path / "registry.json"
    registry.write_text(text)
    done = syncline("connectors", "import", registry)
    assert done.code == 3, done.text
    assert "no registry of connectors" in done.err
    assert not (tmp_path / "home" / "connectors" / "registry.json").exists()


def test_nothing_to_update_and_a_quick_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    assert succeed("connectors", "update").out.strip() == "nothing to update"
    began = time.process_time()
    assert "mysql" in succeed("connectors", "list").out
    assert time.process_time() - began < 0.5


def test_listing_needs_no_arrow(tmp_path: Path) -> None:
    """It is what people type first, and Arrow takes as long to import as everything else together."""
    text = (
        "import sys; from syncline.service.connectors import installables;"
        " from syncline.sdk.connector import connectors;"
        " assert connectors('source') and connectors('destination') and installables();"
        " assert not {'pyarrow', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    environment = {**os.environ, "SYNCLINE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", text], check=True, env=environment)
