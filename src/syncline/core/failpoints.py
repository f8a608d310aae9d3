"""Named places to fail: a process kills itself there when a test asks for it.

``SYNCLINE_FAILPOINT=name`` or ``name:n`` sends SIGKILL to this process at the n-th passing (first by default) of
:func:`failpoint` with that name. Without the variable a call costs one dictionary look-up. The closed lists below are
the life of a batch of a plan, of a flush of the log, and of a verdict, in order; tests walk them, and an unknown name
is an error so that no test passes by misspelling.
"""

from __future__ import annotations

import os
import signal

__all__ = ["ALERT_STEPS", "FAILPOINTS", "GATE_STEPS", "LOG_STEPS", "PLAN_STEPS", "failpoint"]

PLAN_STEPS: tuple[str, ...] = (
    "fence.before",  # nothing of this attempt is at the destination yet
    "fence.after",  # token taken
    "plan.made",  # the source has planned, the ledger does not know
    "plan.committed",  # the ledger knows the plan
    "prepare.after",  # containers exist
    "read.first",  # first batch of a partition read
    "read.middle",  # third batch of a partition read
    "write.after",  # first batch of a partition handed to the writer
    "seal.before",  # all batches written, stage not sealed
    "seal.inside",  # in the middle of the destination's seal
    "seal.after",  # sealed, coordinator not told
    "commit.before",  # coordinator has the stage
    "commit.inside",  # data and checkpoint laid down, not committed / manifest not yet put
    "commit.after",  # committed
    "publish.before",  # all partitions committed, generation not yet visible
    "publish.inside",  # in the middle of the swap / between two completed uploads
    "publish.after",  # visible, clean-up not done
    "finish.after",  # the stream's last commit is done
)

LOG_STEPS: tuple[str, ...] = (
    "log.opened",  # slot and publication exist, nothing is received
    "log.received",  # a stretch of the log is in the spool, not yet durable
    "log.synced",  # the spool is durable, the source does not know
    "log.confirmed",  # the source was told that it may forget
    "log.read",  # a slice is decoded, nothing of it is at the destination
    "apply.inside",  # changes lie in the destination's open transaction
    "apply.committed",  # the flush is visible, the global position is not yet moved
    "apply.position",  # the global position is committed, the source is not told
    "join.before",  # a stream has caught up with the others, the ledger does not say so
    "join.after",  # it flows with the others
)

GATE_STEPS: tuple[str, ...] = (
    "audit.judged",  # the gates have spoken, nothing of it is in the ledger
    "audit.held",  # the ledger says why the plan is held back, nobody was told
    "flush.judged",  # the gates let an open flush of changes pass, nothing of it is committed
    "flush.shelved",  # what a gate has held back of a log can be looked at, the stream is not stopped yet
    "replay.forgotten",  # rows written from quarantine have left the store, the ledger still names them
)

ALERT_STEPS: tuple[str, ...] = (
    "alert.heard",  # a run has ended, which the store knows, and is not judged yet
    "alert.written",  # the alert and its messages are in the store, nothing is sent
    "alert.sent",  # the other side has taken the message, the store does not know
)

FAILPOINTS = (*PLAN_STEPS, *LOG_STEPS, *GATE_STEPS, *ALERT_STEPS)

_hits: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Called by the engine and by destinations at the steps of a batch's life."""
    wanted = os.environ.get("SYNCLINE_FAILPOINT")
    if not wanted:
        return
    wanted_name, _, count = wanted.partition(":")
    if name not in FAILPOINTS or wanted_name not in FAILPOINTS:
        raise ValueError(f"unknown fail point {name!r} or {wanted_name!r}")
    if name != wanted_name:
        return
    _hits[name] = _hits.get(name, 0) + 1
    if _hits[name] >= int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
