"""The functions of the very libpq that psycopg uses, for code that runs without the GIL.

Used by the native COPY reader. A second copy of libpq must never touch the first one's connections, so this looks the
functions up through psycopg's own module: its dependencies are where the dynamic linker searches. psycopg's three
builds (binary, C, Python) are known; where a build hides its libpq, :func:`libpq` says None and the readers go through
psycopg instead.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, pq

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Functions", "connection_pointer", "copy_failure", "libpq"]

_WAIT_SECONDS = 1.0


class Functions(ctypes.Structure):
    """Pointers to libpq's functions; ``struct libpq`` of ``_decode.c``."""

    _fields_ = [
        ("get_copy_data", ctypes.c_void_p),
        ("consume_input", ctypes.c_void_p),
        ("socket", ctypes.c_void_p),
        ("freemem", ctypes.c_void_p),
    ]


@functools.cache
def libpq() -> Functions | None:
    """libpq's functions, or None where they cannot be reached or are not those of psycopg's libpq."""
    library = _library()
    if library is None:
        return None
    try:
        if library.PQlibVersion() != pq.version():
            return None
        return Functions(
            get_copy_data=_address(library.PQgetCopyData),
            consume_input=_address(library.PQconsumeInput),
            socket=_address(library.PQsocket),
            freemem=_address(library.PQfreemem),
        )
    except AttributeError:
        return None


def connection_pointer(connection: psycopg.Connection[Any]) -> int:
    """The ``PGconn *`` of an open connection. Raises psycopg's error when it is closed."""
    pointer: int | None = getattr(connection.pgconn, "pgconn_ptr")  # noqa: B009  (not in psycopg's protocol class)
    if connection.closed or not pointer:
        raise psycopg.OperationalError("the connection is closed")
    return pointer


def copy_failure(connection: psycopg.Connection[Any]) -> psycopg.Error | None:
    """What the server said at the end of a COPY that libpq has left, or None if it succeeded."""
    from psycopg import waiting

    pgconn, found = connection.pgconn, None
    try:
        while True:
            while pgconn.is_busy():
                waiting.wait(_readable(), pgconn.socket, interval=_WAIT_SECONDS)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                return found
            if result.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK} and found is None:
                found = errors.error_from_result(result)
    except psycopg.Error as error:  # a connection that broke after the server's last words
        return found or error


def _readable() -> Any:
    while not (yield psycopg.waiting.WAIT_R):
        continue


def _library() -> ctypes.CDLL | None:
    try:
        if pq.__impl__ == "python":
            module: Any = importlib.import_module("psycopg.pq._pq_ctypes")
            library = module.pq
            return library if isinstance(library, ctypes.CDLL) else None
        module = importlib.import_module("psycopg_binary.pq" if pq.__impl__ == "binary" else "psycopg_c.pq")
        return ctypes.CDLL(module.__file__)
    except (ImportError, AttributeError, OSError):
        return None


def _address(function: Callable[..., object]) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
