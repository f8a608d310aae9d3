"""Services declared by us, from their public API documentation: each is a configuration of its own that becomes one of
``rest_api``."""

from syncline.sdk.connector import ConnectorSpec, OAuthFlow

__all__ = ["HUBSPOT", "SAGE", "SAGE_HR", "SAGE_INTACCT", "STRIPE"]

_HERE = "syncline.connectors.rest_api.services"

HUBSPOT = ConnectorSpec(
    name="hubspot",
    role="source",
    title="HubSpot",
    summary="Contacts, companies, deals, tickets, owners and what is associated with what, from HubSpot's CRM API.",
    config=f"{_HERE}.hubspot:HubspotConfig",
    factory=f"{_HERE}.hubspot:source",
    extra="rest",
    drivers=("httpx", "msgspec"),
    oauth=OAuthFlow(
        authorize_url="https://app.hubspot.com/oauth/authorize",
        service_url="https://api.hubapi.com",
        token_path="/oauth/v1/token",  # noqa: S106 - an address
        scopes=(
            "oauth",
            "crm.objects.companies.read",
            "crm.objects.contacts.read",
            "crm.objects.deals.read",
            "crm.objects.owners.read",
            "tickets",
        ),
        place=("credentials",),
    ),
)
_INTACCT = OAuthFlow(
    authorize_url="https://api.intacct.com/ia/api/v1/oauth2/authorize",
    service_url="https://api.intacct.com/ia/api/v1",
    token_path="/oauth2/token",  # noqa: S106 - an address
    scopes=("offline_access",),
)
SAGE_INTACCT = ConnectorSpec(
    name="sage_intacct",
    role="source",
    title="Sage Intacct",
    summary="General ledger details, accounts, customers, vendors, invoices and bills, from Sage Intacct's REST API.",
    config=f"{_HERE}.sage_intacct:SageIntacctConfig",
    factory=f"{_HERE}.sage_intacct:source",
    extra="rest",
    drivers=("httpx", "msgspec"),
    oauth=_INTACCT,
)
SAGE = ConnectorSpec(
    name="sage",
    role="source",
    title="Sage",
    summary="The same as sage_intacct, under a shorter name.",
    config=f"{_HERE}.sage_intacct:SageIntacctConfig",
    factory=f"{_HERE}.sage_intacct:source",
    extra="rest",
    drivers=("httpx", "msgspec"),
    oauth=_INTACCT,
)
SAGE_HR = ConnectorSpec(
    name="sage_hr",
    role="source",
    title="Sage HR",
    summary="Employees, teams, positions, leave and more, from Sage HR's API.",
    config=f"{_HERE}.sage_hr:SageHrConfig",
    factory=f"{_HERE}.sage_hr:source",
    extra="rest",
    drivers=("httpx", "msgspec"),
)
STRIPE = ConnectorSpec(
    name="stripe",
    role="source",
    title="Stripe",
    summary="Customers, charges, invoices, subscriptions and more from Stripe's API; changes by its events.",
    config=f"{_HERE}.stripe:StripeConfig",
    factory=f"{_HERE}.stripe:source",
    extra="rest",
    drivers=("httpx", "msgspec"),
)
