"""Use case: how far a connection that follows a log is behind, whether it runs now or not. And leaving the source."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.log_ledger import LOG_STREAM, LogLedger
from syncline.jobs.lease import connection_lease
from syncline.sdk.change_log import ForgetsConnection, ReportsLag
from syncline.service.opened import opened
from syncline.service.project import Connection
from syncline.service.sync import lease_key
from syncline.settings import Settings

__all__ = ["LagReport", "forget_source", "read_lag"]


@dataclass(frozen=True, kw_only=True)
class LagReport:
    """``seconds``: everything committed at the source so long ago is at the destination; 0.0 when nothing waits, None
    before the first sync. ``bytes`` of the source's log not yet applied; ``position`` and ``end`` are LSNs.
    ``retained_bytes`` is what the source keeps for us, ``spool_bytes`` what lies here, ``slot`` the slot's state in the
    source's word, ``held`` the streams that stopped and why."""

    connection: str
    seconds: float | None
    bytes: int | None
    position: int | None
    end: int
    retained_bytes: int
    spool_bytes: int
    slot: str
    held: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_lag(connection: Connection, settings: Settings) -> LagReport:
    """Ask the source where its log ends and the destination's ledger where we are. Changes nothing. ``config`` when
    the connection follows no log."""
    with opened(connection, settings) as ends:
        status = ends.source.lag() if isinstance(ends.source, ReportsLag) else None
        ledger = LogLedger.of(ends.spec, ends.destination.committed(connection.name, LOG_STREAM))
    if status is None:
        raise SynclineError(
            ErrorKind.CONFIG,
            "this connection follows no log, or was never synced",
            hint="lag is for sources read by change data capture (replication_method: CDC), after the first sync",
            where={"connection": connection.name},
        )
    behind = None if ledger.lsn is None else max(0, status.end - ledger.lsn)
    seconds = None
    if behind is not None and ledger.at is not None:
        seconds = 0.0 if behind == 0 else max(0.0, time.time() - ledger.at)
    return LagReport(
        connection=connection.label,
        seconds=seconds,
        bytes=behind,
        position=ledger.lsn,
        end=status.end,
        retained_bytes=status.retained_bytes,
        spool_bytes=status.spool_bytes,
        slot=status.state,
        held={name: str(error["message"]) for name, error in ledger.held.items()},
    )


def forget_source(connection: Connection, settings: Settings) -> list[str]:
    """Remove from the source what we made there for this connection (slot, publication) and what lies here of its log.
    Gives a line for each. The destination stays as it is; the next sync would copy every stream anew. ``conflict``
    while the connection is being synced."""
    with connection_lease(settings.leases, lease_key(connection)), opened(connection, settings) as ends:
        return ends.source.forget() if isinstance(ends.source, ForgetsConnection) else []
