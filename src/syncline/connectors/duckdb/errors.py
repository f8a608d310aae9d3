"""DuckDB's exceptions as ours."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import duckdb

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["LockedError", "from_duckdb", "from_os"]

_HOLDER = re.compile(r"Conflicting lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")
_MEMORY = re.compile(r"failed to (pin|allocate)|could not allocate|out of memory", re.IGNORECASE)
_UNICODE = re.compile(r"invalid unicode|invalid utf-?8", re.IGNORECASE)


class LockedError(SynclineError):
    """Another process, or another connection of this one, has the database file open. Tried again for some time."""


def from_duckdb(error: duckdb.Error, path: Path) -> SynclineError:
    """The error in our words. ``path`` is the database file."""
    text = _first_line(error)
    where = {"connector": "duckdb", "path": str(path)}
    if isinstance(error, duckdb.ConnectionException) and "different configuration" in text:
        return LockedError(
            ErrorKind.CONFLICT,
            "this process has the database file open with other settings",
            hint="close that connection, or set memory_limit and threads as it has them",
            where=where,
        )
    if isinstance(error, duckdb.IOException):
        return _io(text, where)
    if isinstance(error, duckdb.OutOfMemoryException) or _MEMORY.search(text):
        if "max_temp_directory_size" in text or "No space" in text:
            return SynclineError(ErrorKind.RESOURCE, f"the disk is full: {text}", hint=_DISK, where=where)
        return SynclineError(
            ErrorKind.RESOURCE,
            f"DuckDB needs more memory than it may use: {text}",
            hint="raise memory_limit of the destination (256MB by default)",
            where=where,
        )
    if isinstance(error, duckdb.SerializationException):
        return SynclineError(
            ErrorKind.CONFIG,
            f"the file cannot be read by DuckDB {duckdb.__version__}: {text}",
            hint="it was made by a newer DuckDB: upgrade the duckdb package, or choose another file",
            where=where,
        )
    if isinstance(error, duckdb.ConstraintException):
        return SynclineError(
            ErrorKind.SCHEMA,
            f"a constraint of the table refuses the rows: {text}",
            hint="drop the constraint or unique index; tables that we make have none",
            where=where,
        )
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException) or _UNICODE.search(text):
        return SynclineError(
            ErrorKind.DATA,
            f"a value does not fit its column: {text}",
            hint="leave the column out, or make the existing column VARCHAR",
            where=where,
        )
    if isinstance(error, duckdb.CatalogException | duckdb.DependencyException | duckdb.BinderException):
        return SynclineError(
            ErrorKind.SCHEMA,
            text,
            hint="the database was changed beside us: look at the object named, and run again",
            where=where,
        )
    return SynclineError(
        ErrorKind.INTERNAL, f"DuckDB: {text}", hint="please report this with the text above", where=where
    )


def from_os(error: OSError, path: Path) -> SynclineError:
    """An error of the operating system while staging beside the database file, in our words."""
    where = {"connector": "duckdb", "path": str(error.filename or path)}
    text = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return SynclineError(ErrorKind.RESOURCE, f"the disk is full: {text}", hint=_DISK, where=where)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SynclineError(ErrorKind.PERMISSION, text, hint=_RIGHTS, where=where)
    if error.errno == errno.ENOENT:
        return SynclineError(
            ErrorKind.CONFLICT,
            "the stage beside the database file is gone",
            hint="a newer run has taken over and removed it; nothing of this run was committed after that",
            where=where,
        )
    return SynclineError(ErrorKind.RESOURCE, text, hint="see the path named", where=where)


_DISK = "free some space, or move the database file to a larger disk: the stage lies beside it"
_RIGHTS = "let the user of this process write the database file and its folder"


def _io(text: str, where: dict[str, str]) -> SynclineError:
    if found := _HOLDER.search(text):
        return LockedError(
            ErrorKind.CONFLICT,
            f"process {found['pid']} ({found['program']}) has the database file open",
            hint=f"close it there (read-only readers hold it too), or: ps -p {found['pid']}; the sync opens the file "
            "only while it commits, so readers that open it shortly and close it get on with it",
            where=where,
        )
    if "Could not set lock" in text:
        return LockedError(
            ErrorKind.CONFLICT,
            "another process has the database file open",
            hint="close it there; read-only readers hold it too",
            where=where,
        )
    if "not a valid DuckDB database" in text:
        return SynclineError(
            ErrorKind.CONFIG,
            "the file is there already and is no DuckDB database",
            hint="choose another destination_path, or remove the file",
            where=where,
        )
    if "No space left" in text or "Disk quota" in text:
        return SynclineError(ErrorKind.RESOURCE, f"the disk is full: {text}", hint=_DISK, where=where)
    if "Permission denied" in text or "Read-only file system" in text or "Operation not permitted" in text:
        return SynclineError(ErrorKind.PERMISSION, text, hint=_RIGHTS, where=where)
    if "Is a directory" in text:
        return SynclineError(ErrorKind.CONFIG, "destination_path is a folder", hint="add a file name", where=where)
    if "version number" in text:
        return SynclineError(
            ErrorKind.CONFIG,
            text,
            hint="it was made by another DuckDB: upgrade the duckdb package, or choose another file",
            where=where,
        )
    return SynclineError(ErrorKind.RESOURCE, text, hint="see the file named and its disk", where=where)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n", 1)[0]
    return re.sub(r"^[A-Z][A-Za-z ]*? Error: ", "", text)
