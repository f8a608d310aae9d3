"""Errors of the database become ours at the store's border."""

from __future__ import annotations

from sqlalchemy import exc

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["store_error"]

#: Postgres: serialization failure, deadlock, lock not available, query cancelled (our own limits), too many clients.
_PASSING = {"40001", "40P01", "55P03", "57014", "53300"}


def store_error(error: exc.SQLAlchemyError) -> SynclineError:
    """Ours for the driver's. Statements and values stay out of it: they may hold what must not be told."""
    if isinstance(error, exc.TimeoutError):
        return SynclineError(ErrorKind.TRANSIENT, "the store is overloaded: no connection came free", hint="try again")
    origin = getattr(error, "orig", None)
    said = str(origin or error).strip().splitlines()[0] if str(origin or error).strip() else type(error).__name__
    state = getattr(origin, "sqlstate", None)
    if isinstance(error, exc.IntegrityError):
        return SynclineError(
            ErrorKind.CONFLICT,
            "somebody made or removed the same thing at this moment",
            hint="read it again, then try again",
        )
    if isinstance(error, exc.DataError):
        return SynclineError(ErrorKind.CONFIG, f"the store cannot hold a value: {said}", hint="shorten or correct it")
    if "database is locked" in said or state in _PASSING:
        return SynclineError(ErrorKind.TRANSIENT, f"the store is busy: {said}", hint="try again")
    if "disk is full" in said or "disk I/O error" in said or (state or "").startswith("53"):
        return SynclineError(ErrorKind.RESOURCE, f"the store cannot write: {said}", hint="make room on its disk")
    if "readonly" in said:
        return SynclineError(ErrorKind.CONFIG, f"the store cannot write: {said}", hint="give this user the file")
    if "file is not a database" in said or "malformed" in said:
        return SynclineError(
            ErrorKind.CONFIG, f"the store's file is damaged: {said}", hint="restore it, or one of its backups"
        )
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return SynclineError(
            ErrorKind.UNREACHABLE, f"the store cannot be reached: {said}", hint="check SYNCLINE_DATABASE_URL"
        )
    return SynclineError(ErrorKind.INTERNAL, f"the store refused a statement: {said}", hint="please report this")
