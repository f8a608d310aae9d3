"""What the page asks for: everything at a glance, jobs with their causes, trials, the catalog, and the page itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp
from tests.integration.api.conftest import made
from tests.integration.api.served import POSTGRES, Served

from syncline.api.ui import make_page

OWN = "/api/syncline/v1"


def test_a_connection_at_a_glance(api: httpx.Client, connection: dict[str, Any]) -> None:
    def glance() -> dict[str, Any]:
        found = api.get(f"{OWN}/overview").json()
        assert found["lastEvent"] >= 0
        (mine,) = [c for c in found["connections"] if c["connectionId"] == connection["connectionId"]]
        return dict(mine)

    before = glance()
    assert (before["health"], before["recent"], before["source"]["type"]) == ("never", [], "postgres")
    job = made(api, "/v1/jobs", {"connectionId": connection["connectionId"], "jobType": "sync"})["jobId"]
    assert (glance()["health"], glance()["activeJobId"]) == ("running", job)
    detail = api.get(f"{OWN}/jobs/{job}").json()
    assert (detail["status"], detail["cause"], detail["attempts"]) == ("pending", "api", [])
    runs = api.get(f"{OWN}/jobs", params={"connectionId": connection["connectionId"]}).json()["runs"]
    assert [run["jobId"] for run in runs] == [job]
    api.delete(f"/v1/jobs/{job}")
    assert glance()["recent"][0]["status"] == "cancelled"


def test_a_configuration_is_tried_before_it_is_stored(api: httpx.Client, server: Served) -> None:
    body = {"workspaceId": server.workspace, "configuration": {**POSTGRES, "port": 99999}}
    answer = api.post(f"{OWN}/sources/check", json=body, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["ok"] is False
    assert "'port'" in answer.json()["message"]
    assert api.post(f"{OWN}/destinations/check", json={**body, "configuration": {}}).status_code in (200, 422)


def test_the_catalog_lists_what_can_be_installed(api: httpx.Client) -> None:
    found = api.get(f"{OWN}/connectors", params={"search": "faker"}).json()["connectors"]
    assert [each["name"] for each in found] == ["faker"]
    assert api.post(f"{OWN}/connectors/installs", json={"name": "no-such-thing"}).status_code == 422
    assert api.get(f"{OWN}/connectors/installs/nonsense").status_code == 404


def asked(app: ASGIApp, *paths: str) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        browser = {"accept": "text/html,*/*"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=browser) as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(ask())


def test_a_page_that_was_not_built_says_so(tmp_path: Path) -> None:
    (answer,) = asked(make_page(tmp_path), "/")
    assert "make ui" in answer.text


def test_a_page_answers_at_every_address_but_the_apis(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/a-1.js").write_text("1")
    app = Starlette(routes=[Mount("/", make_page(tmp_path))])
    paths = ("/connections/1/streams", "/assets/a-1.js", "/assets/gone.js", "/api/nothing")
    page, asset, gone, api = asked(app, *paths)
    assert page.text == "the page"
    assert page.headers["cache-control"] == "no-cache"
    assert "immutable" in asset.headers["cache-control"]
    assert (gone.status_code, api.status_code) == (404, 404)
