"""Reading one partition: the query, and the lock under which it is right.

The first statement of the transaction asks for no rows; it locks the table (ACCESS SHARE, all partitions of it too)
against a change of its shape. Then the columns are compared with what was discovered, because COPY's binary form does
not say of which type a value is. Only then comes the COPY, which sees what was committed before it began: a table that
was rewritten while we waited for the lock is read as it is, not as empty.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Column, describe
from syncline.connectors.postgres.changes.joint import wait_until_flushed
from syncline.connectors.postgres.changes.visibility import ensure_files
from syncline.connectors.postgres.copy.decode import CopyColumn, CopyReader, RawCopyReader
from syncline.connectors.postgres.errors import postgres_error
from syncline.connectors.postgres.reading.bounds import where
from syncline.connectors.postgres.reading.ties import tied_rows
from syncline.connectors.postgres.reading.transaction import CATALOG_PATH, SessionMaker, age_exceeded, begin
from syncline.core.batch import Batch, Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition
from syncline.core.stream import SelectedStream

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["RawPartition", "read_partition"]


def read_partition(maker: SessionMaker, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
    """Batches of all rows of the partition. Closing the generator early cancels the query and ends the session."""
    with _locked(maker, selected, partition) as (session, columns):
        query = select(selected, columns, partition.bounds)
        names = [c.name for c in columns]
        with CopyReader(session, query, _copy_columns(columns)) as reader:
            for decoded in reader:
                yield Batch(
                    data=decoded.batch,
                    misfits=tuple(
                        Misfit(row=e.row, column=names[e.column], text=e.text, reason=e.reason)
                        for e in decoded.exceptions
                    ),
                )
        _finish(session, partition)


class RawPartition:
    """The bytes of a partition, undecoded and without casts; see ``RawStream``. Opens its session when iterated."""

    def __init__(self, maker: SessionMaker, selected: SelectedStream, partition: Partition) -> None:
        self.rows = 0
        self._chunks = self._read(maker, selected, partition)

    def __iter__(self) -> Iterator[memoryview | bytes]:
        yield from self._chunks

    def close(self) -> None:
        self._chunks.close()

    def _read(self, maker: SessionMaker, selected: SelectedStream, partition: Partition) -> Any:
        with _locked(maker, selected, partition) as (session, columns):
            query = select(selected, columns, partition.bounds, casts=False)
            with RawCopyReader(session, query) as reader:
                yield from reader
                self.rows = reader.rows
            _finish(session, partition)


def select(
    selected: SelectedStream, columns: Sequence[Column], bounds: Any, *, casts: bool = True
) -> compose.Composable:
    """The query of a partition. ``bounds`` as in :mod:`~syncline.connectors.postgres.reading.bounds`."""
    table = compose.Identifier(selected.name.namespace or "public", selected.name.name)
    items = compose.SQL(", ").join(
        compose.Identifier(c.name) + compose.SQL(c.carrier.cast if casts else c.carrier.relay_cast) for c in columns
    )
    if ties := bounds.get("ties"):
        return compose.SQL("SELECT {} FROM {}").format(items, tied_rows(table, [c.name for c in columns], ties))
    return compose.SQL("SELECT {} FROM {}{}").format(items, table, where(bounds["where"]))


def _copy_columns(columns: Sequence[Column]) -> list[CopyColumn]:
    return [CopyColumn(name=c.name, decoder=c.carrier.decoder, arrow=c.carrier.arrow) for c in columns]


@contextlib.contextmanager
def _locked(
    maker: SessionMaker, selected: SelectedStream, partition: Partition
) -> Iterator[tuple[Session, list[Column]]]:
    """A session in a transaction that holds the table as it was discovered, and the columns to read."""
    config = maker.config
    place: dict[str, Any] = {"stream": str(selected.name), "partition": partition.id}
    began = time.monotonic()
    seconds = config.max_transaction_age
    if snapshot := partition.bounds.get("snapshot"):
        seconds = float(partition.bounds["until"]) - time.time()
        if seconds <= 0:
            raise age_exceeded(config).at(**place)
    session = maker.connect()
    try:
        try:
            begin(session, config, seconds=seconds, snapshot=snapshot)
        except psycopg.Error as error:
            raise _without_snapshot(error, snapshot) from error
        columns = _hold(session, selected)
        if files := partition.bounds.get("files"):
            ensure_files(session, selected.name, str(files))
        yield session, columns
    except BaseException as error:
        _cancel(session)
        if time.monotonic() - began >= seconds * 0.99 and _cancelled(error):
            raise age_exceeded(config).at(**place) from error
        if isinstance(error, psycopg.Error):
            raise postgres_error(error, role=session.info.user, hint=_hint(error), **place) from error
        if isinstance(error, SynclineError):
            raise error.at(connector="postgres", **place) from error.__cause__
        raise
    finally:
        session.close()


def _finish(session: Session, partition: Partition) -> None:
    """End the transaction. Where a log goes on from the copy, first see to it that what was read is safe at the
    source: the log would never tell that a crash of the server has undone it."""
    if partition.bounds.get("logged"):
        wait_until_flushed(session)
    session.execute("COMMIT")


def _hold(session: Session, selected: SelectedStream) -> list[Column]:
    """Lock the table and look at it again. Raises ``schema`` when it is not what was discovered."""
    table = compose.Identifier(selected.name.namespace or "public", selected.name.name)
    names = selected.stream.schema.names
    items = compose.SQL(", ").join(compose.Identifier(n) for n in names)
    session.execute(compose.SQL("SELECT {} FROM {} LIMIT 0").format(items, table))
    session.execute(compose.SQL("SAVEPOINT names; ") + CATALOG_PATH)
    relation = describe(session, selected.name, indexes=False)
    session.execute("ROLLBACK TO names")  # back to the role's own search path, which functions in views may need
    found: list[Column] = []
    for field in selected.stream.schema.fields:
        column = relation.column(field.name) if relation else None
        if column is None:
            raise _changed(f"column {field.name} is gone")
        if (column.field.type, column.field.native, column.field.logical) != (field.type, field.native, field.logical):
            raise _changed(f"column {field.name} was {field.native} and is {column.field.native} now")
        found.append(column)
    return found


def _changed(what: str) -> SynclineError:
    return SynclineError(
        ErrorKind.SCHEMA, f"the table changed after it was discovered: {what}", hint="run again: it is discovered anew"
    )


def _hint(error: psycopg.Error) -> str:
    if error.sqlstate in ("42P01", "3F000"):
        return "it was dropped or renamed after it was discovered: run again, or take it out of the connection"
    if error.sqlstate == "42703":
        return "the table changed after it was discovered: run again"
    return ""


def _without_snapshot(error: psycopg.Error, snapshot: str | None) -> Exception:
    if snapshot is None or error.sqlstate not in ("22023", "42704", "55000"):
        return error
    return SynclineError(
        ErrorKind.TRANSIENT,
        "the session that held the table's snapshot has ended, so its pages cannot be read consistently any more",
        hint="the table has no key; it starts over with the next attempt (a primary key would make it resumable)",
    )


def _cancelled(error: BaseException) -> bool:
    """Whether the server ended our statement or session by one of its clocks (ours may have come through the
    reader)."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "sqlstate", None) in ("57014", "25P03", "25P04"):
            return True
        cause = cause.__cause__
    return False


def _cancel(session: Session) -> None:
    """Stop what the server is doing for us; a query that returns nothing would not notice that we are gone."""
    if session.closed or session.info.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
        return
    # Best effort: the session is closed right after, and the server notices that at its next write.
    with contextlib.suppress(psycopg.Error):
        session.cancel_safe(timeout=5)
