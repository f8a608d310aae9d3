"""Programs of a user's choice, which a server runs only where its operator says so.

Whoever may edit a connection or a source could otherwise run anything on the server's machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from syncline.core.errors import ErrorKind, SynclineError
from syncline.settings import JobSettings

__all__ = ["ensure_no_program", "ensure_programs_allowed"]


def ensure_programs_allowed(what: str, settings: JobSettings, others: str) -> None:
    """Raise ``permission`` unless the server's operator lets it run programs. ``what`` would run one; ``others`` need
    no leave."""
    if not settings.programs:
        raise SynclineError(
            ErrorKind.PERMISSION,
            f"{what} runs a program on the server's machine, which this server does not allow",
            hint=f"its operator allows it by SYNCLINE_PROGRAMS=1; {others} need no leave",
        )


def ensure_no_program(model: type[BaseModel], configuration: Mapping[str, Any], settings: JobSettings) -> None:
    """The same for a connector's configuration: fields that are marked ``local_program`` in its model."""
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        marked = isinstance(extra, Mapping) and extra.get("local_program")
        if marked and configuration.get(name) is not None:
            ensure_programs_allowed(f"{name!r} of the configuration", settings, "packages and manifests")
