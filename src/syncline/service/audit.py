"""Use case: the audit log. Every change of anything is in it, in the transaction that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.store import audit as rows
from syncline.store.database import Transaction
from syncline.store.paging import Listed, Page
from syncline.store.schema import now
from syncline.store.values import AuditEntry

__all__ = ["list_entries", "record"]


def record(
    transaction: Transaction,
    caller: Caller,
    action: str,
    noun: str,
    noun_id: UUID | str | int,
    workspace_id: UUID | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry; called once per change, inside its transaction. ``before`` and ``after`` are JSON without secrets;
    what is the same in both is left out of both."""
    if before is not None and after is not None:
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        before = {key: value for key, value in before.items() if key in changed}
        after = {key: value for key, value in after.items() if key in changed}
    rows.add(
        transaction,
        AuditEntry(
            at=now(),
            caller_kind=caller.kind,
            caller_id=caller.user_id,
            caller_name=caller.name,
            application_id=caller.application_id,
            address=caller.address,
            workspace_id=workspace_id,
            action=action,
            noun=noun,
            noun_id=str(noun_id),
            before=before,
            after=after,
        ),
    )


def list_entries(
    control: Control,
    caller: Caller,
    *,
    workspace_id: UUID | None = None,
    noun: str | None = None,
    noun_id: str | None = None,
    page: Page,
) -> Listed[AuditEntry]:
    """Newest first. An admin's right: of the workspace, or of the instance for everything."""
    caller.require(Role.ADMIN, workspace_id)
    only = None if workspace_id is None else frozenset([workspace_id])
    with control.database.read() as transaction:
        return rows.list_entries(transaction, workspaces=only, noun=noun, noun_id=noun_id, page=page)
