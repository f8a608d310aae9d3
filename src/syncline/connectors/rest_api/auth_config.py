"""How a request says who asks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, SecretStr, model_validator

from syncline.sdk.config import ConnectorConfig

__all__ = ["ApiKeyAuth", "Auth", "BasicAuth", "BearerAuth", "OAuth2Auth"]


class BearerAuth(ConnectorConfig):
    """``Authorization: Bearer TOKEN``."""

    type: Literal["bearer"]
    token: SecretStr = Field(description="the token")


class BasicAuth(ConnectorConfig):
    """``Authorization: Basic …``."""

    type: Literal["basic"]
    username: str = Field(description="the user, or a key")
    password: SecretStr = Field(default=SecretStr(""), description="the password; empty where the user is the key")


class ApiKeyAuth(ConnectorConfig):
    """A key in a header or a query parameter."""

    type: Literal["api_key"]
    key: SecretStr = Field(description="the key")
    name: str = Field(default="X-API-Key", description="name of the header or parameter")
    location: Literal["header", "query"] = Field(default="header", alias="in", description="header or query")


class OAuth2Auth(ConnectorConfig):
    """OAuth 2: a client's own credentials, or a refresh token. A rotated refresh token is kept for the next run."""

    type: Literal["oauth2"]
    token_url: str = Field(description="where tokens are given out")
    client_id: str = Field(description="the application's identifier")
    client_secret: SecretStr = Field(description="the application's secret")
    refresh_token: SecretStr | None = Field(
        default=None, description="given: grant refresh_token, else client_credentials"
    )
    scopes: tuple[str, ...] = Field(default=(), description="scopes to ask for")
    parameters: dict[str, str] = Field(default_factory=dict, description="further parameters of the token request")
    client_in: Literal["body", "header"] = Field(default="body", description="where the token request names the client")

    @model_validator(mode="after")
    def _secure(self) -> OAuth2Auth:
        if not self.token_url.startswith(("https://", "http://")):
            raise ValueError("token_url is no http or https address")
        return self


def _lower(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        words = value["type"].lower().replace("-", "_").replace(" ", "_")
        known = {"apikey": "api_key", "oauth": "oauth2", "oauth_2": "oauth2", "oauth2.0": "oauth2", "token": "bearer"}
        return {**value, "type": known.get(words, words)}
    return value


Auth = Annotated[
    Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth, Discriminator("type")], BeforeValidator(_lower)
]
