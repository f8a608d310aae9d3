"""Use case: the server's key is changed. The sealed values stay as they are; only their small keys are wrapped anew.

A server that runs meanwhile goes on: it finds a key name that it does not know and reads the key file again.
"""

from __future__ import annotations

from syncline.service import audit
from syncline.service.callers import SYSTEM, Caller
from syncline.service.control import Control
from syncline.service.secrets.box import SecretBox
from syncline.service.secrets.keys import add_key, drop_old_keys, load_keys
from syncline.store import secrets

__all__ = ["rotate"]


def rotate(control: Control, caller: Caller = SYSTEM) -> int:
    """Wrap every secret's key by a new key of the server; returns how many were.

    With a key file the new key is drawn here; the former one stays in the file as its second line until the next
    rotation, because a server may have sealed with it at this very moment. With ``SYNCLINE_SECRET_KEY`` put the new
    key before the old one, with a comma between, start the servers with that, call this, and then take the old one
    away. May be killed at any moment and called again."""
    settings = control.settings
    if settings.secret_key is None:
        add_key(settings)
    keys = load_keys(settings, make=False)
    box = SecretBox(keys)
    wrapped = 0
    with control.database.write() as transaction:
        for row in secrets.wrapped_otherwise(transaction, box.current):
            secrets.rewrap(transaction, row.id, key_id=box.current, wrapped_key=box.rewrap(row))
            wrapped += 1
        audit.record(transaction, caller, "rotate", "secret_key", box.current, None, after={"secrets": wrapped})
    if settings.secret_key is None:
        drop_old_keys(settings)
    control.secrets.take(keys)
    return wrapped
