"""Extras that a command needs, asked for before it starts."""

from __future__ import annotations

import importlib.util

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["need_server_extra"]

_SERVER = ("sqlalchemy", "alembic", "fastapi", "uvicorn", "cryptography", "jwt", "python_multipart")


def need_server_extra() -> None:
    """``config`` error that says what to install when a module of the extra ``server`` is missing."""
    missing = [name for name in _SERVER if importlib.util.find_spec(name) is None]
    if missing:
        raise SynclineError(
            ErrorKind.CONFIG, f"the server needs {', '.join(missing)}", hint="pip install 'syncline[server]'"
        )
