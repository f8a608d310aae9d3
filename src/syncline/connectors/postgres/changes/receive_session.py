"""One replication connection: opened, asked for the log from an LSN on, read in large pieces, answered.

The walsender speaks pgoutput in text (``binary`` is left off: every type then has its exact text), under the same
session settings as our snapshots. Protocol: PostgreSQL documentation, "Streaming Replication Protocol" and "Logical
Streaming Replication Protocol".
"""

from __future__ import annotations

import re
import select
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
from psycopg import pq
from psycopg import sql as compose

from syncline.connectors.postgres.changes.lsn import lsn_to_text
from syncline.connectors.postgres.changes.receive_errors import (
    missing_publication,
    replication_connect_error,
    stream_error,
)
from syncline.connectors.postgres.changes.receive_fallback import PythonReceiver, Status
from syncline.connectors.postgres.changes.receive_native import NativeReceiver, native_receiver_library
from syncline.connectors.postgres.connection import TEXT_SETTINGS, PostgresConnectionConfig, connection_parameters
from syncline.connectors.postgres.copy.libpq import copy_failure
from syncline.connectors.postgres.silence import Silence, open_watched
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["SENDER_SETTINGS", "ReplicationSession"]

#: Under these the walsender writes values; a money value without them would depend on the server's language.
SENDER_SETTINGS = {**TEXT_SETTINGS, "lc_monetary": "C"}

#: Enough to make writing and waking others cheap, little enough to stay in the processor's cache.
_TARGET_BYTES = 1 << 20
#: A transaction above this does not wait for its Commit in memory.
_SPILL_BYTES = 8 << 20
_STATUS = struct.Struct(">cQQQqB")
_PG_EPOCH_US = 946_684_800_000_000
_UNITS = {"": 0.001, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
#: The walsender gets this long for its good-bye.
_FINISH_SECONDS = 1.0


class ReplicationSession:
    """Receives from ``start`` on; opened by its making, closed by :meth:`close`. Used by one thread.

    ``wake`` is a descriptor that ends a waiting :meth:`read` when it is readable; ``stopping`` is asked while the
    server takes its time to begin. ``former`` is the :attr:`key` of our session before this one: the server may not
    have noticed that it is dead, and it holds the slot; it is ended. ``receiver`` holds what :meth:`read` found. Raises
    ``unreachable``, ``auth``, ``permission``, ``transient``, and ``conflict`` for a slot that somebody else reads
    (``where["pid"]``), that is gone, or that the server has given up.
    """

    def __init__(
        self,
        config: PostgresConnectionConfig,
        *,
        work_dir: Path,
        application_name: str,
        slot: str,
        publications: Sequence[str],
        start: int,
        wake: int,
        stopping: Callable[[], bool],
        former: tuple[int, str] | None = None,
    ) -> None:
        self.slot, self.publications = slot, tuple(publications)
        self._wake = wake
        self._problem: SynclineError | None = None
        parameters = connection_parameters(config, work_dir=work_dir, application_name=application_name)
        try:
            self._connection = open_watched(parameters, replication="database")
        except (psycopg.Error, OSError, ValueError) as error:
            raise replication_connect_error(error) from error
        library = native_receiver_library()
        self.receiver: NativeReceiver | PythonReceiver
        if library is not None:
            self.receiver = NativeReceiver(
                library, target_bytes=_TARGET_BYTES, spill_bytes=_SPILL_BYTES, position=start
            )
        else:
            self.receiver = PythonReceiver(target_bytes=_TARGET_BYTES, spill_bytes=_SPILL_BYTES, position=start)
        try:
            self._connection.add_notice_handler(self._hear)
            for name, value in SENDER_SETTINGS.items():
                self._ask(compose.SQL("SET {} = {}").format(compose.Identifier(name), compose.Literal(value)))
            #: What tells this session from all others of the server.
            self.key = (self._connection.info.backend_pid, self._ask(_BEGAN) or "")
            if former is not None:
                self._ask(_END.format(*map(compose.Literal, former)))
            #: Seconds after which the server gives up a silent receiver; 0: never.
            self.server_patience = _seconds(self._ask("SHOW wal_sender_timeout") or "")
            self._start(start, stopping)
        except psycopg.Error as error:
            self.close()
            raise stream_error(error, slot) from error
        except BaseException:
            self.close()
            raise

    def read(self, timeout: float) -> Status:
        """Receive until there is something to do, at most ``timeout`` seconds. Raises what the server or libpq said;
        what lay in ``receiver`` by then is whole all the same."""
        try:
            status = self.receiver.read(self._connection, self._wake, max(0, int(timeout * 1000)))
        except psycopg.Error as error:
            raise stream_error(error, self.slot) from error
        if self._problem is not None:  # nothing that came after it may be believed
            raise self._problem
        return status

    def failure(self, status: Status) -> SynclineError:
        """Why reading ended with ``SERVER_ENDED``, ``CONNECTION``, ``MALFORMED`` or ``MEMORY``."""
        if status is Status.MALFORMED:
            return SynclineError(
                ErrorKind.INTERNAL,
                "the server sent a message that the protocol does not have at this place",
                hint="this is a defect: please report it with the server's version",
                where={"connector": "postgres", "slot": self.slot, "version": self._connection.info.server_version},
            )
        if status is Status.MEMORY:
            return SynclineError(
                ErrorKind.RESOURCE,
                "there is not enough memory for a message of the log",
                hint="a single value may have 1 GB: give the process more memory",
                where={"connector": "postgres", "slot": self.slot},
            )
        error: psycopg.Error | None = None
        if status is Status.SERVER_ENDED:
            error = copy_failure(self._connection)
        words = self._connection.pgconn.get_error_message().strip() if error is None else ""
        if error is None:
            error = psycopg.OperationalError(words or "the server ended the stream (it is being shut down)")
        return stream_error(error, self.slot)

    def send_status(self, received: int, confirmed: int, *, ask: bool = False) -> None:
        """Standby status update: up to where we have written (which frees nothing at the server), and what the slot may
        forget (0: nothing new). ``ask``: the server shall answer. Raises ``transient`` for a broken connection."""
        now = int(time.time() * 1_000_000) - _PG_EPOCH_US
        try:
            self._connection.pgconn.put_copy_data(_STATUS.pack(b"r", received, confirmed, confirmed, now, ask))
            self._connection.pgconn.flush()
        except psycopg.Error as error:
            raise stream_error(error, self.slot) from error

    def finish(self) -> None:
        """Say good-bye, so that the last status surely arrives: unread bytes would make the closing a reset."""
        deadline = time.monotonic() + _FINISH_SECONDS
        try:
            self._connection.pgconn.put_copy_end()
            self._connection.pgconn.flush()
            while (left := deadline - time.monotonic()) > 0:
                if self.receiver.read(self._connection, -1, int(left * 1000)) >= Status.SERVER_ENDED:
                    return
                self.receiver.clear()
                self.receiver.clear_block()
        except psycopg.Error:
            return

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._connection.close()
        self.receiver.close()

    # -- opening -----------------------------------------------------------------------------------------------------

    def _start(self, start: int, stopping: Callable[[], bool]) -> None:
        version = self._connection.info.server_version
        names = ",".join('"' + name.replace('"', '""') + '"' for name in self.publications)
        options = {"proto_version": "2" if version >= 140000 else "1", "publication_names": names}
        if version >= 140000:
            options |= {"streaming": "on", "messages": "true"}
        command = "START_REPLICATION SLOT {} LOGICAL {} ({})".format(
            _identifier(self.slot),
            lsn_to_text(start),
            ", ".join(f"{_identifier(name)} {_literal(value)}" for name, value in options.items()),
        )
        pgconn = self._connection.pgconn
        pgconn.nonblocking = 1
        pgconn.send_query(command.encode())
        # The server first waits for a busy slot's reader to go, or reads much log: nobody must wait for that to stop.
        silence = Silence(self._connection)
        while pgconn.flush() or pgconn.is_busy():
            if stopping():
                raise SynclineError(ErrorKind.TRANSIENT, "stopped before the log began", where={"slot": self.slot})
            poll = select.poll()
            poll.register(pgconn.socket, select.POLLIN)
            if poll.poll(100):
                silence.heard()
            else:
                silence.goes_on()
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_BOTH:
            if result is None:
                raise psycopg.OperationalError(pgconn.get_error_message())
            raise psycopg.errors.error_from_result(result)

    def _ask(self, query: str | compose.Composed) -> str | None:
        """One SQL command by the simple protocol: a walsender knows no other."""
        cursor = self._connection.execute(query.encode() if isinstance(query, str) else query)
        row = cursor.fetchone() if cursor.description is not None else None
        return None if row is None or row[0] is None else str(row[0])

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        """Since PG 18 a publication that is gone is no error but a warning, and its changes are left out silently."""
        if "skipped loading publication" in (notice.message_primary or "") or (
            notice.severity_nonlocalized == "WARNING" and notice.sqlstate == "55000"
        ):
            self._problem = missing_publication(", ".join(self.publications), self.slot)


#: Parameters: the key's parts.
_END = compose.SQL(
    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
    "WHERE pid = {} AND backend_start = {}::timestamptz"
)
_BEGAN = "SELECT backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    """In the walsender's own grammar, which knows no escapes but the doubled quote."""
    return "'" + value.replace("'", "''") + "'"


def _seconds(text: str) -> float:
    """A time as SHOW prints it: ``1min``, ``500ms``, ``0``."""
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip())
    return int(found[1]) * _UNITS.get(found[2], 0.001) if found else 0.0
