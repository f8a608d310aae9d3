"""Transactions: what is committed stays, what raises goes, writers do not trip over each other, errors are ours."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store import server_values, tables, workspaces
from syncline.store.database import Database, open_database
from syncline.store.paging import Page


def test_a_write_is_there_and_a_failed_one_is_not(database: Database) -> None:
    with database.write() as transaction:
        server_values.add(transaction, "kept", {"b": 1, "a": [None, "ä"]})
    with pytest.raises(RuntimeError, match="on purpose"), database.write() as transaction:  # noqa: PT012
        server_values.add(transaction, "lost", 1)
        raise RuntimeError("on purpose")
    with database.read() as transaction:
        assert server_values.find(transaction, "kept") == {"b": 1, "a": [None, "ä"]}
        assert list(server_values.find(transaction, "kept")) == ["b", "a"]
        assert server_values.find(transaction, "lost") is None


def test_twice_the_same_is_a_conflict_without_the_values(database: Database) -> None:
    with database.write() as transaction:
        server_values.add(transaction, "once", "secret-value")
    with pytest.raises(SynclineError) as caught, database.write() as transaction:
        server_values.add(transaction, "once", "secret-value")
    assert caught.value.kind is ErrorKind.CONFLICT
    assert "secret-value" not in str(caught.value)


def test_many_writers_lose_no_update(database: Database) -> None:
    with database.write() as transaction:
        organization = workspaces.add_organization(transaction, name="o", email="e@x")
        workspace = workspaces.add(transaction, organization_id=organization.id, name="0")
    failures = []

    def add_one() -> None:
        try:
            for _ in range(20):
                with database.write() as transaction:
                    query = sa.select(tables.workspaces.c.name).where(tables.workspaces.c.id == workspace.id)
                    name = transaction.execute(query.with_for_update()).scalar_one()
                    workspaces.change(transaction, workspace.id, name=str(int(name) + 1))
        except SynclineError as error:
            failures.append(error)

    threads = [threading.Thread(target=add_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as transaction:
        found = workspaces.find(transaction, workspace.id)
    assert found is not None
    assert found.name == "160"


def test_times_keep_their_moment_and_need_a_zone(database: Database) -> None:
    moment = datetime(2026, 3, 29, 1, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-7)))
    row = {"id": uuid4(), "name": "o", "email": "e", "updated_at": moment}
    with database.write() as transaction:
        transaction.execute(tables.organizations.insert().values(**row, created_at=moment))
        read = transaction.execute(sa.select(tables.organizations.c.created_at)).scalar_one()
    assert read == moment
    assert read.tzinfo is UTC
    naive = row | {"id": uuid4(), "created_at": datetime(2026, 1, 1)}  # noqa: DTZ001
    with pytest.raises(SynclineError), database.write() as transaction:
        transaction.execute(tables.organizations.insert().values(**naive))


def test_pages_are_stable_and_say_whether_more_follow(database: Database) -> None:
    with database.write() as transaction:
        organization = workspaces.add_organization(transaction, name="o", email="e")
        made = [workspaces.add(transaction, organization_id=organization.id, name=f"w{n}") for n in range(5)]
    with database.read() as transaction:
        pages = [workspaces.list_workspaces(transaction, page=Page(limit=2, offset=n)) for n in (0, 2, 4)]
        everything = workspaces.list_workspaces(transaction, page=Page(limit=None, offset=1))
        nothing = workspaces.list_workspaces(transaction, only=frozenset(), page=Page())
    assert [w.id for page in pages for w in page.items] == [
        w.id for w in sorted(made, key=lambda w: (w.created_at, w.id))
    ]
    assert [page.more for page in pages] == [True, True, False]
    assert len(everything.items) == 4
    assert not everything.more
    assert nothing.items == ()


def test_rows_point_at_rows_that_are_there(database: Database) -> None:
    with pytest.raises(SynclineError) as caught, database.write() as transaction:
        workspaces.add(transaction, organization_id=uuid4(), name="orphan")
    assert caught.value.kind is ErrorKind.CONFLICT


def test_the_file_is_for_its_user_only(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'deep' / 'store.db'}")
    with database.write() as transaction:
        server_values.add(transaction, "a", 1)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep").iterdir()}
    database.close()
    assert modes
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:secret@h/d", "mysql"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("no url", "not a URL"),
        ("sqlite:////proc/nowhere/store.db", "cannot be opened"),
        ("postgresql://u:secret@127.0.0.1:1/d", "cannot be reached"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, says: str) -> None:
    with pytest.raises(SynclineError, match=says) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is not a database, and long enough to look like one" * 100)
    with pytest.raises(SynclineError, match="damaged") as caught:
        open_database(f"sqlite:///{path}")
    assert caught.value.kind is ErrorKind.CONFIG


def test_a_change_by_anybody_is_noticed_and_a_look_is_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'syncline.db'}"
    ours, others = open_database(url), open_database(url)
    before = ours.changes()
    assert before is not None
    with ours.read() as tx:
        server_values.find(tx, "x")
    with ours.write():
        pass
    assert ours.changes() == before
    for database in (ours, others):
        with database.write() as tx:
            workspaces.add_organization(tx, name="o", email="a@b.c")
        assert ours.changes() != before
        before = ours.changes()
    others.close()
    ours.close()
