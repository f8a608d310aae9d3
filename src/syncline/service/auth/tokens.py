"""Access tokens: JWTs of 15 minutes, signed with a secret that the store keeps sealed.

Nothing is stored per token, so issuing is cheap and many are valid at once. A token ends early when its application or
user does: that is looked up at each use.
"""

from __future__ import annotations

import base64
import os
import time
from dataclasses import dataclass
from uuid import UUID

import jwt

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.control import Control
from syncline.store import secrets, server_values
from syncline.store.database import Transaction
from syncline.store.schema import new_id

__all__ = ["SECONDS", "Claims", "issue", "looks_like_one", "read"]

#: Airbyte's clients renew a minute early, one of them after 150 s: never less than 3 minutes.
SECONDS = 900
_ISSUER = "syncline"
_NAME = "token_signing_secret"


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Whom a token was issued to, and until when (seconds since 1970)."""

    user_id: UUID
    application_id: UUID | None
    expires: float


def issue(control: Control, user_id: UUID, application_id: UUID | None = None) -> str:
    issued = int(time.time())
    claims = {
        "iss": _ISSUER,
        "aud": _ISSUER,
        "sub": str(user_id),
        "user_id": str(user_id),
        "iat": issued,
        "exp": issued + SECONDS,
        "jti": new_id().hex,
    }
    if application_id is not None:
        claims["application_id"] = str(application_id)
    return jwt.encode(claims, _signing_secret(control), algorithm="HS256")


def looks_like_one(bearer: str) -> bool:
    return bearer.count(".") == 2


def read(control: Control, token: str) -> Claims:
    """Raises ``auth`` for a token that is not ours, was changed, or has expired."""
    try:
        claims = jwt.decode(
            token,
            _signing_secret(control),
            algorithms=["HS256"],
            audience=_ISSUER,
            issuer=_ISSUER,
            options={"require": ["exp", "iat", "sub"]},
        )
        application = claims.get("application_id")
        return Claims(
            user_id=UUID(claims["sub"]),
            application_id=None if application is None else UUID(application),
            expires=float(claims["exp"]),
        )
    except jwt.ExpiredSignatureError:
        raise SynclineError(ErrorKind.AUTH, "the access token has expired", hint="ask for a new one") from None
    except (jwt.InvalidTokenError, ValueError, TypeError):
        raise SynclineError(
            ErrorKind.AUTH, "the access token is not valid", hint="ask for one at …/applications/token"
        ) from None


def _signing_secret(control: Control) -> bytes:
    """Of the installation, the same in each of its processes; drawn by whoever needs it first."""
    kept = control.memory.get(_NAME)
    if isinstance(kept, bytes):
        return kept
    with control.database.read() as transaction:
        found = _stored(control, transaction)
    if found is None:
        with control.database.write() as transaction:
            server_values.lock(transaction)
            found = _stored(control, transaction)
            if found is None:
                found = os.urandom(32)
                row_id = new_id()
                value = {"secret": base64.b64encode(found).decode()}
                secrets.add(transaction, control.secrets.seal(row_id, value))
                server_values.add(transaction, _NAME, str(row_id))
    control.memory[_NAME] = found
    return found


def _stored(control: Control, transaction: Transaction) -> bytes | None:
    row_id = server_values.find(transaction, _NAME)
    row = None if row_id is None else secrets.find(transaction, UUID(row_id))
    return None if row is None else base64.b64decode(control.secrets.open(row)["secret"])
