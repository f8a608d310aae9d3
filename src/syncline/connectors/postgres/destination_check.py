"""``check`` of the Postgres destination (filled in below)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from syncline.connectors.postgres.destination_config import PostgresDestinationConfig
from syncline.core.checkpoint import StreamTarget
from syncline.sdk.findings import Finding

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["check_targets"]


def check_targets(
    config: PostgresDestinationConfig, session: Callable[[], Session], targets: Sequence[StreamTarget]
) -> list[Finding]:
    session()
    return []
