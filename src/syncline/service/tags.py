"""Use cases of tags."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import audit
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.errors import NotFoundError, invalid
from syncline.service.inputs import checked_name
from syncline.store import tags as rows
from syncline.store import workspaces
from syncline.store.database import Transaction
from syncline.store.schema import new_id
from syncline.store.values import Tag

__all__ = ["create", "delete", "get", "list_tags", "update"]


def get(control: Control, caller: Caller, tag_id: UUID) -> Tag:
    with control.database.read() as transaction:
        return _found(transaction, caller, tag_id)


def list_tags(control: Control, caller: Caller, workspace_ids: Collection[UUID] = ()) -> list[Tag]:
    """Of all workspaces that the caller may read when none is named."""
    with control.database.read() as transaction:
        return rows.list_tags(transaction, workspaces=caller.among(frozenset(workspace_ids)))


def create(control: Control, caller: Caller, workspace_id: UUID, *, name: str, color: str) -> Tag:
    """An editor's right. Raises ``conflict`` for a name that the workspace has."""
    caller.require(Role.EDITOR, workspace_id)
    tag = Tag(id=new_id(), workspace_id=workspace_id, name=checked_name("name", name), color=_color(color))
    with control.database.write() as transaction:
        workspace = workspaces.find(transaction, workspace_id)
        if workspace is None or workspace.deleted_at is not None:
            raise NotFoundError("workspace", workspace_id)
        _free(transaction, tag)
        rows.add(transaction, tag)
        after = {"name": tag.name, "color": tag.color}
        audit.record(transaction, caller, "create", "tag", tag.id, workspace_id, after=after)
    return tag


def update(control: Control, caller: Caller, tag_id: UUID, *, name: str, color: str) -> Tag:
    with control.database.write() as transaction:
        before = _found(transaction, caller, tag_id)
        caller.require(Role.EDITOR, before.workspace_id)
        after = replace(before, name=checked_name("name", name), color=_color(color))
        _free(transaction, after)
        rows.change(transaction, after)
        told = ({"name": before.name, "color": before.color}, {"name": after.name, "color": after.color})
        audit.record(transaction, caller, "update", "tag", tag_id, before.workspace_id, *told)
    return after


def delete(control: Control, caller: Caller, tag_id: UUID) -> None:
    """Connections lose it."""
    with control.database.write() as transaction:
        tag = _found(transaction, caller, tag_id)
        caller.require(Role.EDITOR, tag.workspace_id)
        rows.remove(transaction, tag_id)
        before = {"name": tag.name, "color": tag.color}
        audit.record(transaction, caller, "delete", "tag", tag_id, tag.workspace_id, before=before)


def _found(transaction: Transaction, caller: Caller, tag_id: UUID) -> Tag:
    tag = rows.find(transaction, tag_id)
    if tag is None or not caller.may(Role.READER, tag.workspace_id):
        raise NotFoundError("tag", tag_id)
    return tag


def _free(transaction: Transaction, tag: Tag) -> None:
    others = rows.list_tags(transaction, workspaces=[tag.workspace_id])
    if any(other.name == tag.name and other.id != tag.id for other in others):
        raise SynclineError(ErrorKind.CONFLICT, f"the workspace has a tag {tag.name!r} already", hint="use that one")


def _color(color: str) -> str:
    digits = color.removeprefix("#")
    if not re.fullmatch(r"[0-9A-Fa-f]{6}", digits):
        raise invalid("color", f"{color!r} is no colour", hint="write six hexadecimal digits, as in 75DCFF")
    return digits.upper()
