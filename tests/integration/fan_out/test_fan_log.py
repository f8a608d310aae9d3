"""One reception of a log for several destinations: each with its own copy, place and failure."""

from __future__ import annotations

import psycopg
import pytest
from tests.integration.command import postgres, succeed, syncline
from tests.integration.fan_out.shop import Shop

from syncline.testing.postgres_server import PostgresServer

THREE = ("replica", "warehouse", "lake")


@pytest.mark.slow
def test_three_destinations_follow_what_is_read_once(shop: Shop) -> None:
    shop.fill(1, 3000)
    file = shop.write(*THREE, mode="incremental")
    succeed("sync", file)
    assert shop.rows_read() == 3000, "the copy was read more than once"
    assert shop.slots() == 1
    for name in THREE:
        assert shop.rows_at(name) == shop.rows(), name

    shop.session.execute("UPDATE orders SET note = 'new' WHERE id % 3 = 0")  # leaves big out: it is unchanged TOAST
    shop.session.execute("DELETE FROM orders WHERE id % 5 = 0")
    shop.fill(5001, 5100)
    done = succeed("sync", file, "--json")
    assert [(each["connection"], each["streams"][0]["rows_read"]) for each in done.json] == [
        (f"shop/{name}", 1000 + 600 + 100) for name in THREE
    ]
    for name in THREE:
        assert shop.rows_at(name) == shop.rows(), name


@pytest.mark.slow
def test_one_that_is_away_fails_alone_and_goes_on_later(shop: Shop, postgres_server: PostgresServer) -> None:
    with psycopg.connect(shop.server.dsn("postgres"), autocommit=True) as session:
        session.execute(f"CREATE DATABASE {shop.database}_away".encode())
    away = postgres(postgres_server, f"{shop.database}_away", schema="replica")
    shop.also["away"] = away
    shop.fill(1, 500)
    file = shop.write("warehouse", "away", mode="incremental")
    succeed("sync", file)
    _rename(shop, "away", "gone")
    shop.session.execute("UPDATE orders SET note = 'while away'")
    done = syncline("sync", file, "--json", "--attempts", "1")
    assert done.code != 0
    assert [each["status"] for each in done.json] == ["succeeded", "failed"]
    assert shop.rows_at("warehouse") == shop.rows()

    # The others' runs go by; what the one that is away needs stays.
    shop.session.execute("DELETE FROM orders WHERE id > 400")
    assert syncline("sync", file, "--attempts", "1").code != 0
    _rename(shop, "gone", "away")
    done = succeed("sync", file, "--json")
    assert [each["streams"][0]["rows_read"] for each in done.json] == [0, 600], "its place in the log was lost"
    with psycopg.connect(shop.server.dsn(f"{shop.database}_away")) as there:
        assert there.execute("SELECT id, note, big, amount FROM replica.orders ORDER BY id").fetchall() == shop.rows()


@pytest.mark.slow
def test_one_that_holds_a_full_spool_is_left_behind(shop: Shop) -> None:
    with psycopg.connect(shop.server.dsn("postgres"), autocommit=True) as session:
        session.execute(f"CREATE DATABASE {shop.database}_away".encode())
    shop.also["away"] = postgres(shop.server, f"{shop.database}_away", schema="replica")
    shop.capture = {"spool": {"path": str(shop.folder / "spool"), "durable": True, "max_bytes": 64 << 20}}
    shop.fill(1, 10)
    file = shop.write("warehouse", "away", mode="incremental")
    succeed("sync", file)
    _rename(shop, "away", "gone")
    for first in range(1000, 1010):  # 80 MB, which is more than the spool takes
        shop.session.execute("INSERT INTO orders VALUES (%s, 'large', repeat('x', 8000000), 1)", [first])
    done = syncline("sync", file, "--json", "--attempts", "1")
    assert [each["status"] for each in done.json] == ["succeeded", "failed"], done.text
    assert shop.rows_at("warehouse") == shop.rows()

    _rename(shop, "gone", "away")
    done = syncline("sync", file, "--json")
    assert done.json[0]["status"] == "succeeded"
    error = done.json[1]["error"]
    assert error["kind"] == "conflict"
    assert "has lost its place in the log: the spool was full" in error["message"]
    assert "--connection shop/away" in error["hint"]
    succeed("state", "reset", file, "--yes", "--connection", "shop/away")
    done = succeed("sync", file, "--json")
    assert [each["streams"][0]["rows_read"] for each in done.json] == [0, 20]
    with psycopg.connect(shop.server.dsn(f"{shop.database}_away")) as there:
        assert there.execute("SELECT id, note, big, amount FROM replica.orders ORDER BY id").fetchall() == shop.rows()


@pytest.mark.slow
def test_a_new_destination_copies_and_joins(shop: Shop) -> None:
    shop.fill(1, 500)
    file = shop.write("warehouse", mode="incremental")
    succeed("sync", file)
    shop.fill(501, 600)
    file = shop.write("warehouse", "replica", mode="incremental")
    done = succeed("sync", file, "--json")
    assert [each["streams"][0]["rows_read"] for each in done.json] == [100, 600]
    shop.session.execute("UPDATE orders SET note = 'both'")
    done = succeed("sync", file, "--json")
    assert [each["streams"][0]["rows_read"] for each in done.json] == [600, 600]
    for name in ("warehouse", "replica"):
        assert shop.rows_at(name) == shop.rows(), name


@pytest.mark.slow
def test_one_destination_becomes_several_and_back_without_a_new_copy(shop: Shop) -> None:
    shop.fill(1, 100)
    file = shop.write("warehouse", mode="incremental")
    text = file.read_text().replace("destinations:\n    - warehouse\n", "destination: warehouse\n")
    assert "destination: warehouse" in text
    file.write_text(text)
    succeed("sync", file)
    shop.fill(101, 110)
    done = succeed("sync", shop.write("warehouse", "replica", mode="incremental"), "--json")
    assert [each["streams"][0]["rows_read"] for each in done.json] == [10, 110]
    file.write_text(text)
    shop.fill(111, 115)
    assert succeed("sync", file, "--json").json["streams"][0]["rows_read"] == 5
    assert shop.rows_at("warehouse") == shop.rows()
    # What is remembered of the warehouse's need is older than the truth by now.
    replica, warehouse = succeed("sync", shop.write("replica", "warehouse", mode="incremental"), "--json").json
    assert (warehouse["streams"][0]["rows_read"], warehouse["streams"][0]["status"]) == (0, "succeeded")
    assert replica["streams"][0]["status"] == "succeeded"
    assert shop.rows_at("replica") == shop.rows()


@pytest.mark.slow
def test_one_that_was_taken_out_and_is_back_is_copied_anew_when_its_place_is_gone(shop: Shop) -> None:
    shop.fill(1, 100)
    succeed("sync", shop.write("warehouse", "replica", mode="incremental"))
    alone = shop.write("warehouse", mode="incremental")
    for _ in range(2):  # what nobody needs goes when the spool is opened
        shop.session.execute("UPDATE orders SET note = 'while it was out' WHERE id = 7")
        shop.session.execute("DELETE FROM orders WHERE id IN (SELECT max(id) FROM orders)")
        succeed("sync", alone)
    file = shop.write("replica", "warehouse", mode="incremental")
    done = succeed("sync", file, "--json")
    assert [each["streams"][0]["rows_read"] for each in done.json] == [98, 0]
    assert shop.rows_at("replica") == shop.rows()
    shop.fill(201, 205)
    assert [each["streams"][0]["rows_read"] for each in succeed("sync", file, "--json").json] == [5, 5]
    for name in ("replica", "warehouse"):
        assert shop.rows_at(name) == shop.rows()


@pytest.mark.slow
def test_each_command_speaks_of_each_destination(shop: Shop) -> None:
    shop.fill(1, 50)
    file = shop.write("warehouse", "replica", mode="incremental")
    assert [each["connection"] for each in succeed("check", file, "--json").json] == ["shop/warehouse", "shop/replica"]
    succeed("sync", file)
    assert [(v["connection"], v["equal"]) for v in succeed("verify", file, "--json").json] == [
        ("shop/warehouse", True),
        ("shop/replica", True),
    ]
    assert set(succeed("state", "show", file, "--json").json) == {"shop/warehouse", "shop/replica"}
    assert [each["connection"] for each in succeed("lag", file, "--json").json] == ["shop/warehouse", "shop/replica"]
    # One is copied anew, the other is not.
    succeed("state", "reset", file, "--yes", "--connection", "shop/replica")
    done = succeed("sync", file, "--json")
    assert [each["streams"][0]["rows_read"] for each in done.json] == [0, 50]
    refused = syncline("forget", file, "--connection", "shop/replica")
    assert refused.code == 3
    assert "read from the same slot" in refused.text
    assert succeed("forget", file, "--json").json["shop"]
    assert shop.slots() == 0


def _rename(shop: Shop, before: str, after: str) -> None:
    with psycopg.connect(shop.server.dsn("postgres"), autocommit=True) as session:
        session.execute(f"ALTER DATABASE {shop.database}_{before} RENAME TO {shop.database}_{after}".encode())
