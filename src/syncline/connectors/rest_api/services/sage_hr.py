"""Sage HR, from https://developers.sage.com/hr. Everything is read anew each time: the API knows no times of change."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator

from syncline.connectors.rest_api.config import RestApiConfig
from syncline.connectors.rest_api.services.service_config import ServiceConfig, columns
from syncline.connectors.rest_api.source import RestApiSource
from syncline.sdk.connector import ConnectorContext

__all__ = ["SageHrConfig", "source"]

_EMPLOYEE = {
    "text": "email first_name last_name picture_url employment_start_date date_of_birth team position location gender "
    "mobile_phone home_phone work_phone country city street_first street_second post_code employee_number "
    "employment_status nationality termination_date",
    "integer": "id reports_to_employee_id team_id position_id location_id",
    "json": "team_history employment_status_history position_history",
}
_SIMPLE: dict[str, tuple[str, dict[str, str]]] = {
    "employees": ("/employees", _EMPLOYEE),
    "terminated_employees": ("/terminated-employees", _EMPLOYEE),
    "teams": ("/teams", {"text": "name", "integer": "id", "json": "manager_ids employee_ids"}),
    "positions": ("/positions", {"text": "title code description", "integer": "id"}),
    "time_off_policies": ("/leave-management/policies", {
        "text": "name color unit default_allowance accrue_type",
        "integer": "id",
        "boolean": "do_not_accrue",
        "json": "max_carryover",
    }),
    "document_categories": ("/documents/categories", {"text": "name", "integer": "id"}),
    "onboarding_categories": ("/onboarding/categories", {"text": "title", "integer": "id"}),
    "offboarding_categories": ("/offboarding/categories", {"text": "title", "integer": "id"}),
}  # fmt: skip


class SageHrConfig(ServiceConfig):
    """One account. ``subdomain`` is what stands before ``.sage.hr``."""

    api_key: SecretStr = Field(description="API key (Settings, Integrations, API)")
    subdomain: str | None = Field(default=None, pattern=r"[A-Za-z0-9-]+", description="what stands before .sage.hr")

    @model_validator(mode="after")
    def _an_address(self) -> SageHrConfig:
        if (self.subdomain is None) == (self.base_url is None):
            raise ValueError("give subdomain (or base_url)")
        return self

    def address(self) -> str:
        return (self.base_url or f"https://{self.subdomain}.sage.hr/api").rstrip("/")


def declared(config: SageHrConfig) -> RestApiConfig:
    """The account as a REST API."""
    pages = {"type": "cursor", "cursor_path": "meta.next_page", "cursor_parameter": "page", "resume": False}
    streams = [
        {"name": name, "path": path, "primary_key": "id", "schema": columns(**kinds)}
        for name, (path, kinds) in _SIMPLE.items()
    ]
    streams.append(
        {
            "name": "leave_requests",
            "path": "/leave-management/requests",
            "params": {} if config.start_date is None else {"from": config.start_date},
            "primary_key": "id",
            "schema": columns(
                text="status status_code request_date approval_date details hours start_date end_date",
                integer="id employee_id policy_id",
                boolean="is_multi_date is_single_day is_part_of_day first_part_of_day second_part_of_day",
                json="policy child fields replacement",
            ),
        }
    )
    streams.append(
        {
            "name": "leave_balances",
            "path": "/employees/{parent.id}/leave-management/balances",
            "parent": {"stream": "employees", "include": {"employee_id": "id"}},
            "fields": {
                "policy_id": "policy.id",
                "policy_name": "policy.name",
                "used": "used",
                "available": "available",
            },
            "primary_key": ["employee_id", "policy_id"],
            "schema": columns(integer="employee_id policy_id", text="policy_name", decimal="used available"),
        }
    )
    return config.declaration(
        pace=5,
        auth={"type": "api_key", "key": config.api_key, "name": "X-Auth-Token"},
        records="data",
        pagination=pages,
        streams=streams,
    )


def source(config: SageHrConfig, context: ConnectorContext) -> RestApiSource:
    """The factory."""
    return RestApiSource(declared(config), context)
