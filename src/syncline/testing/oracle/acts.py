"""What a writer does to the source: small deeds, put together to transactions by :mod:`.writer`.

Each deed takes a cursor inside an open transaction and a seeded random. All deeds keep two invariants at every commit:
the balances of ``accounts`` and ``vaults`` add up to the same sum, and twin ``counters`` (0 and 1, 2 and 3, …) have the
same version. A deed may fail (two writers meet): then its transaction is rolled back.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from syncline.testing.oracle.tables import ACCOUNTS, COUNTERS, VAULTS

__all__ = ["DEEDS", "Deed", "Hand", "large_deed"]

_WORDS = (
    "",
    "x",
    "NULL",
    "\\N",
    "null",
    "tab\there",
    "line\nbreak",
    "quote ' \" `",
    "back\\slash",
    "ünï © 漢字 🐘",
    "{a,b}",
    "%s",
)
_REGIONS = ("north", "south", "east", "west")


@dataclass
class Hand:
    """One writer's hand inside one transaction. ``truncates``: whether it may."""

    cursor: psycopg.Cursor[Any]
    chance: random.Random
    writer: int
    truncates: bool = True

    def run(self, statement: str, *parameters: object) -> None:
        self.cursor.execute(statement.encode(), parameters)

    def ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.cursor.execute(statement.encode(), parameters).fetchall()

    def text(self) -> str | None:
        pick = self.chance.random()
        if pick < 0.1:
            return None
        if pick < 0.3:
            return self.chance.choice(_WORDS)
        return self.chance.randbytes(self.chance.randint(1, 40)).hex()

    def big(self) -> str:
        """Too long for a page and incompressible, so that it lies outside the row."""
        size = self.chance.choice((1500, 3000, 3000, 9000, 60000))
        return self.chance.randbytes(size).hex()

    def thing(self) -> int:
        """The id of a thing that is likely there."""
        last = self.ask("SELECT last_value FROM thing_ids")[0][0]
        return self.chance.randint(max(1, last - 3000), last)


Deed = Callable[[Hand], None]


def _transfer(hand: Hand) -> None:
    one, other = hand.chance.sample(range(1, ACCOUNTS + 1), 2)
    amount = hand.chance.randint(-50, 50)
    # Either may be missing for a moment (its key is being exchanged): then nothing is paid, or it is given back.
    if hand.ask("UPDATE accounts SET balance = balance - %s WHERE id = %s RETURNING id", amount, one) == []:
        return
    if hand.ask("UPDATE accounts SET balance = balance + %s WHERE id = %s RETURNING id", amount, other) == []:
        hand.run("UPDATE accounts SET balance = balance + %s WHERE id = %s", amount, one)


def _deposit(hand: Hand) -> None:
    """Over two tables: half of it would show."""
    account, vault, amount = (
        hand.chance.randint(1, ACCOUNTS),
        hand.chance.randint(1, VAULTS),
        hand.chance.randint(-50, 50),
    )
    if hand.ask("UPDATE accounts SET balance = balance - %s WHERE id = %s RETURNING id", amount, account):
        hand.run("UPDATE vaults SET balance = balance + %s WHERE id = %s", amount, vault)


def _swap_accounts(hand: Hand) -> None:
    """Keys exchanged by way of a third: each row's key changes, the set of keys does not."""
    one, other = hand.chance.sample(range(1, ACCOUNTS + 1), 2)
    aside = -1 - hand.writer
    hand.run("UPDATE accounts SET id = %s WHERE id = %s", aside, one)
    hand.run("UPDATE accounts SET id = %s WHERE id = %s", one, other)
    hand.run("UPDATE accounts SET id = %s, note = %s WHERE id = %s", other, hand.text(), aside)


def _reopen_account(hand: Hand) -> None:
    """Deleted and inserted again under the same key in one transaction."""
    account = hand.chance.randint(1, ACCOUNTS)
    found = hand.ask("DELETE FROM accounts WHERE id = %s RETURNING balance", account)
    if found:
        hand.run("INSERT INTO accounts VALUES (%s, %s, %s)", account, found[0][0], hand.text())


def _count(hand: Hand) -> None:
    twin = 2 * hand.chance.randrange(COUNTERS // 2)
    hand.run("UPDATE counters SET version = version + 1 WHERE id = %s", twin)
    hand.run("UPDATE counters SET version = version + 1 WHERE id = %s", twin + 1)


def _insert_things(hand: Hand) -> None:
    for _ in range(hand.chance.choice((1, 1, 2, 5, 20))):
        _insert_thing(hand, None)


def _insert_thing(hand: Hand, key: int | None) -> None:
    chance = hand.chance
    hand.run(
        """
        INSERT INTO things (id, v, n, at, flag, doc, big, blob)
        VALUES (coalesce(%s::bigint, nextval('thing_ids')), %s, %s, clock_timestamp(), %s, %s, %s, %s)
        """,
        key,
        hand.text(),
        chance.choice((None, 0, chance.randint(-(10**9), 10**9))),
        chance.choice((None, True, False)),
        chance.choice((None, json.dumps({"k": chance.randint(0, 9), "t": hand.text()}))),
        hand.big() if chance.random() < 0.3 else None,
        chance.randbytes(4000) if chance.random() < 0.1 else None,
    )


def _update_things(hand: Hand) -> None:
    """Other columns than the big ones, so that the log leaves these out; growing rows move to other pages."""
    for _ in range(hand.chance.choice((1, 1, 3, 10))):
        column, value = hand.chance.choice(
            (
                ("v", hand.text()),
                ("v", hand.chance.randbytes(400).hex()),
                ("n", hand.chance.randint(0, 10**6)),
                ("flag", None),
            )
        )
        hand.run(f"UPDATE things SET {column} = %s WHERE id = %s", value, hand.thing())


def _update_big(hand: Hand) -> None:
    value = hand.big() if hand.chance.random() < 0.8 else None
    hand.run("UPDATE things SET big = %s WHERE id = %s", value, hand.thing())


def _update_often(hand: Hand) -> None:
    """One row several times, the big value changed in the middle only."""
    key = hand.thing()
    hand.run("UPDATE things SET v = %s WHERE id = %s", hand.text(), key)
    hand.run("UPDATE things SET big = %s WHERE id = %s", hand.big(), key)
    hand.run("UPDATE things SET n = %s WHERE id = %s", hand.chance.randint(0, 99), key)


def _delete_things(hand: Hand) -> None:
    for _ in range(hand.chance.choice((1, 1, 4))):
        hand.run("DELETE FROM things WHERE id = %s", hand.thing())


def _reinsert_thing(hand: Hand) -> None:
    """Deleted and inserted with the same key; a big value of the former row must not shine through."""
    key = hand.thing()
    hand.run("DELETE FROM things WHERE id = %s", key)
    _insert_thing(hand, key)


def _insert_and_delete(hand: Hand) -> None:
    key = hand.ask("SELECT nextval('thing_ids')")[0][0]
    _insert_thing(hand, key)
    hand.run("UPDATE things SET n = 1 WHERE id = %s", key)
    hand.run("DELETE FROM things WHERE id = %s", key)


def _move_thing(hand: Hand) -> None:
    """The key changes and the big value, unchanged, is left out of the log."""
    hand.run("UPDATE things SET id = nextval('thing_ids'), v = %s WHERE id = %s", hand.text(), hand.thing())


def _write_pairs(hand: Hand) -> None:
    a, b = hand.chance.randint(1, 30), hand.text() or ""
    hand.run(
        "INSERT INTO pairs VALUES (%s, %s, %s, %s) ON CONFLICT (a, b) DO UPDATE SET v = excluded.v",
        a,
        b,
        hand.text(),
        hand.big() if hand.chance.random() < 0.3 else None,
    )


def _chain_pairs(hand: Hand) -> None:
    """Keys passed on along a chain: the second row takes the first one's place, the third the second's."""
    rows = hand.ask("SELECT a, b FROM pairs ORDER BY md5(a || b || %s) LIMIT 4 FOR UPDATE", str(hand.chance.random()))
    if len(rows) < 2:
        return
    free = (1000 + hand.writer, hand.chance.randbytes(6).hex())
    for row in rows:
        hand.run("UPDATE pairs SET a = %s, b = %s WHERE a = %s AND b = %s", *free, *row)
        free = row
    if hand.chance.random() < 0.5:
        hand.run("INSERT INTO pairs VALUES (%s, %s, %s, NULL)", *free, hand.text())


def _delete_pairs(hand: Hand) -> None:
    hand.run("DELETE FROM pairs WHERE a = %s", hand.chance.randint(1, 30))


def _write_whole(hand: Hand) -> None:
    key = hand.chance.randint(1, 200)
    pick = hand.chance.random()
    if pick < 0.4:
        hand.run(
            "INSERT INTO whole VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET big = excluded.big",
            key,
            hand.text(),
            hand.big() if hand.chance.random() < 0.5 else None,
        )
    elif pick < 0.7:
        hand.run("UPDATE whole SET v = %s WHERE id = %s", hand.text(), key)
    elif pick < 0.85:
        hand.run("UPDATE whole SET id = id + 200, v = %s WHERE id = %s", hand.text(), key)
    else:
        hand.run("DELETE FROM whole WHERE id IN (%s, %s)", key, key + 200)


def _add_entries(hand: Hand) -> None:
    for n in range(hand.chance.choice((1, 2, 10))):
        # Sometimes the very same row twice: both must arrive.
        for _ in range(hand.chance.choice((1, 1, 1, 2))):
            hand.run("INSERT INTO entries VALUES (%s, %s, %s)", hand.writer, n, hand.text())


def _write_orders(hand: Hand) -> None:
    pick = hand.chance.random()
    last = hand.ask("SELECT last_value FROM order_ids")[0][0]
    key = hand.chance.randint(max(1, last - 200), last)
    if pick < 0.4:
        hand.run(
            "INSERT INTO orders VALUES (nextval('order_ids'), %s, %s, %s)",
            hand.chance.choice(_REGIONS),
            hand.text(),
            hand.big() if hand.chance.random() < 0.3 else None,
        )
    elif pick < 0.6:
        hand.run("UPDATE orders SET v = %s WHERE id = %s", hand.text(), key)
    elif pick < 0.9:  # to another partition, or within the default one to another key
        hand.run("UPDATE orders SET region = %s WHERE id = %s", hand.chance.choice(_REGIONS), key)
    else:
        hand.run("DELETE FROM orders WHERE id = %s", key)


def _write_scratch(hand: Hand) -> None:
    pick = hand.chance.random()
    if pick < 0.12 and hand.truncates:
        hand.run("TRUNCATE scratch")
    elif pick < 0.2 and hand.truncates:
        for key in hand.chance.sample(range(300), 5):
            hand.run("INSERT INTO scratch VALUES (%s, 'before') ON CONFLICT (id) DO NOTHING", key)
        hand.run("TRUNCATE scratch")
        for key in sorted(hand.chance.sample(range(300), 5)):
            hand.run("INSERT INTO scratch VALUES (%s, 'after')", key)
    else:
        for key in sorted(hand.chance.sample(range(300), 8)):
            hand.run(
                "INSERT INTO scratch VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET v = excluded.v", key, hand.text()
            )


def _truncate_together(hand: Hand) -> None:
    """Two tables by one statement, and rows in both after it. Rarely: what is empty proves little."""
    if hand.chance.random() > 0.2 or not hand.truncates:
        return
    hand.run("TRUNCATE scratch, whole")
    hand.run("INSERT INTO scratch VALUES (1, 'fresh')")
    hand.run("INSERT INTO whole VALUES (1, 'fresh', NULL)")


def _write_shapes(hand: Hand) -> None:
    """Rows of the table whose columns change: look at the columns, held still by the lock, then write some."""
    hand.run("LOCK TABLE shapes IN ROW EXCLUSIVE MODE")
    columns = hand.ask(
        """
        SELECT quote_ident(attname), format_type(atttypid, NULL)
        FROM pg_attribute
        WHERE attrelid = 'shapes'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id'
        """
    )
    last = hand.ask("SELECT last_value FROM shape_ids")[0][0]
    for _ in range(hand.chance.choice((1, 3))):
        taken = hand.chance.sample(columns, hand.chance.randint(1, len(columns)))
        values = [
            (hand.text() or "")[:18] if kind in ("text", "character varying") else hand.chance.randint(0, 30000)
            for _, kind in taken
        ]
        names = ", ".join(name for name, _ in taken)
        holes = ", ".join("%s" for _ in taken)
        if hand.chance.random() < 0.5:
            hand.run(f"INSERT INTO shapes (id, {names}) VALUES (nextval('shape_ids'), {holes})", *values)
        else:
            key = hand.chance.randint(max(1, last - 100), last)
            hand.run(f"UPDATE shapes SET ({names}) = ROW({holes}) WHERE id = %s", *values, key)
    if hand.chance.random() < 0.2:
        hand.run("DELETE FROM shapes WHERE id = %s", hand.chance.randint(max(1, last - 100), last))


def large_deed(hand: Hand) -> None:
    """More than the server keeps in memory (``logical_decoding_work_mem`` of 64 kB), so that it is streamed before it
    ends; with subtransactions, one of them rolled back, which touch the same rows."""
    rows = hand.chance.choice((300, 1000, 3000))
    hand.run(
        """
        INSERT INTO things (id, v, n, at)
        SELECT nextval('thing_ids'), 'large ' || g, g, clock_timestamp() FROM generate_series(1, %s) g
        """,
        rows,
    )
    last = hand.ask("SELECT last_value FROM thing_ids")[0][0]
    hand.run("SAVEPOINT gone")
    hand.run("UPDATE things SET v = 'must not be seen' WHERE id BETWEEN %s AND %s", last - rows, last)
    hand.run("DELETE FROM things WHERE id BETWEEN %s AND %s", last - 50, last)
    hand.run("ROLLBACK TO gone")
    hand.run("SAVEPOINT stays")
    hand.run("UPDATE things SET n = -n WHERE id BETWEEN %s AND %s AND id %% 3 = 0", last - rows, last)
    hand.run("RELEASE stays")
    _count(hand)


#: Deed -> how often, relative to the others.
DEEDS: dict[Deed, int] = {
    _transfer: 10,
    _deposit: 8,
    _swap_accounts: 3,
    _reopen_account: 3,
    _count: 8,
    _insert_things: 8,
    _update_things: 10,
    _update_big: 3,
    _update_often: 3,
    _delete_things: 4,
    _reinsert_thing: 3,
    _insert_and_delete: 2,
    _move_thing: 4,
    _write_pairs: 5,
    _chain_pairs: 4,
    _delete_pairs: 1,
    _write_whole: 6,
    _add_entries: 4,
    _write_orders: 8,
    _write_scratch: 4,
    _truncate_together: 1,
    _write_shapes: 5,
}
