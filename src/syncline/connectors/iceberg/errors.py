"""Errors of pyiceberg, its catalogs and its file access as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg import exceptions as theirs

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.local import local_error

__all__ = ["told"]

_AUTH = (theirs.UnauthorizedError, theirs.AuthorizationExpiredError, theirs.OAuthError, theirs.SignError)
_PASSING = (
    theirs.ServiceUnavailableError,
    theirs.ServerError,
    theirs.TooManyRequestsError,
    theirs.CommitStateUnknownException,
    theirs.WaitingForLockException,
)
#: Words in the message of an error of S3, as Arrow's client passes them on, and of databases.
_WORDS = (
    (("ACCESS_DENIED", "AccessDenied", "403"), ErrorKind.PERMISSION, "grant the rights that the message names"),
    (
        ("ExpiredToken", "INVALID_ACCESS_KEY", "InvalidAccessKeyId", "SignatureDoesNotMatch", "UnrecognizedClient"),
        ErrorKind.AUTH,
        "renew the credentials, then run again: committed partitions stay",
    ),
    (("NO_SUCH_BUCKET", "NoSuchBucket"), ErrorKind.CONFIG, "check the bucket's name and region"),
    (("database is locked",), ErrorKind.TRANSIENT, "another process holds the catalog; it is tried again"),
    (
        (
            "Connection refused",
            "could not connect",
            "ConnectionError",
            "Name or service not known",
            "NETWORK_CONNECTION",
        ),
        ErrorKind.UNREACHABLE,
        "check the catalog's uri, and that its server runs",
    ),
    (("unable to open database file",), ErrorKind.PERMISSION, "give the user that runs syncline rights there"),
)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Within, their errors become ours; ``what`` names the place for people."""
    try:
        yield
    except (SynclineError, theirs.NoSuchTableError, theirs.CommitFailedException, theirs.TableAlreadyExistsError):
        raise
    except Exception as error:
        raise _ours(error, what) from error


def _ours(error: Exception, what: str) -> SynclineError:
    text = " ".join(str(error).split())[:300]
    where = {"table": what}
    if isinstance(error, _AUTH):
        return SynclineError(
            ErrorKind.AUTH, f"the catalog refused our credentials: {text}", hint="renew them", where=where
        )
    if isinstance(error, theirs.ForbiddenError):
        return SynclineError(
            ErrorKind.PERMISSION, f"the catalog forbids it: {text}", hint="grant the right there", where=where
        )
    if isinstance(error, _PASSING):
        return SynclineError(
            ErrorKind.TRANSIENT, f"the catalog did not answer as it should: {text}", hint="run again", where=where
        )
    name = f"{type(error).__name__}: {error}"
    for words, kind, hint in _WORDS:
        if any(word in name for word in words):
            return SynclineError(kind, f"{what}: {text}", hint=hint, where=where)
    if isinstance(error, ConnectionError | TimeoutError):
        return SynclineError(ErrorKind.UNREACHABLE, f"{what}: {text}", hint="check the catalog's uri", where=where)
    if isinstance(error, OSError) and error.errno:
        return local_error(error, error.filename or what)
    if type(error).__module__.partition(".")[0] in ("sqlalchemy", "sqlite3"):
        return SynclineError(
            ErrorKind.CONFIG, f"the catalog's database: {text}", hint="check catalog.uri and its rights", where=where
        )
    if isinstance(error, ValueError | TypeError | AssertionError):
        return SynclineError(
            ErrorKind.INTERNAL, f"{what}: {type(error).__name__}: {text}", hint="please report this", where=where
        )
    return SynclineError(
        ErrorKind.TRANSIENT,
        f"{what}: {type(error).__name__}: {text}",
        hint="run again; report it if it stays",
        where=where,
    )
