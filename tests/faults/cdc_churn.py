"""A steady stream of changes on one table, at a rate that is kept."""

from __future__ import annotations

import random
import threading
import time
from typing import Self

import psycopg

__all__ = ["Churn", "create_big_table", "fingerprint"]

_CREATE = """
CREATE TABLE big (
    id bigint PRIMARY KEY,
    v text NOT NULL,
    n bigint NOT NULL,
    at timestamptz NOT NULL,
    doc text NOT NULL
)
"""
_FILL = """
INSERT INTO big
SELECT g, 'row ' || g, g * 7919 %% 1000003, timestamptz '2026-01-01' + g * interval '1 second', md5(g::text)
FROM generate_series(1::bigint, %s::bigint) g
"""
_UPDATES, _INSERTS, _DELETES = 14, 4, 2  #: changes of one transaction


def create_big_table(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute(_CREATE)
        session.execute(_FILL, (rows,))
        session.execute("ANALYZE big")


def fingerprint(dsn: str, schema: str = "public") -> tuple[int, int]:
    """Count, and the sum of a hash of each row's text: equal for equal tables, whatever the order."""
    with psycopg.connect(dsn) as session:
        session.execute("SET timezone TO 'UTC'")
        row = session.execute(
            f"""
            SELECT count(*), coalesce(sum(hashtextextended(concat_ws('|', id, v, n, at, doc), 0)::numeric), 0)
            FROM "{schema}".big
            """.encode()
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


class Churn(threading.Thread):
    """``per_second`` row changes: updates all over the table, inserts behind it, deletes. ``made`` counts them."""

    def __init__(self, dsn: str, *, rows: int, per_second: int, seed: int, padding: int = 0) -> None:
        super().__init__(name="churn", daemon=True)
        self._dsn, self._next, self._per_second, self._padding = dsn, rows + 1, per_second, padding
        self._chance = random.Random(seed)
        self._end = threading.Event()
        self.made = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with psycopg.connect(self._dsn) as session:
                began = time.monotonic()
                while not self._end.is_set():
                    self._transaction(session)
                    self._end.wait(max(0.0, began + self.made / self._per_second - time.monotonic()))
        except BaseException as error:  # noqa: BLE001 - raised by `__exit__`
            self.failure = error

    def _transaction(self, session: psycopg.Connection) -> None:
        chance = self._chance
        filler = chance.randbytes(self._padding // 2).hex() if self._padding else "changed"
        keys = sorted(chance.sample(range(1, self._next), _UPDATES))
        session.execute("UPDATE big SET n = n + 1, doc = %s WHERE id = ANY (%s)", (filler, keys))
        session.execute(
            "INSERT INTO big SELECT g, 'new', 0, now(), 'new' FROM generate_series(%s::bigint, %s::bigint) g",
            (self._next, self._next + _INSERTS - 1),
        )
        self._next += _INSERTS
        session.execute("DELETE FROM big WHERE id = ANY (%s)", (chance.sample(range(1, self._next), _DELETES),))
        session.commit()
        self.made += _UPDATES + _INSERTS + _DELETES

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join(60)
        if self.failure is not None:
            raise self.failure
