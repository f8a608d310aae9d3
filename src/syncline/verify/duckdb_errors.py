"""DuckDB's errors as ours, for what only reads."""

from __future__ import annotations

import duckdb

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["duckdb_error"]


def duckdb_error(error: duckdb.Error) -> SynclineError:
    """DuckDB's error with a kind and the next step."""
    text = str(error).strip().split("\n")[0]
    if isinstance(error, duckdb.IOException) and "lock" in text.lower():
        return SynclineError(ErrorKind.CONFLICT, f"DuckDB: {text}", hint="close the program that holds the file open")
    if isinstance(error, duckdb.OutOfMemoryException):
        return SynclineError(ErrorKind.RESOURCE, f"DuckDB: {text}", hint="free memory or disk space and try again")
    if isinstance(error, duckdb.IOException):
        return SynclineError(
            ErrorKind.CONFIG, f"DuckDB: {text}", hint="check the path and its rights; run the sync first"
        )
    if isinstance(error, duckdb.CatalogException):
        return SynclineError(ErrorKind.SCHEMA, f"DuckDB: {text}", hint="run the sync first, or check the name")
    if isinstance(error, duckdb.ConversionException | duckdb.InvalidInputException):
        return SynclineError(ErrorKind.DATA, f"DuckDB: {text}", hint="a value cannot be read as its column's type")
    return SynclineError(ErrorKind.INTERNAL, f"DuckDB: {text}", hint="this statement is ours: please report it")
