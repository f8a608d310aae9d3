"""Where the log of a connection stands, asked of the source without a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from syncline.connectors.postgres.changes.lsn import lsn_from_text
from syncline.connectors.postgres.changes.names import LogNames
from syncline.connectors.postgres.changes.slot import look_at_slot
from syncline.sdk.change_log import LogStatus

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["log_lag"]


def log_lag(session: Session, names: LogNames, spool: Path) -> LogStatus:
    """``received`` is what the slot was told to be safe, for what else lies in a spool only a run knows; ``state`` is
    ``absent`` when there is no slot."""
    row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    end = lsn_from_text(row[0])
    slot = look_at_slot(session, names.slot)
    kept = sum(file.stat().st_size for file in spool.rglob("*") if file.is_file()) if spool.exists() else 0
    if slot is None:
        return LogStatus(end=end, received=0, confirmed=0, retained_bytes=0, spool_bytes=kept, state="absent")
    return LogStatus(
        end=end,
        received=slot.confirmed,
        confirmed=slot.confirmed,
        retained_bytes=0 if slot.restart is None else max(end - slot.restart, 0),
        spool_bytes=kept,
        state="lost" if slot.lost else slot.state,
    )
