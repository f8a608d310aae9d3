"""Which values are secrets, and that taking them out and putting them back loses nothing."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, Field, SecretStr

from syncline.connectors.airbyte.config import AirbyteSourceConfig
from syncline.core.errors import SynclineError
from syncline.sdk.connector import connectors
from syncline.service.secrets.masking import MASK, fill, split


class _Key(BaseModel):
    kind: Literal["key"]
    key: SecretStr


class _Login(BaseModel):
    kind: Literal["login"]
    user: str
    phrase: SecretStr | None = None


class _Model(BaseModel):
    host: str
    word: SecretStr = Field(validation_alias=AliasChoices("word", "pass"))
    auth: _Key | _Login
    many: list[_Key] = []
    words: list[SecretStr] = []
    named: dict[str, SecretStr] = {}


WHOLE: dict[str, Any] = {
    "host": "h",
    "pass": "w1",
    "auth": {"kind": "login", "user": "u", "phrase": "w2"},
    "many": [{"kind": "key", "key": "w3"}, {"kind": "key", "key": "w4"}],
    "words": ["w5", ""],
    "named": {"a/b~c": "w6"},
    "unknown_token": "w7",
    "plain": None,
}


def test_secrets_go_wherever_they_are_and_come_back() -> None:
    masked, secrets = split((_Model,), WHOLE, {})
    assert sorted(secrets.values()) == ["w1", "w2", "w3", "w4", "w5", "w6", "w7"]
    assert "w" not in {str(v)[0] for v in _leaves(masked) if v not in (MASK, None, "")}
    assert fill(masked, secrets) == WHOLE
    assert split((_Model,), masked, secrets) == (masked, secrets)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, list) else [value]


def test_a_mask_in_another_place_masks_nothing() -> None:
    _, secrets = split((_Model,), WHOLE, {})
    with pytest.raises(SynclineError, match=r"configuration\.auth\.key"):
        split((_Model,), {"auth": {"kind": "key", "key": MASK}}, secrets)


def test_a_mask_that_is_no_secret_is_a_text() -> None:
    assert split((_Model,), {"host": MASK}, {}) == ({"host": MASK}, {})


@pytest.mark.parametrize("role", ["source", "destination"])
def test_every_field_named_like_a_secret_is_one(role: Any) -> None:
    """In all installed connectors: a field that its author forgot to make a SecretStr would be answered in clear."""
    for spec in connectors(role).values():
        model = spec.config_model()
        for name in model.model_fields:
            likely = any(word in name for word in ("password", "secret", "token", "access_key", "private_key"))
            masked, _ = split((model,), {name: "value"}, {})
            assert (masked[name] == MASK) >= likely, (spec.name, name)


def test_below_the_configuration_of_somebody_elses_connector_every_text_is_hidden_unless_it_is_harmless() -> None:
    given = {
        "package": "airbyte-source-github",
        "config": {
            "start_date": "2024-01-01T00:00:00Z",
            "credentials": {"option_title": "PAT Credentials", "pat": "ghp_readable", "scheme": "opaque text"},
            "repositories": ["org/one", "org/two"],
            "host": "api.example.org",
            "endpoint": "https://me:word@example.org",
            "page_size": 100,
            "verbose": True,
            "key_id": "${env:KEY}",
        },
        "environment": {"HTTP_AUTH": "Basic dXNlcjpwdw=="},
    }
    masked, secrets = split((AirbyteSourceConfig,), given, {})
    assert masked == {
        "package": "airbyte-source-github",
        "config": {
            "start_date": "2024-01-01T00:00:00Z",
            "credentials": {"option_title": "PAT Credentials", "pat": MASK, "scheme": MASK},
            "repositories": [MASK, MASK],
            "host": "api.example.org",
            "endpoint": MASK,
            "page_size": 100,
            "verbose": True,
            "key_id": "${env:KEY}",
        },
        "environment": {"HTTP_AUTH": MASK},
    }
    assert fill(masked, secrets) == given
    again, kept = split((AirbyteSourceConfig,), masked, secrets)
    assert (again, kept) == (masked, secrets)
