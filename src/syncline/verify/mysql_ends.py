"""MySQL and MariaDB as source of a stream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from syncline.connectors.mysql.config import MySqlSourceConfig
from syncline.connectors.mysql.connection import open_session
from syncline.core.schema import Field
from syncline.core.stream import SelectedStream
from syncline.sdk.config import ConnectorConfig
from syncline.verify.duckdb_side import DuckDbSide, Restriction
from syncline.verify.mysql_feed import MySqlFeed
from syncline.verify.side import Latest, Side

__all__ = ["open_mysql_source"]

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def open_mysql_source(
    config: ConnectorConfig,
    selected: SelectedStream,
    fields: Sequence[Field],
    position: Mapping[str, Any] | None,
    latest: Latest | None,
    work_dir: Path,
) -> Side:
    """The stream's table or view as it is now; rows whose cursor lies after ``position`` are pending."""
    later = _later(selected, position) if position else None
    session = open_session(cast(MySqlSourceConfig, config))
    feed = MySqlFeed(session, selected.name, fields, later=later, work_dir=work_dir)
    side = DuckDbSide(feed, label="source", work_dir=work_dir, restriction=Restriction(latest=latest))
    if selected.sync_mode.incremental and later is None:
        side.notes.append(
            "source: read as it is now, at no place of its log: what the last sync has not yet applied shows as "
            "different; verify when nothing is written, or after a sync"
        )
    return side


def _later(selected: SelectedStream, position: Mapping[str, Any]) -> str | None:
    """The condition of rows that the cursor has not reached; None without one."""
    if "cursor" not in position or selected.cursor_field is None:
        return None
    column = "`" + selected.cursor_field.replace("`", "``") + "`"
    value = position["cursor"]
    if value is None:
        return f"{column} IS NOT NULL"
    text = str(value)
    # A number in quotes would be compared as a double.
    known = text if _NUMBER.fullmatch(text) else f"_utf8mb4 X'{text.encode().hex()}'"
    return f"{column} > {known}"
