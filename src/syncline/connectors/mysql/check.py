"""What ``check`` looks at: the server, the tables, what the binary log needs; each with the statement that mends."""

from __future__ import annotations

import re
from collections.abc import Sequence

from syncline.connectors.mysql.catalog import Table, load_tables, offered, statement_of
from syncline.connectors.mysql.changes.position import log_end
from syncline.connectors.mysql.config import MySqlSourceConfig
from syncline.connectors.mysql.connection import Session
from syncline.connectors.mysql.sql import quoted, table_name
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream
from syncline.sdk.findings import Finding, Severity

__all__ = ["check_database", "missing_for_log"]

#: A log that is kept shorter than this may be gone after a weekend.
_SHORT_SECONDS = 3 * 86400
#: A foreign key through which the server changes rows by itself.
_CASCADE = re.compile(r"CONSTRAINT `(.+?)` FOREIGN KEY .*? ON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT)")
#: variable -> (what it must be, why)
_NEEDED = {
    "binlog_format": ("ROW", "changes are read as rows"),
    "binlog_row_image": ("FULL", "an update must say the whole row"),
    "binlog_row_metadata": ("FULL", "the log must name its columns, so that altered tables are understood"),
}


def check_database(session: Session, config: MySqlSourceConfig, selection: Sequence[SelectedStream]) -> list[Finding]:
    found = [Finding(severity=Severity.OK, message=f"connected to {session.version} as {config.username}")]
    if not session.mariadb and session.version.startswith(("5.", "4.")):
        found.append(
            Finding(
                severity=Severity.WARNING,
                message=f"MySQL {session.version} is older than what this is tested with",
                hint="use 8.0 or newer, or MariaDB 10.5 or newer",
            )
        )
    tables = load_tables(session, config.database)
    names = {s.name for s in selection}
    looked_at = [t for t in tables if t.name in names] if selection else offered(tables, config.tables)
    if not looked_at:
        found.append(
            Finding(
                severity=Severity.WARNING,
                message=f"database {config.database} offers no table to this user",
                hint=f"GRANT SELECT ON {quoted(config.database)}.* TO this user, or check tables",
            )
        )
    if config.log is not None:
        found += missing_for_log(session)
    for table in looked_at:
        found += _check_table(session, config, table)
    return found


def _check_table(session: Session, config: MySqlSourceConfig, table: Table) -> list[Finding]:
    name = str(table.name)
    try:
        session.rows(f"SELECT 1 FROM {table_name(table.name)} LIMIT 0", stream=name)
    except SynclineError as error:
        hint = f"GRANT SELECT ON {table_name(table.name)} TO this user"
        return [Finding(severity=Severity.ERROR, message=error.message, kind=error.kind, hint=hint, stream=name)]
    found = []
    if not table.primary_key and table.kind == "table":
        found.append(
            Finding(
                severity=Severity.WARNING,
                message=f"{table.name} has no primary key: it is read in one piece and cannot be deduplicated",
                hint="add a primary key, or select it with mode: full_refresh or incremental_append",
                stream=name,
            )
        )
    if config.log is not None and (cascades := _CASCADE.findall(statement_of(session, table.name))):
        found.append(
            Finding(
                severity=Severity.WARNING,
                message=f"the server does not log what foreign keys change by cascade ({', '.join(cascades)}): "
                f"such changes of {table.name} are not seen",
                hint="delete and update its rows by statements of your own, or copy it with full_refresh",
                stream=name,
            )
        )
    if config.log is not None and (table.engine or "").lower() in ("myisam", "aria", "memory", "csv"):
        found.append(
            Finding(
                severity=Severity.WARNING,
                message=f"{table.name} is of the engine {table.engine}, which knows no transactions: a change log may "
                "begin with rows that it tells again",
                hint="ALTER TABLE … ENGINE=InnoDB, or use mode: incremental_deduped_history",
                stream=name,
            )
        )
    return found or [Finding(severity=Severity.OK, message=f"{table.name} can be read", stream=name)]


def missing_for_log(session: Session) -> list[Finding]:
    """What the binary log still needs; one finding that all is right when nothing."""
    found: list[Finding] = []

    def error(message: str, hint: str, kind: ErrorKind = ErrorKind.CONFIG) -> None:
        found.append(Finding(severity=Severity.ERROR, message=message, kind=kind, hint=hint))

    names = ("log_bin", "server_id", "expire_logs_days", "binlog_expire_logs_seconds", *_NEEDED)
    values = session.variables(names)
    if values.get("log_bin", "OFF").upper() not in ("ON", "1"):
        error(
            "the server writes no binary log",
            "set in its configuration, and restart it: [mysqld] log_bin=mysql-bin, server_id=1, binlog_format=ROW",
        )
        return found
    if values.get("server_id", "0") == "0":
        error("server_id is 0, with which the server serves no replica", "SET GLOBAL server_id = 1, and in its file")
    for name, (wanted, why) in _NEEDED.items():
        value = values.get(name)
        if value is None:
            error(f"the server does not know {name}: {why}", "MySQL 8.0.1 or MariaDB 10.5 or newer is needed")
        elif value.upper() != wanted:
            error(f"{name} is {value}: {why}", f"SET GLOBAL {name} = '{wanted}', and in the server's configuration")
    try:
        log_end(session)
    except SynclineError as failed:
        error(failed.message, failed.hint, failed.kind)
    grants = " ".join(str(row[0]) for row in session.texts("SHOW GRANTS")).upper()
    if not any(right in grants for right in ("ALL PRIVILEGES ON *.*", "REPLICATION SLAVE", "REPLICATION REPLICA")):
        error(
            "this user may not read the binary log",
            "GRANT REPLICATION SLAVE ON *.* TO this user",
            ErrorKind.PERMISSION,
        )
    kept = _kept_seconds(values)
    if 0 < kept < _SHORT_SECONDS:
        found.append(
            Finding(
                severity=Severity.WARNING,
                message=f"the binary log is kept for {kept / 86400:g} days: a pause that is longer needs a new copy",
                hint="SET GLOBAL binlog_expire_logs_seconds = 604800",
            )
        )
    return found or [Finding(severity=Severity.OK, message="the binary log has whole rows and names its columns")]


def _kept_seconds(values: dict[str, str]) -> float:
    """0 when it is kept for ever."""
    seconds = float(values.get("binlog_expire_logs_seconds", 0) or 0)
    return seconds or 86400 * float(values.get("expire_logs_days", 0) or 0)
