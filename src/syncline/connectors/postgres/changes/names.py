"""What slot, publication and spool of a connection are called when the user does not say."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from syncline.connectors.postgres.changes.config import ChangeCapture
from syncline.sdk.connector import ConnectorContext

__all__ = ["PREFIX", "LogNames", "log_names", "needs_file", "owner_file", "spool_folder"]

#: Everything that we make at a source begins with it, so that what was left behind can be found.
PREFIX = "syncline_"
#: Bytes that the server keeps of a name.
_LONGEST = 63


@dataclass(frozen=True, kw_only=True)
class LogNames:
    """``own_…``: the name is ours, so we make, change and drop the thing; else it is the user's and used as it is."""

    slot: str
    publication: str
    own_slot: bool
    own_publication: bool


def log_names(connection: str, capture: ChangeCapture) -> LogNames:
    """The names for a connection: as configured, else ``syncline_<connection>`` in lower case letters, digits and _."""
    default = _identifier(connection)
    return LogNames(
        slot=capture.replication_slot or default,
        publication=capture.publication or default,
        own_slot=capture.replication_slot in (None, default),
        own_publication=capture.publication in (None, default),
    )


def spool_folder(capture: ChangeCapture, context: ConnectorContext, names: LogNames) -> Path:
    """Where the spool of a connection lies: one folder per slot."""
    base = capture.spool.path.expanduser() if capture.spool.path is not None else context.work_dir / "spool"
    return base / names.slot


def owner_file(spool: Path) -> Path:
    """Says whose log a spool holds."""
    return spool.with_name(f"{spool.name}.json")


def needs_file(spool: Path) -> Path:
    """Says what each of several destinations still needs of it."""
    return spool.with_name(f"{spool.name}.needs.json")


def _identifier(connection: str) -> str:
    """A slot allows a-z, 0-9 and _. Where that changes the name, a piece of its hash keeps two connections apart."""
    plain = re.sub(r"[^a-z0-9_]+", "_", connection.lower()).strip("_")
    if plain == connection and len(PREFIX) + len(plain) <= _LONGEST:
        return PREFIX + plain
    digest = hashlib.sha256(connection.encode()).hexdigest()[:8]
    room = _LONGEST - len(PREFIX) - len(digest) - 1
    return f"{PREFIX}{plain[:room].rstrip('_')}_{digest}" if plain else PREFIX + digest
