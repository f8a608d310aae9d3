"""Stripe, from https://docs.stripe.com/api: lists by ``created``, then changes and deletions by ``/events``.

A list gives each object as it is now, newest first, a page after the id of the last one. There is no list by change:
Stripe keeps the events of 30 days, each with its object as it was then. So a stream is listed once, and afterwards the
events of its objects are read, newest first; the newest of each object is what it is now. After a pause that is longer
than the events reach back everything is listed again.
"""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field, SecretStr

from syncline.connectors.rest_api.config import RestApiConfig
from syncline.connectors.rest_api.services.service_config import ServiceConfig, columns
from syncline.connectors.rest_api.source import RestApiSource
from syncline.sdk.connector import ConnectorContext

__all__ = ["StripeConfig", "source"]

_PAGES = {
    "type": "cursor",
    "last_record": "id",
    "cursor_parameter": "starting_after",
    "more": "has_more",
    "page_size": 100,
}
_COMMON = "id object currency description status customer"
#: What happens to a stream's objects. By name: `charge.*` would bring disputes too, `invoice.*` drafts without an id.
_EVENTS = {
    "customers": "customer: created updated deleted",
    "charges": "charge: captured expired failed pending refunded succeeded updated",
    "payment_intents": "payment_intent: amount_capturable_updated canceled created partially_funded "
    "payment_failed processing requires_action succeeded",
    "invoices": "invoice: created deleted finalization_failed finalized marked_uncollectible paid "
    "payment_action_required payment_failed payment_succeeded sent updated voided",
    "subscriptions": "customer.subscription: created deleted paused pending_update_applied "
    "pending_update_expired resumed trial_will_end updated",
    "products": "product: created updated deleted",
    "prices": "price: created updated deleted",
    "refunds": "refund: created failed updated",
    "disputes": "charge.dispute: closed created funds_reinstated funds_withdrawn updated",
    "payouts": "payout: canceled created failed paid reconciliation_completed updated",
}
#: Columns by kind, besides the common ones.
_OWN: dict[str, dict[str, str]] = {
    "customers": {
        "text": "email name phone default_source invoice_prefix tax_exempt",
        "integer": "balance next_invoice_sequence",
        "boolean": "delinquent deleted",
        "json": "address shipping discount invoice_settings preferred_locales",
    },
    "charges": {
        "text": "invoice payment_intent payment_method balance_transaction receipt_url failure_code failure_message",
        "integer": "amount amount_captured amount_refunded application_fee_amount",
        "boolean": "captured disputed paid refunded",
        "json": "billing_details outcome payment_method_details refunds shipping source",
    },
    "payment_intents": {
        "text": "latest_charge invoice payment_method capture_method confirmation_method cancellation_reason",
        "integer": "amount amount_received amount_capturable canceled_at",
        "json": "last_payment_error next_action payment_method_options payment_method_types shipping",
    },
    "invoices": {
        "text": "number subscription charge payment_intent billing_reason collection_method customer_email "
        "hosted_invoice_url",
        "integer": "amount_due amount_paid amount_remaining attempt_count due_date period_start period_end subtotal "
        "tax total",
        "boolean": "attempted auto_advance paid deleted",
        "json": "lines status_transitions total_tax_amounts discounts",
    },
    "subscriptions": {
        "text": "latest_invoice collection_method default_payment_method",
        "integer": "current_period_start current_period_end start_date cancel_at canceled_at ended_at trial_start "
        "trial_end quantity billing_cycle_anchor",
        "boolean": "cancel_at_period_end",
        "json": "items plan discount pause_collection",
    },
    "products": {
        "text": "name type unit_label default_price statement_descriptor url",
        "integer": "modified_at",
        "boolean": "active shippable deleted",
        "json": "images attributes package_dimensions",
    },
    "prices": {
        "text": "product billing_scheme nickname type tax_behavior lookup_key unit_amount_decimal",
        "integer": "unit_amount",
        "boolean": "active deleted",
        "json": "recurring tiers transform_quantity",
    },
    "refunds": {
        "text": "charge payment_intent reason balance_transaction receipt_number failure_reason",
        "integer": "amount",
        "json": "destination_details",
    },
    "disputes": {
        "text": "charge payment_intent reason",
        "integer": "amount",
        "boolean": "is_charge_refundable",
        "json": "balance_transactions evidence evidence_details",
    },
    "payouts": {
        "text": "destination type method balance_transaction failure_code failure_message statement_descriptor",
        "integer": "amount arrival_date",
        "boolean": "automatic",
    },
}


class StripeConfig(ServiceConfig):
    """One Stripe account. Field names are Airbyte's."""

    service_url = "https://api.stripe.com"

    client_secret: SecretStr = Field(
        validation_alias=AliasChoices("client_secret", "api_key", "secret_key"),
        description="secret or restricted key (sk_live_…, rk_live_…) with the right to read",
    )
    account_id: str | None = Field(default=None, description="connected account to read (acct_…)")
    lookback_window_days: float = Field(
        default=0, ge=0, le=29, description="read so many days of events again, for objects that change late"
    )
    slice_range: int | None = Field(default=None, description="Not used: pages are small and each is a checkpoint.")
    num_workers: int | None = Field(default=None, description="Not used: see concurrency of the connection.")


def declared(config: StripeConfig) -> RestApiConfig:
    """The account as a REST API."""
    lookback = 600 + config.lookback_window_days * 86400
    incremental = {
        "cursor_field": "updated",
        "parameter": "created[gte]",
        "start": config.start_date,
        "format": "unix",
        "lookback": lookback,
    }
    streams: list[dict[str, Any]] = [
        {
            "name": name,
            "path": f"/v1/{name}",
            "params": {"status": "all"} if name == "subscriptions" else {},
            "primary_key": "id",
            "copies": {"updated": "created"},
            "incremental": incremental,
            "schema": _columns(more),
            "changes": {
                "path": "/v1/events",
                "params": {"types[]": _events(_EVENTS[name]), "created[gte]": "{since}"},
                "records": "data",
                "explode": "data.object",
                "keep": {"updated": "created"},
                "pagination": {**_PAGES, "resume": False},
                "reach": "29d",
                "newest_first": True,
            },
        }
        for name, more in _OWN.items()
    ]
    streams += [
        {
            "name": name,
            "path": f"/v1/{name}",
            "primary_key": "id",
            "incremental": {**incremental, "cursor_field": "created"},
            "schema": schema,
        }
        for name, schema in (
            (
                "balance_transactions",
                columns(
                    text="id object currency description status type source reporting_category",
                    integer="amount fee net created available_on",
                    decimal="exchange_rate",
                    json="fee_details",
                ),
            ),
            (
                "events",
                columns(
                    text="id object type api_version account",
                    integer="created pending_webhooks",
                    boolean="livemode",
                    json="data request",
                ),
            ),
        )
    ]
    headers = {} if config.account_id is None else {"Stripe-Account": config.account_id}
    return config.declaration(
        pace=20,
        auth={"type": "bearer", "token": config.client_secret},
        headers=headers,
        records="data",
        pagination=_PAGES,
        streams=streams,
    )


def _events(said: str) -> list[str]:
    of, _, names = said.partition(": ")
    return [f"{of}.{name}" for name in names.split()]


def _columns(more: dict[str, str]) -> dict[str, Any]:
    common = {"text": _COMMON, "integer": "created updated", "boolean": "livemode", "json": "metadata"}
    return columns(**{kind: f"{names} {more.get(kind, '')}" for kind, names in common.items()})


def source(config: StripeConfig, context: ConnectorContext) -> RestApiSource:
    """The factory."""
    return RestApiSource(declared(config), context)
