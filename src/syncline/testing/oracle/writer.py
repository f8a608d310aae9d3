"""One concurrent writer: puts deeds together to transactions of every shape, and journals how each ended."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import psycopg

from syncline.testing.oracle.acts import DEEDS, Hand, large_deed
from syncline.testing.oracle.architect import change_shape
from syncline.testing.oracle.commits import Act, CommitJournal

__all__ = ["Writer", "settle_prepared"]

_PREFIX = "oracle-"


class Writer(threading.Thread):
    """Writes until :meth:`stop`. Survives the end of its connection and of the server: waits and goes on.

    ``per_second``: transactions, None for as many as it can. ``shapes`` allows changes of columns, ``large`` very large
    transactions, ``truncates`` TRUNCATE. What it does depends on ``seed`` and on how the other writers come between."""

    def __init__(
        self,
        dsn: str,
        journal: CommitJournal,
        number: int,
        *,
        seed: str,
        per_second: float | None,
        shapes: bool,
        large: bool,
        truncates: bool,
    ) -> None:
        super().__init__(name=f"oracle-writer-{number}", daemon=True)
        self._dsn, self._journal, self._number, self._per_second = dsn, journal, number, per_second
        self._chance = random.Random(f"{seed} {number}")
        self._truncates = truncates
        self._end = threading.Event()
        self._acts = self._first_act()
        self._kinds = dict(_KINDS)
        if not shapes:
            del self._kinds["shapes"]
        if not large:
            del self._kinds["large"]
        self.failure: BaseException | None = None

    def _first_act(self) -> int:
        """Numbers go on where an earlier workload on the same tables stopped."""
        with psycopg.connect(self._dsn) as connection:
            row = connection.execute(
                "SELECT coalesce(max(number), 0) FROM acts WHERE writer = %s", (self._number,)
            ).fetchone()
        return int(row[0]) if row else 0

    def stop(self) -> None:
        self._end.set()

    def run(self) -> None:
        try:
            while not self._end.is_set():
                try:
                    with psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None) as connection:
                        settle_prepared(connection, self._number)
                        self._work(connection)
                except psycopg.OperationalError:
                    self._end.wait(0.1)  # the server is down, or it cut us off
        except BaseException as error:  # noqa: BLE001 - told to the test by `Workload.stop`
            self.failure = error

    def _work(self, connection: psycopg.Connection) -> None:
        began, done = time.monotonic(), 0
        while not self._end.is_set():
            self._transaction(connection)
            done += 1
            if self._per_second is not None:
                self._end.wait(max(0.0, began + done / self._per_second - time.monotonic()))

    def _transaction(self, connection: psycopg.Connection) -> None:
        self._acts += 1
        act = Act(writer=self._number, number=self._acts)
        kind = self._chance.choices(list(self._kinds), list(self._kinds.values()))[0]
        self._journal.note(act, kind, "begun")
        state = "aborted"
        try:
            with connection.cursor() as cursor:
                hand = Hand(cursor=cursor, chance=self._chance, writer=self._number, truncates=self._truncates)
                hand.run("BEGIN")
                hand.run("INSERT INTO acts (writer, number, kind) VALUES (%s, %s, %s)", act.writer, act.number, kind)
                _SHAPES[kind](self, hand)
                if kind == "abort" or (kind == "savepoint" and self._chance.random() < 0.1):
                    hand.run("ROLLBACK")
                elif kind == "prepare":
                    # What is prepared outlives a lost connection and is settled later: nobody can say now how it ends.
                    state = "unknown"
                    state = self._two_phases(hand, act)
                else:
                    state = "unknown"
                    hand.run("COMMIT")
                    state = "acknowledged"
        except psycopg.OperationalError:
            # Deadlocks and time-outs are refusals: the server has rolled back. Else the connection is gone.
            if connection.closed:
                self._journal.note(act, kind, state)
                raise
            state = "aborted"
            connection.execute("ROLLBACK")
        except (psycopg.errors.IntegrityError, psycopg.errors.ProgrammingError, psycopg.errors.DataError):
            state = "aborted"
            connection.execute("ROLLBACK")
        self._journal.note(act, kind, state)

    def _two_phases(self, hand: Hand, act: Act) -> str:
        name = f"{_PREFIX}{act.writer}-{act.number}"
        hand.run(f"PREPARE TRANSACTION '{name}'")
        self._end.wait(self._chance.choice((0, 0, 0.05)))
        if self._chance.random() < 0.2:
            hand.run(f"ROLLBACK PREPARED '{name}'")
            return "aborted"
        hand.run(f"COMMIT PREPARED '{name}'")
        return "acknowledged"

    def deeds(self, hand: Hand, most: int = 4) -> None:
        for deed in self._chance.choices(list(DEEDS), list(DEEDS.values()), k=self._chance.randint(1, most)):
            deed(hand)

    def with_savepoints(self, hand: Hand) -> None:
        self.deeds(hand, 2)
        for depth in range(self._chance.randint(1, 3)):
            hand.run(f"SAVEPOINT s{depth}")
            self.deeds(hand, 2)
            if self._chance.random() < 0.5:
                hand.run(f"ROLLBACK TO s{depth}")
            elif self._chance.random() < 0.5:
                hand.run(f"RELEASE s{depth}")
        self.deeds(hand, 1)

    def slowly(self, hand: Hand) -> None:
        for _ in range(3):
            self.deeds(hand, 1)
            self._end.wait(self._chance.uniform(0, 0.3))

    def largely(self, hand: Hand) -> None:
        large_deed(hand)


def settle_prepared(connection: psycopg.Connection, writer: int | None = None) -> None:
    """Commit what a writer (None: any) prepared before its connection was lost."""
    names = connection.execute(
        "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s AND database = current_database()",
        (f"{_PREFIX}{'%' if writer is None else f'{writer}-%'}",),
    ).fetchall()
    for (name,) in names:
        connection.execute(f"COMMIT PREPARED '{name}'".encode())


#: Shape of a transaction -> how often, relative to the others.
_KINDS: dict[str, int] = {
    "plain": 60,
    "several": 20,
    "savepoint": 8,
    "abort": 5,
    "prepare": 4,
    "slow": 2,
    "large": 1,
    "shapes": 1,
}
_SHAPES: dict[str, Callable[[Writer, Hand], None]] = {
    "plain": lambda writer, hand: writer.deeds(hand, 1),
    "several": Writer.deeds,
    "savepoint": Writer.with_savepoints,
    "abort": Writer.deeds,
    "prepare": Writer.deeds,
    "slow": Writer.slowly,
    "large": Writer.largely,
    "shapes": lambda _, hand: change_shape(hand),
}
