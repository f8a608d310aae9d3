"""Several prepared statements in one round trip, with binary parameters, below psycopg's own cursors.

libpq's pipeline mode: everything is sent, one synchronisation mark after it, then every answer is read. When a
statement fails the server skips the rest up to the mark, and the transaction is failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.waiting import READY_R, WAIT_R, WAIT_RW

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

    from syncline.connectors.postgres.connection import Session

__all__ = ["Answer", "Shot", "Volleys"]

_FINE = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY)


@dataclass(frozen=True, slots=True)
class Shot:
    """A statement with ``$1`` … and its parameters in the server's binary form (None is NULL)."""

    statement: bytes
    values: Sequence[bytes | None] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """``rows`` that the statement touched; ``first`` is the first field of its first row as text bytes."""

    rows: int
    first: bytes | None


class Volleys:
    """Sends volleys over one session and remembers what it has prepared there. ``lasting``: the session is ours alone
    until it ends; else (a pooler may give our server process to others between transactions) nothing is prepared under
    a name, and a statement is parsed anew whenever it follows another one."""

    def __init__(self, session: Session, *, lasting: bool) -> None:
        self._session = session
        self._lasting = lasting
        self._names: dict[bytes, bytes] = {}
        self._count = 0  # of names given out: one is never used again

    def forget(self) -> None:
        """Prepare everything anew: a table has another form now. The former statements stay on the server until the
        session ends; tables change rarely."""
        self._names.clear()

    def fire(self, shots: Sequence[Shot], *, before_last: Callable[[], None] | None = None) -> list[Answer]:
        """Send and wait. Raises psycopg's error of the first statement that failed. ``before_last`` is called when all
        but the last are under way."""
        if not shots:
            return []
        pgconn = self._session.pgconn
        expected: list[bytes | None] = []  # what each answer belongs to: a preparation's text, or an execution
        pgconn.enter_pipeline_mode()
        try:
            parsed: bytes | None = None
            for shot in shots:
                if before_last is not None and shot is shots[-1]:
                    pgconn.send_flush_request()
                    pgconn.flush()
                    before_last()
                name = self._names.get(shot.statement) if self._lasting else b""
                if name is None or (not self._lasting and parsed != shot.statement):
                    name = b"syncline_%d" % self._count if self._lasting else b""
                    self._count += 1
                    pgconn.send_prepare(name, shot.statement)
                    expected.append(shot.statement)
                    parsed = shot.statement
                    if self._lasting:
                        self._names[shot.statement] = name
                pgconn.send_query_prepared(name, shot.values, [1] * len(shot.values))
                expected.append(None)
            pgconn.pipeline_sync()
            results = self._session.wait(_answers(pgconn))
        except BaseException:
            # Half of an exchange cannot be taken up again.
            self._session.close()
            raise
        pgconn.exit_pipeline_mode()
        return self._checked(expected, results)

    def _checked(self, expected: Sequence[bytes | None], results: Sequence[PGresult]) -> list[Answer]:
        answers: list[Answer] = []
        failure: psycopg.Error | None = None
        for prepared, result in zip(expected, results, strict=True):
            if result.status not in _FINE:
                if failure is None and result.status != ExecStatus.PIPELINE_ABORTED:
                    failure = psycopg.errors.error_from_result(result, self._session.info.encoding)
                if prepared is not None:
                    self._names.pop(prepared, None)
            elif prepared is None:
                first = result.get_value(0, 0) if result.ntuples else None
                answers.append(Answer(rows=result.command_tuples or 0, first=first))
        if failure is not None:
            raise failure
        return answers


def _answers(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Send what libpq still holds and collect every answer up to the mark."""
    while pgconn.flush():
        if (yield WAIT_RW) & READY_R:
            pgconn.consume_input()
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            yield WAIT_R
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:  # the end of one statement's answers
            if pgconn.status == ConnStatus.BAD:
                raise psycopg.OperationalError(pgconn.get_error_message())
            continue
        if result.status == ExecStatus.PIPELINE_SYNC:
            return results
        results.append(result)
