"""What a failure looks like in the config API."""

from __future__ import annotations

from typing import Any

from syncline.api.wire import WireModel

__all__ = ["ConfigError"]


class ConfigError(WireModel):
    """Why a request failed."""

    message: str
    exception_class_name: str
    exception_stack: list[str] = []
    validation_errors: list[dict[str, Any]] | None = None
    id: str | None = None
