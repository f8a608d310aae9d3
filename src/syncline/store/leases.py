"""The leader's lease: which of several servers on one store schedules and supervises.

A lease is a row with a holder, a token and a beat. The holder adds to the beat; whoever wants the lease takes it, with
the next token, when the beat has stood still for the lease's time by its own clock. Every transaction of a leader asks
:func:`hold` first: one that slept past its lease finds another token there and writes nothing.
"""

from __future__ import annotations

import sqlalchemy as sa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store.database import Transaction
from syncline.store.job_tables import leases
from syncline.store.job_values import Lease

__all__ = ["LEADER", "beat", "find", "hold", "release", "take"]

LEADER = "leader"


def find(tx: Transaction, name: str = LEADER) -> Lease | None:
    row = tx.execute(sa.select(leases).where(leases.c.name == name)).mappings().first()
    return None if row is None else Lease(**row)


def take(tx: Transaction, seen: Lease | None, holder: str, name: str = LEADER) -> Lease | None:
    """Take the lease, which must stand as it was ``seen``; None when it has moved since."""
    if seen is None:
        if find(tx, name) is not None:
            return None
        # Of two that insert at once the store refuses one, with a conflict.
        tx.execute(sa.insert(leases).values(name=name, holder=holder, token=1, beat=0))
        return Lease(name=name, holder=holder, token=1, beat=0)
    done = tx.execute(
        sa.update(leases)
        .where(leases.c.name == name, leases.c.token == seen.token, leases.c.beat == seen.beat)
        .values(holder=holder, token=seen.token + 1, beat=0)
    )
    return Lease(name=name, holder=holder, token=seen.token + 1, beat=0) if done.rowcount == 1 else None


def beat(tx: Transaction, lease: Lease) -> bool:
    """A sign of life; False when somebody else holds the lease now."""
    done = tx.execute(
        sa.update(leases)
        .where(leases.c.name == lease.name, leases.c.token == lease.token)
        .values(beat=leases.c.beat + 1)
    )
    return done.rowcount == 1


def hold(tx: Transaction, lease: Lease) -> None:
    """First statement of each transaction of a leader: raises ``conflict`` when it leads no more, and keeps others from
    taking the lease until the transaction ends."""
    query = sa.select(leases.c.token).where(leases.c.name == lease.name).with_for_update(read=True)
    if tx.execute(query).scalar() != lease.token:
        raise SynclineError(
            ErrorKind.CONFLICT,
            "another server has taken over this store",
            hint="this server stands by; it takes over again when the other one ends",
        )


def release(tx: Transaction, lease: Lease) -> None:
    """Give the lease back, so that another server need not wait for it."""
    tx.execute(sa.update(leases).where(leases.c.name == lease.name, leases.c.token == lease.token).values(holder=""))
