"""Use cases of applications: a client id and a secret that act as the user who made them.

The secret is shown once, by the call that makes it; the store has its hash.
"""

from __future__ import annotations

from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import audit
from syncline.service.auth.passwords import draw, hash_secret
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.service.inputs import checked_name
from syncline.store import applications as rows
from syncline.store import users
from syncline.store.database import Transaction
from syncline.store.schema import new_id, now
from syncline.store.values import Application

__all__ = ["add", "create", "delete", "get", "list_applications", "owner", "owns", "whose"]


def get(control: Control, caller: Caller, application_id: UUID) -> Application:
    with control.database.read() as transaction:
        return _application(transaction, caller, application_id)


def list_applications(control: Control, caller: Caller) -> list[Application]:
    """One's own; an admin of the instance sees all."""
    with control.database.read() as transaction:
        return rows.list_applications(transaction, whose(caller))


def create(control: Control, caller: Caller, name: str) -> tuple[Application, str]:
    """The application and its client secret, which is not to be seen again."""
    with control.database.write() as transaction:
        return add(transaction, caller, user_id=owner(transaction, caller), name=name)


def add(transaction: Transaction, caller: Caller, *, user_id: UUID, name: str) -> tuple[Application, str]:
    """Within a transaction; the caller's right was checked."""
    application = Application(
        id=new_id(), user_id=user_id, name=checked_name("name", name), client_id=str(new_id()), created_at=now()
    )
    secret = draw()
    rows.add(transaction, application, hash_secret(secret))
    after = {"name": application.name, "client_id": application.client_id, "user_id": str(user_id)}
    audit.record(transaction, caller, "create", "application", application.id, None, after=after)
    return application, secret


def delete(control: Control, caller: Caller, application_id: UUID) -> Application:
    """Its tokens end at once."""
    with control.database.write() as transaction:
        application = _application(transaction, caller, application_id)
        rows.remove(transaction, application_id)
        before = {"name": application.name, "client_id": application.client_id}
        audit.record(transaction, caller, "delete", "application", application_id, None, before=before)
    return application


def _application(transaction: Transaction, caller: Caller, application_id: UUID) -> Application:
    found = rows.find(transaction, application_id)
    if found is None or found.deleted_at is not None or not owns(caller, found.user_id):
        raise NotFoundError("application", application_id)
    return found


def owns(caller: Caller, user_id: UUID) -> bool:
    """Whether the caller may see and delete what is a user's."""
    return caller.user_id == user_id or caller.may(Role.ADMIN, None)


def whose(caller: Caller) -> UUID | None:
    """Whose things the caller sees: his own, or (None) everybody's as admin of the instance."""
    if caller.may(Role.ADMIN, None):
        return None
    caller_id = caller.user_id
    if caller_id is None:
        raise SynclineError(ErrorKind.PERMISSION, "only users have applications and keys", hint="sign in")
    return caller_id


def owner(transaction: Transaction, caller: Caller) -> UUID:
    """Whose a thing is that the caller makes. Without authentication it belongs to the first user, an admin."""
    if caller.user_id is not None:
        return caller.user_id
    first = users.list_users(transaction)
    if not first:
        raise SynclineError(ErrorKind.CONFLICT, "there is no user yet", hint="start the server once")
    return first[0].id
