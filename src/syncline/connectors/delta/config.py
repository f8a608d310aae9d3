"""Configuration of the Delta Lake destination."""

from __future__ import annotations

from pydantic import Field

from syncline.sdk.tables.config import TablesConfig

__all__ = ["DeltaDestinationConfig"]


class DeltaDestinationConfig(TablesConfig):
    """Delta tables below a folder or a bucket's prefix; no catalog is needed."""

    checkpoint_interval: int = Field(
        default=20,
        ge=1,
        description="Commits between two checkpoints of a table's log, from which readers start.",
    )
