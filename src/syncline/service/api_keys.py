"""Use cases of API keys: bearer tokens that live until they expire or are deleted, and act as the user who made them.

A key is shown once, by the call that makes it; the store has its hash.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from syncline.service import applications, audit
from syncline.service.auth.entry import API_KEY_PREFIX
from syncline.service.auth.passwords import draw, hash_secret
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.service.inputs import checked_name
from syncline.store import applications as rows
from syncline.store.schema import new_id, now
from syncline.store.values import ApiKey

__all__ = ["create", "delete", "list_keys"]

#: As much of a key as lists show.
_SHOWN = len(API_KEY_PREFIX) + 6


def list_keys(control: Control, caller: Caller) -> list[ApiKey]:
    """One's own; an admin of the instance sees all."""
    with control.database.read() as transaction:
        return rows.list_keys(transaction, applications.whose(caller))


def create(control: Control, caller: Caller, name: str, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """The key's description and the key, which is not to be seen again."""
    secret = draw(API_KEY_PREFIX)
    with control.database.write() as transaction:
        key = ApiKey(
            id=new_id(),
            user_id=applications.owner(transaction, caller),
            name=checked_name("name", name),
            prefix=secret[:_SHOWN],
            created_at=now(),
            expires_at=expires_at,
        )
        rows.add_key(transaction, key, hash_secret(secret))
        after = {"name": key.name, "prefix": key.prefix}
        audit.record(transaction, caller, "create", "api_key", key.id, None, after=after)
    return key, secret


def delete(control: Control, caller: Caller, key_id: UUID) -> None:
    with control.database.write() as transaction:
        key = rows.find_key(transaction, key_id)
        if key is None or key.deleted_at is not None or not applications.owns(caller, key.user_id):
            raise NotFoundError("API key", key_id)
        rows.remove_key(transaction, key_id)
        before = {"name": key.name, "prefix": key.prefix}
        audit.record(transaction, caller, "delete", "api_key", key_id, None, before=before)
