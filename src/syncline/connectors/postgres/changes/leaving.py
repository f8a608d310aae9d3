"""Leaving a source: everything that was made for a connection goes, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from syncline.connectors.postgres.changes.names import LogNames, needs_file, owner_file
from syncline.connectors.postgres.changes.publication import drop_publication
from syncline.connectors.postgres.changes.slot import drop_slot

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["forget_connection"]


def forget_connection(session: Session, names: LogNames, spool: Path) -> list[str]:
    """Drop the slot and the publication if they are ours, and the spool. Returns what was removed, in words. The
    session is in autocommit. ``conflict`` while somebody reads the slot; the rest is then untouched. Replica identities
    that were set (``manage``) stay: others may rely on them by now."""
    done: list[str] = []
    if names.own_slot and drop_slot(session, names.slot):
        done.append(f"replication slot {names.slot}")
    if names.own_publication and drop_publication(session, names.publication):
        done.append(f"publication {names.publication}")
    if spool.exists():
        shutil.rmtree(spool)
        done.append(f"spool {spool}")
    owner_file(spool).unlink(missing_ok=True)
    needs_file(spool).unlink(missing_ok=True)
    return done
