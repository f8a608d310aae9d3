"""Sage Intacct, from https://developer.sage.com/intacct/docs: the query service of its REST API.

The REST API and not the older XML gateway: it takes OAuth instead of a sender's password in every request, answers
with JSON, and filters and sorts every object in the same way. Objects are asked for in the order of their keys and not
bounded above: what changes meanwhile keeps its place among the pages, so that nothing is passed over.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, SecretStr, model_validator

from syncline.connectors.rest_api.config import RestApiConfig
from syncline.connectors.rest_api.services.service_config import ServiceConfig, columns
from syncline.connectors.rest_api.source import RestApiSource
from syncline.sdk.connector import ConnectorContext

__all__ = ["SageIntacctConfig", "source"]

#: stream: object, and its columns by kind. A column's path is its name with dots and humps.
_STREAMS: dict[str, tuple[str, dict[str, str]]] = {
    "gl_details": ("general-ledger/journal-entry-line", {
        "text": "id txn_type description document_id currency.txn_currency currency.base_currency gl_account.key "
        "gl_account.id gl_account.name journal_entry.key journal_entry.id dimensions.location.id "
        "dimensions.department.id dimensions.customer.id dimensions.vendor.id",
        "decimal": "txn_amount base_amount",
        "date": "entry_date",
    }),
    "accounts": ("general-ledger/account", {
        "text": "id name account_type normal_balance closing_type status",
    }),
    "customers": ("accounts-receivable/customer", {
        "text": "id name status customer_type.id term.id currency contacts.default.id",
        "decimal": "total_due credit_limit",
    }),
    "vendors": ("accounts-payable/vendor", {
        "text": "id name status vendor_type.id term.id currency tax_id",
        "decimal": "total_due credit_limit",
    }),
    "invoices": ("accounts-receivable/invoice", {
        "text": "id invoice_number state customer.id customer.name reference_number description "
        "currency.txn_currency currency.base_currency",
        "decimal": "total_txn_amount total_base_amount total_txn_amount_due total_base_amount_due",
        "date": "invoice_date due_date",
    }),
    "bills": ("accounts-payable/bill", {
        "text": "id bill_number state vendor.id vendor.name reference_number description currency.txn_currency "
        "currency.base_currency",
        "decimal": "total_txn_amount total_base_amount total_txn_amount_due total_base_amount_due",
        "date": "created_date due_date posting_date",
    }),
}  # fmt: skip
_AUDIT = {"text": "key audit.created_by audit.modified_by", "time": "audit.created_date_time audit.modified_date_time"}
_CURSOR = "audit_modified_date_time"


class SageIntacctConfig(ServiceConfig):
    """One company. ``api_key``, or ``client_id`` and ``client_secret``."""

    service_url = "https://api.intacct.com/ia/api/v1"

    company_id: str = Field(min_length=1, description="the company")
    api_key: SecretStr | None = Field(
        default=None,
        description="an access token; or CLIENT_ID:CLIENT_SECRET of a client application, which gets tokens by itself",
    )
    client_id: str | None = Field(default=None, description="client application's identifier, in place of api_key")
    client_secret: SecretStr | None = Field(default=None, description="client application's secret")
    refresh_token: SecretStr | None = Field(
        default=None, description="with client_id: the refresh token that a user's consent gave; rotated ones are kept"
    )
    username: str | None = Field(
        default=None, description="Web Services user for whom a client application asks; @company_id is added"
    )
    entity: str | None = Field(default=None, description="only this entity of the company")
    page_size: int = Field(default=1000, ge=1, le=4000, description="objects asked for at once")

    @model_validator(mode="after")
    def _credentials(self) -> SageIntacctConfig:
        pair = self.client_id is not None and self.client_secret is not None
        if (self.api_key is not None) == pair:
            raise ValueError("give api_key, or client_id and client_secret")
        if self.refresh_token is not None and not pair:
            raise ValueError("refresh_token needs client_id and client_secret")
        if pair and self.username is None and self.refresh_token is None:
            raise ValueError("client_id needs username, the Web Services user, or refresh_token")
        return self


def declared(config: SageIntacctConfig) -> RestApiConfig:
    """The company as a REST API."""
    return config.declaration(
        pace=5,
        auth=_auth(config),
        headers={} if config.entity is None else {"X-IA-API-Param-Entity": config.entity},
        method="POST",
        records="['ia::result']",
        pagination={
            "type": "cursor",
            "cursor_path": "['ia::meta'].next",
            "cursor_parameter": "start",
            "size_parameter": "size",
            "page_size": config.page_size,
            "into": "body",
        },
        streams=[_stream(config, *row) for row in ((n, o, k) for n, (o, k) in _STREAMS.items())],
    )


def _auth(config: SageIntacctConfig) -> dict[str, Any]:
    key = config.api_key.get_secret_value() if config.api_key is not None else None
    client, secret = config.client_id, config.client_secret
    if key is not None:
        if ":" not in key or key.startswith("ey"):  # a token of theirs is a JWT
            return {"type": "bearer", "token": key}
        client, _, rest = key.partition(":")
        secret = SecretStr(rest)
    base = {
        "type": "oauth2",
        "token_url": f"{config.address()}/oauth2/token",
        "client_id": client,
        "client_secret": secret,
    }
    if config.refresh_token is not None:
        return {**base, "refresh_token": config.refresh_token}
    user = config.username or "syncline"
    return {
        **base,
        "parameters": {"username": user if "@" in user else f"{user}@{config.company_id}"},
    }


def _stream(config: SageIntacctConfig, name: str, of: str, kinds: dict[str, str]) -> dict[str, Any]:
    named = {kind: f"{_AUDIT.get(kind, '')} {kinds.get(kind, '')}".split() for kind in dict.fromkeys([*_AUDIT, *kinds])}
    paths = {_column(path): _path(path) for names in named.values() for path in names}
    return {
        "name": name,
        "path": "/services/core/query",
        "body": {
            "object": of,
            "fields": list(paths.values()),
            "filters": [{"$gte": {"audit.modifiedDateTime": "{since}"}}],
            "orderBy": [{"key": "asc"}],
        },
        "fields": paths,
        "primary_key": "key",
        "incremental": {"cursor_field": _CURSOR, "start": config.start_date, "lookback": "5m"},
        "schema": columns(**{kind: " ".join(map(_column, names)) for kind, names in named.items()}),
    }


def _column(path: str) -> str:
    return path.replace(".", "_")


def _path(path: str) -> str:
    first, *rest = path.split("_")
    return first + "".join(word[0].upper() + word[1:] for word in rest)


def source(config: SageIntacctConfig, context: ConnectorContext) -> RestApiSource:
    """The factory."""
    return RestApiSource(declared(config), context)
