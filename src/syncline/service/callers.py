"""Who asks, and what they may do. Every use case of the server takes a caller and checks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.errors import NotFoundError

__all__ = ["ANONYMOUS", "SYSTEM", "Caller", "Role"]


class Role(StrEnum):
    """What somebody may do, each what the former may and more."""

    READER = "reader"  #: look at everything but secrets
    RUNNER = "runner"  #: start and cancel jobs
    EDITOR = "editor"  #: make, change and delete sources, destinations, connections, tags, definitions
    ADMIN = "admin"  #: change the workspace, its permissions, and read its audit log

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    @classmethod
    def named(cls, name: str) -> Role:
        """Ours, or the nearest of Airbyte's ``workspace_…``, ``organization_…`` and ``instance_admin``."""
        word = name.lower().removeprefix("workspace_").removeprefix("organization_").removeprefix("instance_")
        try:
            return cls("reader" if word == "member" else word)
        except ValueError:
            known = ", ".join(cls)
            raise SynclineError(ErrorKind.CONFIG, f"there is no role {name!r}", hint=f"known: {known}") from None


@dataclass(frozen=True, kw_only=True)
class Caller:
    """``instance_role`` holds in every workspace and for what belongs to none; ``roles`` in one each. ``address`` is
    where the call came from, for the audit log."""

    kind: Literal["anonymous", "user", "system"]
    name: str
    user_id: UUID | None = None
    application_id: UUID | None = None
    address: str | None = None
    instance_role: Role | None = None
    roles: Mapping[UUID, Role] = field(default_factory=dict)

    def role_in(self, workspace_id: UUID | None) -> Role | None:
        """The higher of both roles; None when the caller has no business there."""
        here = self.roles.get(workspace_id) if workspace_id is not None else None
        both = [role for role in (here, self.instance_role) if role is not None]
        return max(both, key=lambda role: role.rank, default=None)

    def may(self, role: Role, workspace_id: UUID | None) -> bool:
        own = self.role_in(workspace_id)
        return own is not None and own.rank >= role.rank

    def require_instance_reader(self) -> None:
        """Raises ``permission`` for who may not look at every workspace."""
        if self.instance_role is None:
            raise SynclineError(
                ErrorKind.PERMISSION,
                "this shows names of every workspace",
                hint="use credentials of a user with a role in the whole instance",
            )

    def require(self, role: Role, workspace_id: UUID | None) -> None:
        """Raises ``permission``; and "there is no workspace" when the caller must not know that there is one."""
        if self.may(role, workspace_id):
            return
        if workspace_id is not None and self.role_in(workspace_id) is None:
            raise NotFoundError("workspace", workspace_id)
        raise SynclineError(
            ErrorKind.PERMISSION,
            f"{self.name} lacks the role {role}" + (f" in workspace {workspace_id}" if workspace_id else ""),
            hint="ask an admin of the workspace for it",
        )

    def workspaces(self) -> frozenset[UUID] | None:
        """Those that the caller may read; None means all."""
        return None if self.instance_role is not None else frozenset(self.roles)

    def among(self, asked: frozenset[UUID]) -> frozenset[UUID] | None:
        """Those of ``asked`` (empty: all) that the caller may read; None means all."""
        own = self.workspaces()
        if not asked:
            return own
        return asked if own is None else asked & own


#: The server itself: its scheduler, its first start.
SYSTEM = Caller(kind="system", name="system", instance_role=Role.ADMIN)
#: Everybody, where no credentials are asked for.
ANONYMOUS = Caller(kind="anonymous", name="anonymous", instance_role=Role.ADMIN)
