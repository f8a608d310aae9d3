"""``syncline import airbyte``: a workspace that an Airbyte tells of is a project file that a server takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.api.conftest import made
from tests.integration.api.served import DUCKDB, POSTGRES, Served
from typer.testing import CliRunner

from syncline.cli.main import app
from syncline.core.errors import SynclineError
from syncline.service.declarations.document import document_of
from syncline.service.project import load_project


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(done.exception, SynclineError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_running_airbyte_is_taken_over(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours speaks Airbyte's APIs, masks included; what it tells is applied to another workspace and is the same."""
    with server.bearer() as api:
        old = made(api, "/v1/workspaces", {"name": "old"})["workspaceId"]
        new = made(api, "/v1/workspaces", {"name": "new"})["workspaceId"]
        source = made(api, "/v1/sources", {"name": "shop/db", "workspaceId": old, "configuration": POSTGRES})
        to = made(api, "/v1/destinations", {"name": "copy", "workspaceId": old, "configuration": DUCKDB})
        stream = {"name": "orders", "namespace": "public", "syncMode": "incremental_deduped_history"}
        stream |= {"cursorField": ["updated_at"], "primaryKey": [["id"]]}  # type: ignore[dict-item]
        body = {
            "sourceId": source["sourceId"],
            "destinationId": to["destinationId"],
            "name": "orders",
            "prefix": "raw_",
            "configurations": {"streams": [stream]},
            "schedule": {"scheduleType": "cron", "cronExpression": "0 0 3 * * ? Europe/Berlin"},
        }
        made(api, "/v1/connections", body)
        monkeypatch.setenv("AIRBYTE_TOKEN", server.token())
        out = tmp_path / "taken.yaml"
        told = run("import", "airbyte", "--from", f"{server.base}/api/public/v1", "--workspace", old, "-o", out)
        assert "missing: sources.shop-db.config.password -> export SHOP_DB_PASSWORD=…" in told
        assert "SHOP_DB_PASSWORD  (sources.shop-db.config.password)" in out.read_text()
        monkeypatch.setenv("SHOP_DB_PASSWORD", "hunter2-secret")
        monkeypatch.setenv("SYNCLINE_URL", server.base)
        monkeypatch.setenv("SYNCLINE_TOKEN", server.token())
        run("apply", out, "--yes", "--workspace", new)
        (copied,) = api.get("/v1/connections", params={"workspaceIds": new}).json()["data"]
        (original,) = api.get("/v1/connections", params={"workspaceIds": old}).json()["data"]
        for key in ("name", "prefix", "schedule", "configurations", "status", "nonBreakingSchemaUpdatesBehavior"):
            assert copied[key] == original[key], key
    with pytest.raises(SynclineError, match="is there already"):
        run("import", "airbyte", "--from", f"{server.base}/api/public/v1", "-o", out)


#: As Airbyte's config API answers, in the shapes of its OpenAPI file.
CONFIG_API: dict[str, Any] = {
    "sources": [
        {
            "sourceId": "s1",
            "name": "shop",
            "sourceDefinitionId": "decd338e-5647-4c0b-adf4-da0e75f5a750",
            "connectionConfiguration": {
                "host": "db.example.com",
                "port": 5432,
                "database": "shop",
                "username": "reader",
                "password": "**********",
                "tunnel_method": {"tunnel_method": "NO_TUNNEL"},
            },
        },
        {
            "sourceId": "s2",
            "name": "people",
            "sourceName": "Faker",
            "sourceType": "faker",
            "connectionConfiguration": {"count": 10, "api_token": "**********"},
        },
    ],
    "destinations": [
        {
            "destinationId": "d1",
            "name": "people",  # as a source is named too
            "configuration": {
                "destinationType": "postgres",
                "host": "dw",
                "port": 5432,
                "database": "dw",
                "schema": "raw",
                "username": "w",
                "password": "**********",
            },
        },
        {"destinationId": "d2", "name": "lake", "configuration": {"destinationType": "weaviate"}},
    ],
    "connections": [
        {
            "connectionId": "c1",
            "name": "shop to people",
            "sourceId": "s1",
            "destinationId": "d1",
            "status": "inactive",
            "namespaceDefinition": "customformat",
            "namespaceFormat": "${SOURCE_NAMESPACE}_raw",
            "nonBreakingChangesPreference": "disable",
            "scheduleType": "basic",
            "scheduleData": {"basicSchedule": {"units": 6, "timeUnit": "hours"}},
            "syncCatalog": {
                "streams": [
                    {
                        "stream": {"name": "orders", "namespace": "public"},
                        "config": {
                            "selected": True,
                            "syncMode": "incremental",
                            "destinationSyncMode": "append_dedup",
                            "cursorField": ["updated_at"],
                            "primaryKey": [["id"]],
                        },
                    },
                    {"stream": {"name": "secret"}, "config": {"selected": False, "syncMode": "full_refresh"}},
                ]
            },
        },
        {"connectionId": "c2", "name": "people", "sourceId": "s2", "destinationId": "d1", "scheduleType": "manual"},
        {"connectionId": "c3", "name": "lost", "sourceId": "s1", "destinationId": "d2"},
        {"connectionId": "c4", "name": "gone", "sourceId": "s1", "destinationId": "d1", "status": "deprecated"},
    ],
}
STATES = [
    {
        "connectionId": "c1",
        "stateType": "stream",
        "streamState": [{"streamDescriptor": {"name": "orders"}, "streamState": {"cursor": "1"}}],
    },
    {
        "connectionId": "c2",
        "stateType": "stream",
        "streamState": [{"streamDescriptor": {"name": "users"}, "streamState": {"seed": 1}}],
    },
]


def test_answers_of_the_config_api_are_taken_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "all.json").write_text(json.dumps(CONFIG_API))
    (tmp_path / "states.json").write_text(json.dumps(STATES))
    out = tmp_path / "airbyte.yaml"
    told = run("import", "airbyte", tmp_path / "all.json", tmp_path / "states.json", "-o", out)
    found = yaml.safe_load(out.read_text())
    assert found["connections"] == {
        "shop to people": {
            "source": "shop",
            "destination": "people",
            "mode": "full_refresh_overwrite",
            "schedule": "every 6 hours",
            "enabled": False,
            "namespace_definition": "custom_format",
            "namespace_format": "${SOURCE_NAMESPACE}_raw",
            "schema_changes": {"policy": "disable_connection"},
            "streams": [
                {
                    "name": "public.orders",
                    "mode": "incremental_deduped_history",
                    "cursor_field": "updated_at",
                    "primary_key": ["id"],
                }
            ],
        },
        "people": {
            "source": "people",
            "destination": "people",
            "mode": "full_refresh_overwrite",
            "schema_changes": {"policy": "ignore"},
        },
    }
    assert found["sources"]["people"]["type"] == "airbyte"
    assert found["sources"]["people"]["config"]["config"]["api_token"] == "${PEOPLE_CONFIG_API_TOKEN}"
    assert "destination 'lake' is left out: there is no destination connector 'weaviate'" in told
    assert "connection 'lost' is left out: its destination is not in the file" in told
    assert "connection 'shop to people' reads everything once" in told
    # Only the connection that runs Airbyte's own connector goes on from Airbyte's position.
    assert json.loads((tmp_path / "airbyte.states.json").read_text()).keys() == {"people"}
    for name in ("SHOP_PASSWORD", "PEOPLE_PASSWORD", "PEOPLE_CONFIG_API_TOKEN"):
        monkeypatch.setenv(name, f"value of {name}")
    document = document_of(load_project(out))
    assert document["sources"]["shop"]["config"]["password"] == "value of SHOP_PASSWORD"


def test_what_is_not_airbytes_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    with pytest.raises(SynclineError, match="holds no sources"):
        run("import", "airbyte", other, "-o", tmp_path / "x.yaml")
    other.write_text("no json")
    with pytest.raises(SynclineError, match="cannot be read as JSON"):
        run("import", "airbyte", other, "-o", tmp_path / "x.yaml")
    with pytest.raises(SynclineError, match="either files or --from"):
        run("import", "airbyte", "-o", tmp_path / "x.yaml")
