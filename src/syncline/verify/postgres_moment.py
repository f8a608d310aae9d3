"""The moment that Postgres gives with a new slot: its consistent point and the snapshot exported with it.

``CREATE_REPLICATION_SLOT … EXPORT_SNAPSHOT``: the snapshot shows what was committed before the consistent point and
nothing else, and lives until the session's next command
(https://www.postgresql.org/docs/current/protocol-replication.html).
The slot is temporary: it goes with the session.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import psycopg

from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.connection import connection_parameters
from syncline.sdk.config import ConnectorConfig
from syncline.verify.moment import FixedMoment
from syncline.verify.postgres_errors import postgres_error

__all__ = ["postgres_moment"]


@contextmanager
def postgres_moment(config: ConnectorConfig, work_dir: Path) -> Iterator[FixedMoment]:
    """See :func:`syncline.verify.moment.fixed_moment`. Waits for transactions that are open now."""
    parameters = connection_parameters(
        cast(PostgresSourceConfig, config), work_dir=work_dir, application_name="syncline verify"
    )
    try:
        session = psycopg.connect(**parameters, replication="database", autocommit=True)
    except psycopg.Error as error:
        raise postgres_error(error).at(verify="source") from error
    with closing(session):
        name = f"syncline_verify_{uuid.uuid4().hex[:16]}"
        try:
            # No statement of a walsender takes parameters; the name is ours. The old form, which every server knows.
            row = session.execute(
                f"CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT".encode()
            ).fetchone()
        except psycopg.Error as error:
            raise postgres_error(error).at(verify="source") from error
        assert row is not None
        high, _, low = str(row[1]).partition("/")
        yield FixedMoment(lsn=(int(high, 16) << 32) + int(low, 16), snapshot=str(row[2]))
