"""``syncline check`` for the DuckDB destination: each finding with its next step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import duckdb

from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.connectors.duckdb.database import Database
from syncline.connectors.duckdb.ledger import Ledger
from syncline.connectors.duckdb.sql import folded
from syncline.connectors.duckdb.tables import Tables, name_problems, place_of
from syncline.connectors.duckdb.types import column_type
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import WriteMode
from syncline.sdk.findings import Finding, Severity

__all__ = ["check"]

#: Below this a sync of more than a few tables will not end well.
_LITTLE_DISK = 1 << 30


def check(config: DuckdbDestinationConfig, database: Database, targets: Sequence[StreamTarget]) -> list[Finding]:
    """Look at folder, file, lock, disk, and the tables in the way. Leaves no file behind."""
    findings = _folder(database)
    if any(f.severity is Severity.ERROR for f in findings):
        return findings
    findings += _disk(database)
    findings += _names(config, targets)
    if not database.exists:
        findings.append(Finding(severity=Severity.OK, message=f"{database.path} will be made"))
        return findings
    try:
        with database.opened() as con:
            findings.append(_version(con))
            unfit = {f.stream for f in findings if f.severity is Severity.ERROR}
            for target in targets:
                if str(target.stream) not in unfit:
                    findings += _table(config, con, target)
    except SynclineError as error:
        findings.append(_of(error))
    return findings


def _of(error: SynclineError, stream: str | None = None) -> Finding:
    return Finding(severity=Severity.ERROR, message=error.message, kind=error.kind, hint=error.hint, stream=stream)


def _folder(database: Database) -> list[Finding]:
    folder = database.path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return [_wrong(ErrorKind.CONFIG, f"{folder} is not a folder", "choose another destination_path")]
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = f"the stage lies beside the database file: chown or chmod {folder}"
        return [_wrong(ErrorKind.PERMISSION, f"folder {folder} cannot be written by this user", hint)]
    if database.path.is_dir():
        return [_wrong(ErrorKind.CONFIG, f"{database.path} is a folder", "add a file name to destination_path")]
    if database.exists and not os.access(database.path, os.R_OK | os.W_OK):
        return [_wrong(ErrorKind.PERMISSION, f"{database.path} cannot be written by this user", "chown or chmod it")]
    return []


def _disk(database: Database) -> list[Finding]:
    folder = database.path.parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free >= _LITTLE_DISK:
        return []
    message = f"{free >> 20} MB are free on the disk of {folder}"
    return [Finding(severity=Severity.WARNING, message=message, hint="a copy needs room for the old and the new rows")]


def _names(config: DuckdbDestinationConfig, targets: Sequence[StreamTarget]) -> list[Finding]:
    findings: list[Finding] = []
    seen: dict[tuple[str, str], StreamTarget] = {}
    for target in targets:
        place = place_of(config, target.connection, target.stream)
        stream = str(target.stream)
        findings += [
            _wrong(ErrorKind.SCHEMA, problem, "leave the column out, or rename it at the source", stream)
            for problem in name_problems(target, place)
        ]
        for field in target.schema.fields:
            try:
                column_type(field)
            except SynclineError as error:
                findings.append(_of(error, stream))
        key = (folded(place.table.schema), folded(place.table.name))
        if key in seen:
            message = f"streams {seen[key].stream} and {stream} would both go into table {place.table}"
            hint = "set namespace: source, so that each namespace has a schema of its own"
            findings.append(_wrong(ErrorKind.CONFIG, message, hint, stream))
        seen[key] = target
    return findings


def _version(con: duckdb.DuckDBPyConnection) -> Finding:
    row = con.execute(
        "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchone()
    made_for = str(row[0]).rstrip("+") if row and row[0] else "unknown"
    message = f"opened by DuckDB {duckdb.__version__}; the file's storage is of {made_for}"
    if made_for in ("v1.0.0", "v1.1.0", "v1.2.0"):
        return Finding(
            severity=Severity.WARNING,
            message=message,
            hint="loading is about a third slower than into a file of v1.4.0: let us make a new one, or copy it with "
            "ATTACH 'new.duckdb' (STORAGE_VERSION 'v1.4.0') and COPY FROM DATABASE",
        )
    return Finding(severity=Severity.OK, message=message)


def _table(config: DuckdbDestinationConfig, con: duckdb.DuckDBPyConnection, target: StreamTarget) -> list[Finding]:
    place = place_of(config, target.connection, target.stream)
    ledger = Ledger(con, place.table.schema, target.connection, target.stream)
    try:
        Tables(con, ledger, place, target).inspect(known=ledger.exists())
    except SynclineError as error:
        return [_of(error, str(target.stream))]
    what = "replaced" if target.write is WriteMode.REPLACE else "written"
    return [Finding(severity=Severity.OK, message=f"table {place.table} can be {what}", stream=str(target.stream))]


def _wrong(kind: ErrorKind, message: str, hint: str, stream: str | None = None) -> Finding:
    return Finding(severity=Severity.ERROR, message=message, kind=kind, hint=hint, stream=stream)
