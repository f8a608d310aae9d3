"""A look at a store from outside, for diagnosis: nothing is migrated, made or changed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store.database import store_url
from syncline.store.migrate import VERSION_TABLE

__all__ = ["probe_store"]


def probe_store(url: str) -> tuple[str | None, bool]:
    """Its revision (None for an empty one) and whether it can be written. Raises ``unreachable`` when it does not
    answer."""
    engine = sa.create_engine(store_url(url))
    try:
        with engine.connect() as connection:
            known = sa.inspect(connection).has_table(VERSION_TABLE)
            version = (
                connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() if known else None
            )
            connection.rollback()
            writable = _writable(connection)
        return version, writable
    except SQLAlchemyError as error:
        raise SynclineError(
            ErrorKind.UNREACHABLE,
            f"the store does not answer: {str(error).splitlines()[0]}",
            hint="check SYNCLINE_DATABASE_URL, and that its server runs",
        ) from error
    finally:
        engine.dispose()


def _writable(connection: sa.Connection) -> bool:
    if connection.dialect.name == "postgresql":
        return connection.execute(sa.text("SHOW transaction_read_only")).scalar() == "off"
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql("ROLLBACK")
        return True
    except SQLAlchemyError as error:
        return "locked" in str(error)  # somebody writes at this moment: it can be written
