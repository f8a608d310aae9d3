"""What ``check`` looks at for a destination of files."""

from __future__ import annotations

from collections.abc import Sequence

from syncline.connectors.files.config import FilesDestinationConfig
from syncline.core.checkpoint import StreamTarget
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.findings import Finding

__all__ = ["check_destination"]


def check_destination(
    store: ObjectStore, config: FilesDestinationConfig, context: ConnectorContext, targets: Sequence[StreamTarget]
) -> list[Finding]:
    return []
