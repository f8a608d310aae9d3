"""The catalog of connectors that are packages of their own, and installing them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query

from syncline.api.context import CallerOf, ControlOf
from syncline.api.own.overview import ErrorRead, error_read
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import Name, WireModel
from syncline.service import installs
from syncline.service.connectors import Installable
from syncline.service.installs import Install

__all__ = ["connectors_router"]

connectors_router = Routes(tags=["Connectors"])


class CatalogEntryRead(WireModel):
    """``installed`` are the versions that are here, ``version`` the one that the catalog was tried with."""

    name: str
    title: str
    package: str
    version: str
    licence: str
    docs: str
    installed: list[str]


class CatalogRead(WireModel):
    connectors: list[CatalogEntryRead]


class InstallCreate(WireModel):
    name: Name


class InstallRead(WireModel):
    """``steps`` are what was said so far."""

    install_id: str
    name: str
    status: Literal["running", "succeeded", "failed"]
    started_at: str
    ended_at: str | None = None
    steps: list[str]
    error: ErrorRead | None = None


def _entry(found: Installable) -> CatalogEntryRead:
    entry = found.entry
    return CatalogEntryRead(
        name=entry.name,
        title=entry.title,
        package=entry.package,
        version=entry.version,
        licence=entry.licence,
        docs=entry.docs,
        installed=list(found.versions),
    )


def _install(found: Install) -> InstallRead:
    return InstallRead(
        install_id=str(found.id),
        name=found.name,
        status=found.status,
        started_at=found.started_at.isoformat(),
        ended_at=None if found.ended_at is None else found.ended_at.isoformat(),
        steps=list(found.steps),
        error=error_read(found.error),
    )


@connectors_router.get("/connectors", operation_id="listCatalog")
def list_catalog(caller: CallerOf, search: Annotated[str, Query(max_length=100)] = "") -> CatalogRead:
    """Airbyte's connectors that can be installed here. Those that are built in are among the definitions."""
    return CatalogRead(connectors=[_entry(each) for each in installs.catalog(search)])


@connectors_router.post("/connectors/installs", operation_id="installConnector")
def install_connector(control: ControlOf, caller: CallerOf, body: InstallCreate) -> InstallRead:
    """Begin to install one; ask for the result under its id. An instance admin's right. 409 while another is
    installed."""
    return _install(installs.begin(control, caller, body.name))


@connectors_router.get("/connectors/installs/{installId}", operation_id="getInstall")
def get_install(control: ControlOf, caller: CallerOf, installId: str) -> InstallRead:
    """Kept in memory by the server that does it: gone after a restart."""
    return _install(installs.get(control, caller, as_uuid(installId)))
