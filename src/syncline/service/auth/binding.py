"""Where a server may listen without asking who calls."""

from __future__ import annotations

from syncline.core.errors import ErrorKind, SynclineError
from syncline.settings import ServerSettings, is_loopback

__all__ = ["check_bind"]


def check_bind(settings: ServerSettings) -> None:
    """Called before the server binds. Raises ``config``: everybody who reaches it could read and write everything."""
    if settings.auth == "none" and not is_loopback(settings.host):
        raise SynclineError(
            ErrorKind.CONFIG,
            f"a server without authentication must not listen on {settings.host}",
            hint="unset SYNCLINE_AUTH (or set it to required), or listen on 127.0.0.1",
        )
