"""From credentials to a caller: the ``Authorization`` header, client credentials, a login."""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.auth import tokens
from syncline.service.auth.passwords import PasswordCache, hash_secret
from syncline.service.auth.rate_limits import RateLimits
from syncline.service.auth.recent import RecentCallers
from syncline.service.callers import ANONYMOUS, Caller, Role
from syncline.service.control import Control
from syncline.store import applications, users
from syncline.store.database import Transaction
from syncline.store.schema import now
from syncline.store.values import ApiKey, User

__all__ = ["API_KEY_PREFIX", "Token", "authenticate", "exchange", "login", "recent_caller"]

#: How our API keys begin; secret scanners know them by it.
API_KEY_PREFIX = "slk_"
#: Nobody's credentials are longer; a longer header is not looked at.
_LONGEST = 8192
#: When a key was last used is written at most this often.
_USED = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Token:
    """The answer to client credentials. The words are those that clients compare exactly."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the word itself
    expires_in: int = tokens.SECONDS


def authenticate(control: Control, authorization: str | None, *, address: str) -> Caller:
    """The caller of a request, from its whole ``Authorization`` header. Without authentication everybody is
    :data:`ANONYMOUS`, whatever the header says. Raises ``auth``, and :class:`RateLimitedError` for guessing."""
    if control.settings.auth == "none":
        return replace(ANONYMOUS, address=address)
    if not authorization or len(authorization) > _LONGEST:
        raise SynclineError(
            ErrorKind.AUTH,
            "credentials are missing" if not authorization else "the credentials are too long",
            hint="send an Authorization header: Bearer with a token or an API key, or Basic with email and password",
        )
    scheme, _, rest = authorization.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "basic":
        caller = _basic(control, rest, address)
    elif scheme.lower() == "bearer":
        caller = _bearer(control, rest)
    else:
        raise SynclineError(ErrorKind.AUTH, "the Authorization header is not known", hint="use Bearer or Basic")
    return replace(caller, address=address)


def recent_caller(control: Control, authorization: str | None, *, address: str) -> Caller | None:
    """What :func:`authenticate` would say, when it can be said without waiting for the store; None otherwise."""
    if control.settings.auth == "none":
        return replace(ANONYMOUS, address=address)
    if not authorization or len(authorization) > _LONGEST or authorization[:7].lower() != "bearer ":
        return None
    found = _recent(control).find(authorization[7:].strip(), control.database.identities)
    return None if found is None else replace(found, address=address)


def exchange(control: Control, client_id: str, client_secret: str, *, address: str) -> Token:
    """Client credentials for an access token. Asked by some clients before every call: one look-up, no write."""
    limits = _limits(control)
    limits.count(address)
    limits.begin(address, client_id)
    with control.database.read() as transaction:
        found = applications.by_client_id(transaction, client_id) if _storable(client_id) else None
        user = None if found is None else users.find(transaction, found[0].user_id)
    # Compared also when there is no such client: how long it takes tells nothing.
    right = hmac.compare_digest(hash_secret(client_secret), found[1] if found else hash_secret(""))
    if found is None or not right or user is None or user.disabled_at is not None:
        limits.failed(address, client_id)
        raise SynclineError(
            ErrorKind.AUTH, "the client id or the client secret is wrong", hint="make an application and use its secret"
        )
    limits.succeeded(address, client_id)
    return Token(access_token=tokens.issue(control, user.id, found[0].id))


def login(control: Control, email: str, password: str, *, address: str) -> Token:
    """Email and password for an access token."""
    _limits(control).count(address)
    return Token(access_token=tokens.issue(control, _signed_in(control, email, password, address).id))


def _basic(control: Control, encoded: str, address: str) -> Caller:
    try:
        email, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        email = colon = password = ""
    if not colon or not email:
        raise SynclineError(ErrorKind.AUTH, "the Basic credentials are malformed", hint="send email:password in base64")
    return _caller(control, _signed_in(control, email, password, address).id, None)


def _signed_in(control: Control, email: str, password: str, address: str) -> User:
    limits = _limits(control)
    limits.begin(address, email)
    with control.database.read() as transaction:
        user = users.find_by_email(transaction, email.strip().lower()) if _storable(email) else None
        hashed = None if user is None else users.password_hash(transaction, user.id)
    cache = control.memory.setdefault("passwords", PasswordCache())
    assert isinstance(cache, PasswordCache)
    if not cache.matches(password, hashed) or user is None or user.disabled_at is not None:
        limits.failed(address, email)
        raise SynclineError(
            ErrorKind.AUTH, "the email or the password is wrong", hint="ask an admin for a new password"
        )
    limits.succeeded(address, email)
    return user


def _bearer(control: Control, bearer: str) -> Caller:
    recent, version = _recent(control), control.database.identities
    found = recent.find(bearer, version)
    if found is not None:
        return found
    if bearer.startswith(API_KEY_PREFIX):
        key = _key(control, bearer)
        caller = _caller(control, key.user_id, None)
        valid = math.inf if key.expires_at is None else (key.expires_at - now()).total_seconds()
    elif tokens.looks_like_one(bearer):
        claims = tokens.read(control, bearer)
        caller = _caller(control, claims.user_id, claims.application_id)
        valid = claims.expires - time.time()
    else:
        raise SynclineError(
            ErrorKind.AUTH, "the bearer token is not one of ours", hint="ask for one at …/applications/token"
        )
    recent.add(bearer, caller, version=version, valid=valid)
    return caller


def _key(control: Control, bearer: str) -> ApiKey:
    with control.database.read() as transaction:
        key = applications.key_by_hash(transaction, hash_secret(bearer))
    if key is None or (key.expires_at is not None and key.expires_at <= now()):
        # 256 random bits cannot be guessed, so that a key that expired costs its owner no waiting.
        raise SynclineError(ErrorKind.AUTH, "the API key is not valid", hint="make a new one")
    _note_use(control, key)
    return key


def _note_use(control: Control, key: ApiKey) -> None:
    if key.last_used_at is None or now() - key.last_used_at > _USED:
        with control.database.write() as transaction:
            applications.key_used(transaction, key.id)


def _caller(control: Control, user_id: UUID, application_id: UUID | None) -> Caller:
    with control.database.read() as transaction:
        user = users.find(transaction, user_id)
        gone = user is None or user.disabled_at is not None or _gone(transaction, application_id)
        rights = [] if gone else users.list_permissions(transaction, user_id=user_id)
    if user is None or gone:
        raise SynclineError(ErrorKind.AUTH, "the user or application is gone", hint="sign in anew")
    everywhere = [Role(right.role) for right in rights if right.workspace_id is None]
    return Caller(
        kind="user",
        name=user.email,
        user_id=user.id,
        application_id=application_id,
        instance_role=max(everywhere, key=lambda role: role.rank, default=None),
        roles={right.workspace_id: Role(right.role) for right in rights if right.workspace_id is not None},
    )


def _gone(transaction: Transaction, application_id: UUID | None) -> bool:
    if application_id is None:
        return False
    application = applications.find(transaction, application_id)
    return application is None or application.deleted_at is not None


def _limits(control: Control) -> RateLimits:
    limits = control.memory.setdefault("rate_limits", RateLimits())
    assert isinstance(limits, RateLimits)
    return limits


def _recent(control: Control) -> RecentCallers:
    recent = control.memory.get("recent_callers")
    if recent is None:
        recent = control.memory.setdefault("recent_callers", RecentCallers())
    assert isinstance(recent, RecentCallers)
    return recent


def _storable(text: str) -> bool:
    """What no column could hold nobody has: not asked, so that nothing fails on it."""
    return "\0" not in text and text.isprintable()
