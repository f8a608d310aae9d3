"""Bringing the schema up to date: forward only, in one transaction, one process at a time, after a backup.

Alembic is imported only when there is something to do: a server that is up to date starts without it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store.schema import now

__all__ = ["KEEP_BACKUPS", "VERSION_TABLE", "migrate", "revisions"]

VERSION_TABLE = "syncline_schema"
KEEP_BACKUPS = 5
_HERE = Path(__file__).parent / "migrations"
#: Any number that nobody else locks: "syncline" as digits on a telephone.
_LOCK = 79625463


def revisions() -> list[str]:
    """The numbers of all migrations, oldest first: how their files are named."""
    return sorted(path.name.split("_")[0] for path in (_HERE / "versions").glob("[0-9]*.py"))


def migrate(engine: Engine, file: Path | None, backups: Path | None) -> None:
    """Bring the database to the newest revision; whoever comes second waits and finds it done.

    ``file`` and ``backups`` are for SQLite: a database that has tables is copied there first. Raises ``config`` when
    the database was written by a newer program."""
    try:
        with engine.connect() as connection, connection.begin():
            if _current(connection) == revisions()[-1]:
                return
        writer = engine.execution_options(syncline_begin="BEGIN IMMEDIATE")
        with writer.connect() as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            before = _current(connection)
            if before == revisions()[-1]:
                return
            if before is not None and file is not None and backups is not None:
                # We hold the write lock: the copy is what the migration will change.
                _back_up(file, backups, before)
            _upgrade(connection)
            _check_keys(connection)
    finally:
        engine.dispose()


def _current(connection: Connection) -> str | None:
    """The revision that the database has, None for an empty one."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one()
    if found not in revisions():
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the store has schema {found} and this program knows it up to {revisions()[-1]}",
            hint="start the newer Syncline that wrote it, or restore the backup from before its migration",
        )
    return str(found)


def _upgrade(connection: Connection) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE, transactional_ddl=True)
        environment.run_migrations()


def _check_keys(connection: Connection) -> None:
    """SQLite does not watch foreign keys while tables are rebuilt, so look once before the end."""
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise SynclineError(
            ErrorKind.INTERNAL,
            f"the migration would leave {len(broken)} rows of {broken[0][0]} without what they point at",
            hint="nothing was changed; please report this",
        )


def _back_up(file: Path, folder: Path, revision: str) -> None:
    """A whole, fsynced copy for this user only; the oldest ones go."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / f"{file.stem}-{revision}-{now():%Y%m%dT%H%M%S%f}.db"
    partial = target.with_suffix(".partial")
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.rename(target)
    for old in sorted(folder.glob(f"{file.stem}-*.db"), key=lambda p: p.name.rsplit("-", 1)[-1])[:-KEEP_BACKUPS]:
        old.unlink(missing_ok=True)
