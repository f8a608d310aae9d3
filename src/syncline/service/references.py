"""Which references to secrets a stored configuration may hold.

Whoever may edit a source could otherwise have the server's own environment and files told to him, in an error message
or at a destination of his.
"""

from __future__ import annotations

import fnmatch
import posixpath
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.interpolation import references
from syncline.settings import ServerSettings

__all__ = ["check"]


def check(settings: ServerSettings, configuration: Any) -> None:
    """Raises ``config`` for a reference that no pattern of ``SYNCLINE_REFERENCES`` allows."""
    for reference in references(configuration):
        provider, _, rest = reference.partition(":")
        # A path must not climb out of the folder that a pattern allows.
        name = f"{provider}:{posixpath.normpath(rest)}" if provider == "file" else reference
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in settings.references):
            raise SynclineError(
                ErrorKind.CONFIG,
                f"this server does not follow the reference ${{{reference}}}",
                hint=f"allowed: {', '.join(settings.references) or 'none'} (SYNCLINE_REFERENCES)",
            )
