"""Whether the log goes on where we left it, without a gap: asked before anything is received.

A gap is never passed over: every way to lose the place (another server, a failover behind our back, a slot that was
dropped, invalidated, moved by hand, a spool that is gone) is a ``conflict`` with its reason and a plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncline.connectors.postgres.changes.lsn import lsn_to_text
from syncline.connectors.postgres.changes.server import LogServer
from syncline.connectors.postgres.changes.slot import Slot
from syncline.core.change import LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName

__all__ = ["Held", "broken_log", "ensure_continues", "receive_from"]

_PLAN = "copy the streams anew: syncline state reset, then sync"


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the spool has: everything from ``begin`` to ``end`` (LSNs), under ``identity``. ``empty``: nothing."""

    empty: bool
    begin: int
    end: int
    identity: str


def broken_log(what: str, *, advice: str = "") -> SynclineError:
    """The log cannot be continued: what happened, and the plan."""
    return SynclineError(
        ErrorKind.CONFLICT,
        f"the log cannot be continued without a gap: {what}",
        hint=f"{advice}; else {_PLAN}" if advice else _PLAN,
        where={"connector": "postgres"},
    )


def ensure_continues(
    server: LogServer,
    slot: Slot | None,
    name: str,
    positions: Mapping[StreamName, LogPosition],
    identity: Mapping[str, Any],
) -> None:
    """Compare the server and its slot with ``identity`` (of the last run) and the streams' positions. Whether the slot
    and the spool together still have everything is asked by :func:`receive_from`."""
    _same_server(server, positions, identity)
    if slot is None:
        raise broken_log(f"replication slot {name} does not exist any more, somebody dropped it")
    if identity.get("slot") not in (None, name):
        raise broken_log(
            f"it was read through slot {identity['slot']}, the configuration names {name}",
            advice=f"set replication_method.replication_slot to {identity['slot']}",
        )
    if slot.lost:
        raise broken_log(f"the server has given up replication slot {name} ({slot.reason or slot.state})")


def _same_server(server: LogServer, positions: Mapping[StreamName, LogPosition], identity: Mapping[str, Any]) -> None:
    if identity["system"] != server.system:
        raise broken_log(
            f"this is another server (system identifier {server.system}, it was {identity['system']})",
            advice="set host and port to the server of the last run",
        )
    if identity["database"] != server.database:
        raise broken_log(
            f"this is database {server.database}, it was {identity['database']}", advice="set database as it was"
        )
    then, furthest = int(identity["timeline"]), max((p.lsn for p in positions.values()), default=0)
    if server.timeline == then:
        if furthest > server.end:
            raise broken_log(
                f"the server's log ends at {lsn_to_text(server.end)}, we have read up to {lsn_to_text(furthest)}: it "
                "was restored from a backup"
            )
        return
    switch = server.left(then)
    if switch is None:
        raise broken_log(
            f"the server is on timeline {server.timeline}, which does not come from timeline {then} that we read"
        )
    ahead = {name: p for name, p in positions.items() if p.lsn > switch}
    if ahead:
        raise broken_log(
            f"after a failover the server goes on from {lsn_to_text(switch)}, but we had already read up to "
            f"{lsn_to_text(furthest)}: what lies between is lost there and copied here ({_listed(ahead)})"
        )
    copying = {name: p for name, p in positions.items() if p.snapshot is not None}
    if copying:
        # A copy may have seen transactions that the new primary never got, and the log will not tell.
        raise broken_log(
            "there was a failover while streams were being copied, which may have seen what is lost now",
            advice="copy these anew: " + "; ".join(f"syncline state reset --stream {name}" for name in sorted(copying)),
        )


def receive_from(
    slot: Slot, held: Held, lowest: int | None, *, known: bool, switch: int | None, now: int
) -> tuple[int, bool]:
    """From which LSN to receive, and whether the spool must be emptied first.

    ``lowest`` is the least position that a stream needs (None: none needs anything older than ``now``). ``known``: what
    the spool holds is of this log. ``switch``: where a failover has ended the timeline that it was filled from."""
    if lowest is None:
        return max(slot.confirmed, now), True
    usable = known and not held.empty and (switch is None or held.end <= switch)
    need = lowest
    if usable and held.begin <= need and held.end >= slot.confirmed:
        return held.end, False
    if slot.confirmed <= need:
        return need, True
    have = f"the spool holds {lsn_to_text(held.begin)} to {lsn_to_text(held.end)}" if usable else "the spool is gone"
    raise broken_log(
        f"slot {slot.name} has moved on to {lsn_to_text(slot.confirmed)}, we are at {lsn_to_text(need)}, and {have}; "
        "somebody advanced the slot, read it elsewhere, or lost the spool's folder"
    )


def _listed(names: Mapping[StreamName, object]) -> str:
    shown = [str(name) for name in sorted(names)]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
