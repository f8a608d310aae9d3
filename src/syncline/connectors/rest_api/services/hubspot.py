"""HubSpot's CRM, from https://developers.hubspot.com/docs/api-reference: lists at first, then what changed by search.

A search gives 10,000 results at most, however it is paged. Ours is not paged but begun again after the last id of each
answer (``hs_object_id`` greater than it, in its order), within the bounds of one pass; so there is no such limit, and
nothing is passed over when records change meanwhile. The index of the search lags behind: ten minutes are read again.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from syncline.connectors.rest_api.config import RestApiConfig
from syncline.connectors.rest_api.services.service_config import ServiceConfig, columns
from syncline.connectors.rest_api.source import RestApiSource
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.connector import ConnectorContext

__all__ = ["HubspotConfig", "HubspotCredentials", "source"]

_PAGES = {"type": "cursor", "cursor_path": "paging.next.after", "cursor_parameter": "after", "page_size": 100}

#: Properties by object: HubSpot gives only those that are asked for.
_PROPERTIES: dict[str, str] = {
    "contacts": "email firstname lastname phone mobilephone company jobtitle website address city state zip country "
    "lifecyclestage hs_lead_status hubspot_owner_id createdate lastmodifieddate",
    "companies": "name domain website phone industry type description address city state zip country numberofemployees "
    "annualrevenue lifecyclestage hubspot_owner_id createdate hs_lastmodifieddate",
    "deals": "dealname amount deal_currency_code dealstage pipeline dealtype closedate description hubspot_owner_id "
    "hs_is_closed hs_is_closed_won createdate hs_lastmodifieddate",
    "tickets": "subject content hs_pipeline hs_pipeline_stage hs_ticket_category hs_ticket_priority source_type "
    "closed_date hubspot_owner_id createdate hs_lastmodifieddate",
}
_TIMES = {"createdate", "lastmodifieddate", "hs_lastmodifieddate", "closedate", "closed_date"}
_NUMBERS = {"amount", "annualrevenue", "numberofemployees"}
_ASSOCIATIONS = (
    ("contacts", "companies"),
    ("deals", "contacts"),
    ("deals", "companies"),
    ("tickets", "contacts"),
    ("tickets", "companies"),
    ("tickets", "deals"),
)
_ONE = {"contacts": "contact", "companies": "company", "deals": "deal", "tickets": "ticket"}


class HubspotCredentials(ConnectorConfig):
    """Of a private app, or of OAuth."""

    credentials_title: Literal["Private App Credentials", "OAuth Credentials"] | None = Field(
        default=None, description="Airbyte's word for the kind; follows from the other fields"
    )
    access_token: SecretStr | None = Field(default=None, description="token of a private app (pat-…)")
    client_id: str | None = Field(default=None, description="OAuth: the application's identifier")
    client_secret: SecretStr | None = Field(default=None, description="OAuth: the application's secret")
    refresh_token: SecretStr | None = Field(default=None, description="OAuth: the refresh token of the account")

    @model_validator(mode="after")
    def _one_kind(self) -> HubspotCredentials:
        oauth = (self.client_id, self.client_secret, self.refresh_token)
        if (self.access_token is not None) == all(part is not None for part in oauth):
            raise ValueError("give access_token, or client_id, client_secret and refresh_token")
        return self


class HubspotConfig(ServiceConfig):
    """One HubSpot account."""

    service_url = "https://api.hubapi.com"

    credentials: HubspotCredentials | None = Field(default=None, description="private app or OAuth")
    access_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("access_token", "api_key"),
        description="token of a private app (pat-…), in place of credentials",
    )
    properties: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="further properties by object, your own too: {contacts: [nps_score]}"
    )

    enable_experimental_streams: bool | None = Field(default=None, description="Not used: there are none.")
    num_worker: int | None = Field(default=None, description="Not used: see concurrency of the connection.")

    @field_validator("properties")
    @classmethod
    def _objects(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if unknown := sorted(set(value) - set(_PROPERTIES)):
            raise ValueError(f"{unknown[0]} is none of {', '.join(_PROPERTIES)}")
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> HubspotConfig:
        if (self.credentials is None) == (self.access_token is None):
            raise ValueError("give access_token or credentials")
        return self


def declared(config: HubspotConfig) -> RestApiConfig:
    """The account as a REST API."""
    streams = [_objects(config, name) for name in _PROPERTIES]
    streams += [_associations(one, other) for one, other in _ASSOCIATIONS]
    streams.append(
        {
            "name": "owners",
            "path": "/crm/v3/owners",
            "records": "results",
            "primary_key": "id",
            "incremental": {"cursor_field": "updatedAt", "start": config.start_date},
            "schema": columns(
                text="id email type firstName lastName",
                integer="userId userIdIncludingInactive",
                time="createdAt updatedAt",
                boolean="archived",
                json="teams",
            ),
        }
    )
    return config.declaration(pace=9, auth=_auth(config), pagination=_PAGES, streams=streams)


def _auth(config: HubspotConfig) -> dict[str, Any]:
    token = config.access_token or (config.credentials.access_token if config.credentials else None)
    if token is not None:
        return {"type": "bearer", "token": token}
    if config.credentials is None:
        raise SynclineError(ErrorKind.CONFIG, "HubSpot needs credentials", hint="set access_token")
    return {
        "type": "oauth2",
        "token_url": f"{config.address()}/oauth/v1/token",
        "client_id": config.credentials.client_id,
        "client_secret": config.credentials.client_secret,
        "refresh_token": config.credentials.refresh_token,
    }


def _objects(config: HubspotConfig, name: str) -> dict[str, Any]:
    properties = [*_PROPERTIES[name].split(), *config.properties.get(name, ())]
    modified = "lastmodifieddate" if name == "contacts" else "hs_lastmodifieddate"
    bounds = [
        {"propertyName": modified, "operator": "GTE", "value": "{since}"},
        {"propertyName": modified, "operator": "LTE", "value": "{until}"},
        {"propertyName": "hs_object_id", "operator": "GT", "value": "{after}"},
    ]
    text = [p for p in properties if p not in _TIMES | _NUMBERS]
    shape = {"records": "results", "flatten": ["properties"], "empty_as_null": True}
    return {
        "name": name,
        "path": f"/crm/v3/objects/{name}",
        "params": {"properties": ",".join(dict.fromkeys(properties)), "archived": "false"},
        **shape,
        "primary_key": "id",
        "incremental": {
            "cursor_field": "updatedAt",
            "start": config.start_date,
            "parameter_format": "unix_ms",
            "lookback": "10m",
        },
        "schema": columns(
            text=" ".join(["id", "hs_object_id", *dict.fromkeys(text)]),
            time=" ".join(["createdAt", "updatedAt", *(p for p in properties if p in _TIMES)]),
            decimal=" ".join(p for p in properties if p in _NUMBERS),
            boolean="archived",
        ),
        "changes": {
            "path": f"/crm/v3/objects/{name}/search",
            "method": "POST",
            "body": {
                "filterGroups": [{"filters": bounds}],
                "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
                "properties": list(dict.fromkeys(properties)),
                "limit": "{limit}",
            },
            **shape,
            "pagination": {
                "type": "cursor",
                "last_record": "id",
                "cursor_parameter": None,
                "size_parameter": None,
                "page_size": 200,
            },
        },
    }


def _associations(one: str, other: str) -> dict[str, Any]:
    mine, theirs = f"{_ONE[one]}_id", f"{_ONE[other]}_id"
    return {
        "name": f"{_ONE[one]}_{other}",
        "path": f"/crm/v3/objects/{one}",
        "params": {"associations": other, "archived": "false"},
        "records": "results",
        "explode": f"associations.{other}.results[*]",
        "explode_more": f"associations.{other}.paging.next.link",
        "keep": {mine: "id"},
        "fields": {theirs: "id", "type": "type"},
        "primary_key": [mine, theirs, "type"],
        "schema": columns(text=f"{mine} {theirs} type"),
    }


def source(config: HubspotConfig, context: ConnectorContext) -> RestApiSource:
    """The factory."""
    return RestApiSource(declared(config), context)
