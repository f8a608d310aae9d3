"""Consent in a browser: the address, the way back, and a source whose tokens nobody sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.integration.api.served import Served

from syncline.testing.saas.hubspot import FakeHubspot

OWN = "/api/syncline/v1/oauth"
BACK = "http://localhost:8000/oauth"


def _consent(server: Served, hubspot: FakeHubspot, **more: Any) -> dict[str, Any]:
    client, secret = hubspot.client
    return {
        "workspaceId": server.workspace,
        "sourceType": "hubspot",
        "name": "crm",
        "clientId": client,
        "clientSecret": secret,
        "redirectUrl": BACK,
        "configuration": {"base_url": hubspot.url},
        **more,
    }


def test_a_source_by_consent(
    api: httpx.Client, server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path))  # the process that checks keeps rotated tokens there
    with FakeHubspot() as hubspot:
        hubspot.put("contacts", 1, email="a@example.com")
        begun = api.post(f"{OWN}/consent", json=_consent(server, hubspot))
        assert begun.status_code == 200, begun.text
        address = urlsplit(begun.json()["consentUrl"])
        query = {key: value for key, (value,) in parse_qs(address.query).items()}
        assert (address.hostname, query["client_id"]) == ("app.hubspot.com", hubspot.client[0])
        assert "crm.objects.contacts.read" in query["scope"]
        assert hubspot.client[1] not in begun.text
        hubspot.codes.add("code-1")
        made = api.post(f"{OWN}/complete", json={"state": query["state"], "code": "code-1"})
        assert made.status_code == 200, made.text
        source = made.json()
        assert "refresh-consented" not in api.get(f"/v1/sources/{source['sourceId']}").text
        assert source["configuration"]["credentials"]["refresh_token"] == "**********"
        checked = _checked(api, source["sourceId"])
        assert checked.json()["status"] == "succeeded", checked.text
        # The code is used up.
        again = api.post(f"{OWN}/complete", json={"state": query["state"], "code": "code-1"})
        assert again.status_code == 422
        assert hubspot.client[1] not in again.text
        # A new consent for the same source.
        anew = api.post(f"{OWN}/consent", json=_consent(server, hubspot, sourceId=source["sourceId"])).json()
        hubspot.codes.add("code-2")
        state = parse_qs(urlsplit(anew["consentUrl"]).query)["state"][0]
        changed = api.post(f"{OWN}/complete", json={"state": state, "code": "code-2"}).json()
        assert changed["sourceId"] == source["sourceId"]


def _checked(api: httpx.Client, source: str) -> httpx.Response:
    while True:  # a busy machine: the look goes on, and who asks again joins it
        found = api.post("/api/v1/sources/check_connection", json={"sourceId": source}, timeout=60)
        if found.status_code != 409:
            return found


def test_what_is_refused(api: httpx.Client, server: Served, open_server: Served) -> None:
    with FakeHubspot() as hubspot:
        begun = api.post(f"{OWN}/consent", json=_consent(server, hubspot)).json()
        state = parse_qs(urlsplit(begun["consentUrl"]).query)["state"][0]
        for wrong in ("", "a.b.c.d", state[:-6] + "AAAAAA"):
            refused = api.post(f"{OWN}/complete", json={"state": wrong, "code": "x"})
            assert refused.status_code == 422, refused.text
        with open_server.client() as stranger:
            assert stranger.post(f"{OWN}/complete", json={"state": state, "code": "x"}).status_code == 422
        assert hubspot.count("/oauth") == 0, "nobody was asked"
        for more, words in (
            ({"sourceType": "postgres"}, "not opened by consent"),
            ({"redirectUrl": "http://example.com/back"}, "https"),
            ({"clientSecret": ""}, "clientId"),
        ):
            refused = api.post(f"{OWN}/consent", json=_consent(server, hubspot, **more))
            assert refused.status_code == 422
            assert words in refused.text
    with server.client() as nobody:
        assert nobody.post(f"{OWN}/consent", json={}).status_code == 401
