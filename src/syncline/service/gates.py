"""Quality gates of a project file: what a person wrote becomes gates, suites are read from beside the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syncline.core.errors import SynclineError
from syncline.quality.rules import parse_gates
from syncline.quality.suite import read_suite

__all__ = ["gates_json", "quality_of"]


def gates_json(items: Sequence[Any], folder: Path | None, where: str) -> tuple[dict[str, Any], ...]:
    """The items as gates in JSON. ``folder``: where paths of suites begin; None where no files are read. ``where`` is
    said in errors."""
    try:
        found = parse_gates(items, None if folder is None else lambda path: read_suite(folder / path))
    except SynclineError as error:
        raise SynclineError(error.kind, f"{where}: {error.message}", hint=error.hint, where=error.where) from error
    return tuple(g.to_json() for g in found)


def quality_of(gates: Sequence[Mapping[str, Any]], limits: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a choice of the engine carries: ``gates``, and the limits of the ``quarantine`` where somebody set them."""
    set_limits = {k: v for k, v in (limits or {}).items() if v is not None}
    return {
        **({"gates": [dict(g) for g in gates]} if gates else {}),
        **({"quarantine": set_limits} if set_limits else {}),
    }
