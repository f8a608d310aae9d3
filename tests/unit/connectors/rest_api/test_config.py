"""What a configuration may say, and what of it is a secret."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from syncline.connectors.rest_api.config import RestApiConfig
from syncline.connectors.rest_api.paths import found_at, parse_path, value_at
from syncline.connectors.rest_api.secrets import secrets_of
from syncline.connectors.rest_api.services.hubspot import HubspotConfig, declared
from syncline.connectors.rest_api.templates import filled, filled_path
from syncline.service.secrets.masking import MASK, split

URL = "https://api.example.com/v1/entries?fixed=1"


def test_one_address_is_one_stream() -> None:
    config = RestApiConfig.model_validate({"url": URL, "pagination": {"type": "offset"}, "primary_key": "id"})
    (stream,) = config.all_streams()
    assert (stream.name, stream.primary_key, stream.pagination is not None) == ("entries", ("id",), True)
    assert RestApiConfig(url="https://api.example.com").all_streams()[0].name == "api.example.com"
    assert RestApiConfig(url=URL, name="mine").all_streams()[0].name == "mine"


def test_streams_take_over_what_they_do_not_say() -> None:
    config = RestApiConfig.model_validate(
        {
            "base_url": "https://api.example.com",
            "headers": {"A": "1"},
            "params": {"p": 1},
            "records": "data",
            "streams": [{"name": "x"}, {"name": "y", "records": "rows", "headers": {"A": "2"}, "params": {"q": 2}}],
        }
    )
    x, y = config.all_streams()
    assert (x.records, x.headers["A"].get_secret_value(), x.params) == ("data", "1", {"p": 1})
    assert (y.records, y.headers["A"].get_secret_value(), y.params) == ("rows", "2", {"p": 1, "q": 2})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "give either url, or base_url"),
        ({"url": URL, "base_url": URL}, "give either url"),
        ({"base_url": URL}, "needs streams"),
        ({"url": "api.example.com"}, "no http or https address"),
        ({"base_url": URL, "streams": [{"name": "a"}, {"name": "a"}]}, "two streams are named a"),
        ({"base_url": URL, "streams": [{"name": "a", "parent": {"stream": "b"}}]}, "which is no stream"),
        ({"base_url": URL, "streams": [{"name": "a", "parent": {"stream": "a"}}]}, "its own parent"),
        ({"url": URL, "records": "a..b"}, "is no path"),
        ({"url": URL, "pagination": {"type": "cursor"}}, "give cursor_path or last_record"),
        ({"url": URL, "incremental": {"cursor_field": "x", "lookback": "soon"}}, "write a time such as"),
        ({"url": URL, "changes": {"path": "/x"}}, "changes needs incremental"),
    ],
)
def test_what_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RestApiConfig.model_validate(config)


def test_secrets_are_masked_and_known() -> None:
    given = {
        "base_url": "https://api.example.com",
        "headers": {"Authorization": "Bearer abcdefgh"},
        "auth": {"type": "api_key", "key": "key-in-auth"},
        "streams": [{"name": "x", "headers": {"X-Own": "own-secret"}}],
    }
    masked, clear = split((RestApiConfig,), given, {})
    assert masked["headers"]["Authorization"] == MASK
    assert masked["streams"][0]["headers"]["X-Own"] == MASK
    assert set(clear.values()) == {"Bearer abcdefgh", "key-in-auth", "own-secret"}
    config = RestApiConfig.model_validate(given)
    assert {"abcdefgh", "key-in-auth", "own-secret"} <= set(secrets_of(config))
    assert "abcdefgh" not in repr(config)


def test_services_are_configurations_of_it() -> None:
    config = declared(HubspotConfig.model_validate({"access_token": "pat-x", "start_date": "2024-01-01"}))
    assert {s.name for s in config.streams} >= {"contacts", "companies", "deals", "tickets", "owners"}
    with pytest.raises(ValidationError, match="give access_token or credentials"):
        HubspotConfig()


def test_paths() -> None:
    text = b'{"a": {"b.c": [{"x": 1}, {"x": null}, {}]}, "::m": {"next": "t"}}'
    assert value_at(text, parse_path("::m.next")) == "t"
    assert value_at(text, parse_path("a['b.c'][0].x")) == 1
    assert value_at(text, parse_path("a['b.c'][-1].x")) is None
    assert [bytes(raw) for raw in found_at(text, parse_path("$.a['b.c'][*].x"))] == [b"1", b"null"]
    assert list(found_at(text, parse_path("a.missing.further"))) == []


def test_placeholders() -> None:
    values = {"since": 5, "parent.id": "a/b?c", "limit": None}
    assert filled({"n": "{since}", "t": "from {since}", "gone": "{limit}", "all": "{until} {since}"}, values) == {
        "n": 5,
        "t": "from 5",
    }
    assert filled({"list": [{"v": "{until}"}, {"v": "{since}"}], "o": {"deep": {"v": "{until}"}}}, values) == {
        "list": [{"v": 5}]
    }
    assert filled({"graph": "{ things { id } }"}, values) == {"graph": "{ things { id } }"}
    assert filled_path("/p/{parent.id}/x", values) == "/p/a%2Fb%3Fc/x"
