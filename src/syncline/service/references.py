"""Which references to secrets a stored configuration or connection may hold.

Whoever may edit a source could otherwise have the server's own environment and files told to him, in an error message
or at a destination of his; and whoever may edit a connection by a step that calls an address of his.
"""

from __future__ import annotations

import fnmatch
import posixpath
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.transform.step import parse_steps
from syncline.sdk.interpolation import references, variables
from syncline.settings import ServerSettings
from syncline.store.values import StoredConnection

__all__ = ["check", "check_connection"]


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


def check_connection(settings: ServerSettings, connection: StoredConnection) -> None:
    """The same for everything of a connection that may hold one: names that become part of the destination's
    configuration, keys of mappings and mappers, steps after a sync. Those steps read ``${NAME}`` too where a project
    file is run, and a server's variables are not for whoever writes the file."""
    options = connection.options
    names = [connection.prefix, connection.namespace_format]
    check(settings, [names, options.mappings, options.transforms, [s.mappers for s in connection.streams or ()]])
    for step in parse_steps(connection.options.transforms):
        for name in variables(step.options) if step.kind != "sql" else ():  # nothing is followed within statements
            raise SynclineError(
                ErrorKind.CONFIG,
                f"transforms: a server reads no variable by its bare name: ${{{name}}}",
                hint=f"write ${{env:SYNCLINE_VAR_{name}}}, a variable of the server, or $${{{name}}} for the text",
            )
