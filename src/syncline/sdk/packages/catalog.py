"""Our catalog of connectors that can be installed: data in ``catalog.json``, each version tried. Imports nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError, nearest

__all__ = ["CatalogEntry", "catalog", "find"]


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """``version`` is exact, ``python`` the range that the package declares, ``overrides`` mend its metadata,
    ``definition`` is Airbyte's id of the connector. None of these connectors is bundled: the user installs them, under
    their own ``licence``. ``form`` is ``pypi``, or of an imported entry also ``manifest`` or ``docker``."""

    name: str
    title: str
    package: str
    version: str
    python: str
    overrides: tuple[str, ...]
    licence: str
    definition: str
    docs: str
    form: str = "pypi"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CatalogEntry:
        return cls(**{**data, "overrides": tuple(data["overrides"])})


def catalog() -> list[CatalogEntry]:
    """All entries, by name."""
    return [CatalogEntry.from_json(e) for e in json.loads(Path(__file__).with_name("catalog.json").read_bytes())]


def find(name: str, further: Sequence[CatalogEntry] = ()) -> CatalogEntry | None:
    """By short name or package, in ours and then in ``further`` ones. None for another package; ``config`` for a short
    name that is not known."""
    entries = [*catalog(), *further]
    for entry in entries:
        if name in (entry.name, entry.package):
            return entry
    if "-" in name and name.startswith("airbyte-"):
        return None
    near = nearest(name, [e.name for e in entries])
    raise SynclineError(
        ErrorKind.CONFIG,
        f"the catalog has no connector {name!r}",
        hint=f"did you mean {near!r}?" if near else "give the PyPI package (airbyte-source-…) and its version",
    )
