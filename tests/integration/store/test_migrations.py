"""Migrations: they make exactly the tables that the program expects, once, with a backup, and never backwards."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store import migrate, server_values
from syncline.store.database import Database, open_database
from syncline.store.migrations.tables import metadata

_OPEN = """
import sys
from syncline.store.database import open_database
from syncline.store import server_values
database = open_database(sys.argv[1])
with database.write() as transaction:
    server_values.add(transaction, sys.argv[2], 1)
database.close()
"""


def _version(database: Database) -> str:
    with database.read() as transaction:
        return str(transaction.execute(sa.text(f"SELECT version_num FROM {migrate.VERSION_TABLE}")).scalar_one())


def _set_version(url: str, version: str) -> None:
    database = open_database(url)
    with database.write() as transaction:
        transaction.execute(sa.text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = :v"), {"v": version})
    database.close()


def test_they_make_what_the_program_expects(database: Database) -> None:
    with database.read() as transaction:
        context = MigrationContext.configure(
            transaction, opts={"version_table": migrate.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_they_are_one_chain_named_by_number() -> None:
    folder = Path(migrate.__file__).parent / "migrations" / "versions"
    names = sorted(path.name.split("_")[0] for path in folder.glob("[0-9]*.py"))
    assert names == [f"{n:04}" for n in range(1, len(names) + 1)]
    for before, path in zip([None, *names], sorted(folder.glob("[0-9]*.py")), strict=False):
        text = path.read_text()
        assert f'revision = "{path.name[:4]}"' in text
        assert f"down_revision = {before!r}".replace("'", '"') in text
        assert "def downgrade" not in text


def test_opening_again_changes_nothing_and_imports_no_alembic(database: Database, database_url: str) -> None:
    assert _version(database) == migrate.revisions()[-1]
    code = _OPEN + "\nassert 'alembic' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code, database_url, "again"], check=True)


def test_a_newer_schema_is_refused(database: Database, database_url: str) -> None:
    _set_version(database_url, "9999")
    with pytest.raises(SynclineError, match="9999") as caught:
        open_database(database_url)
    assert caught.value.kind is ErrorKind.CONFIG


def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", _OPEN, database_url, f"process {n}"], stderr=subprocess.PIPE)
        for n in range(4)
    ]
    ends = [(child.communicate()[1].decode(), child.returncode) for child in started]
    assert ends == [("", 0)] * 4
    database = open_database(database_url)
    with database.read() as transaction:
        assert all(server_values.find(transaction, f"process {n}") == 1 for n in range(4))
    database.close()


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The program one migration ahead of the database."""
    folder = tmp_path / "migrations"
    versions = folder / "versions"
    versions.mkdir(parents=True)
    here = Path(migrate.__file__).parent / "migrations" / "versions"
    for path in here.glob("*.py"):
        (versions / path.name).write_text(path.read_text())
    last = migrate.revisions()[-1]
    following = f"{int(last) + 1:04}"
    (versions / f"{following}_next.py").write_text(
        f'import sqlalchemy as sa\nfrom alembic import op\nrevision = "{following}"\ndown_revision = "{last}"\n'
        'def upgrade():\n    op.add_column("tags", sa.Column("extra", sa.Text()))\n'
        "    if op.get_bind().execute(sa.text(\"SELECT count(*) FROM server_values WHERE name = 'fail'\")).scalar():\n"
        '        raise RuntimeError("on purpose")\n'
    )
    monkeypatch.setattr(migrate, "_HERE", folder)
    return folder


def _old(database_url: str, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """A database as the released program left it."""
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "_HERE", Path(migrate.__file__).parent / "migrations")
        database = open_database(database_url)
        with database.write() as transaction:
            for name in names:
                server_values.add(transaction, name, 1)
        database.close()


def test_a_step_forward_keeps_the_data(database_url: str, two_steps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _old(database_url, monkeypatch, "before")
    database = open_database(database_url)
    with database.read() as transaction:
        assert server_values.find(transaction, "before") == 1
        assert "extra" in {column["name"] for column in sa.inspect(transaction).get_columns("tags")}
    database.close()


def test_a_step_that_fails_leaves_everything(
    database_url: str, two_steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _old(database_url, monkeypatch, "fail")
    with pytest.raises(RuntimeError, match="on purpose"):
        open_database(database_url)
    monkeypatch.setattr(migrate, "_HERE", Path(migrate.__file__).parent / "migrations")
    database = open_database(database_url)
    with database.read() as transaction:
        assert server_values.find(transaction, "fail") == 1
        assert "extra" not in {column["name"] for column in sa.inspect(transaction).get_columns("tags")}
    database.close()


def test_sqlite_is_copied_before_a_step_and_never_else(
    tmp_path: Path, two_steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    _old(url, monkeypatch, "before")
    assert not (tmp_path / "backups").exists()
    open_database(url).close()
    (backup,) = (tmp_path / "backups").iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(backup) as copy:
        assert copy.execute("SELECT name FROM server_values").fetchall() == [("before",)]
        assert copy.execute(f"SELECT version_num FROM {migrate.VERSION_TABLE}").fetchone()[0] == migrate.revisions()[-2]
    copy.close()
    open_database(url).close()
    assert len(list((tmp_path / "backups").iterdir())) == 1


def test_only_some_backups_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    sqlite3.connect(file).close()
    for _ in range(migrate.KEEP_BACKUPS + 3):
        migrate._back_up(file, tmp_path / "backups", "0001")
    assert len(list((tmp_path / "backups").iterdir())) == migrate.KEEP_BACKUPS
