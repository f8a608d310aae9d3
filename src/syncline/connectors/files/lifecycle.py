"""Lifecycle rules of the bucket."""

from __future__ import annotations

from syncline.connectors.files.config import S3DestinationConfig
from syncline.sdk.files.store import ObjectStore

__all__ = ["apply_lifecycle"]


def apply_lifecycle(store: ObjectStore, config: S3DestinationConfig, connection: str) -> None:
    pass
