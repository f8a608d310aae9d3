"""Use case: what does the source of a connection offer?"""

from __future__ import annotations

from contextlib import closing

from syncline.core.stream import Catalog
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.reference import open_source
from syncline.service.project import Connection
from syncline.settings import Settings

__all__ = ["discover_catalog"]


def discover_catalog(connection: Connection, settings: Settings) -> Catalog:
    """The source's catalog. Needs no destination."""
    context = ConnectorContext(connection=connection.name, work_dir=settings.scratch(connection.name))
    with closing(open_source(connection.source, context)) as source:
        return source.discover()
