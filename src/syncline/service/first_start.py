"""Use case: the first start of an installation makes a workspace, an admin and credentials, and shows them once."""

from __future__ import annotations

from dataclasses import dataclass, field

from syncline.service import applications, audit, permissions, users
from syncline.service.auth.passwords import checked_password, draw, hash_password
from syncline.service.callers import SYSTEM, Role
from syncline.service.control import Control
from syncline.store import server_values, workspaces
from syncline.store.schema import now
from syncline.store.values import Workspace

__all__ = ["FirstStart", "first_start"]

_NAME = "first_start"


@dataclass(frozen=True, kw_only=True)
class FirstStart:
    """What was made. ``password`` is None when it was given by the environment."""

    workspace: Workspace
    email: str
    password: str | None = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)


def first_start(control: Control) -> FirstStart | None:
    """Called at each start, by each server; None when the installation has been set up before. Of several processes
    one does it."""
    with control.database.read() as transaction:
        if server_values.find(transaction, _NAME) is not None:
            return None
    given = control.settings.admin_password
    password = checked_password(given) if given is not None else draw()[:24]
    hashed = hash_password(password)  # takes a moment: not within the transaction
    with control.database.write() as transaction:
        server_values.lock(transaction)
        if server_values.find(transaction, _NAME) is not None:
            return None
        server_values.add(transaction, _NAME, now().isoformat())
        email = control.settings.admin_email
        organization = workspaces.add_organization(transaction, name="Default organization", email=email)
        workspace = workspaces.add(transaction, organization_id=organization.id, name="Default workspace")
        audit.record(transaction, SYSTEM, "create", "workspace", workspace.id, workspace.id)
        admin = users.add(transaction, SYSTEM, email=email, name="Admin", password_hash=hashed)
        permissions.grant(transaction, SYSTEM, user_id=admin.id, role=Role.ADMIN, workspace_id=None)
        application, secret = applications.add(transaction, SYSTEM, user_id=admin.id, name="First application")
    return FirstStart(
        workspace=workspace,
        email=admin.email,
        password=None if given is not None else password,
        client_id=application.client_id,
        client_secret=secret,
    )
