"""Airbyte's registry of connectors, imported from a file that the user has: what it names joins our catalog.

Ours go first: their versions were tried. An imported connector can be installed when it is on PyPI; the others are
shown with the form in which they exist (``manifest``: give its file to ``type: airbyte, manifest:``; ``docker``: not
run here).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.packages.catalog import CatalogEntry

__all__ = ["import_registry", "imported", "imported_spec"]

_FILE = "registry.json"


def import_registry(home: Path, text: bytes) -> int:
    """Keep the sources of a registry's JSON below ``home``, in place of those of an earlier import; how many there are.
    Raises ``config`` for what is no registry."""
    try:
        data = json.loads(text)
        found = [_entry(each) for each in data["sources"] if not each.get("tombstone")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"this is no registry of connectors ({type(error).__name__}: {error})",
            hint='it is a JSON object with the lists "sources" and "destinations", as Airbyte publishes it',
        ) from None
    home.mkdir(parents=True, exist_ok=True)
    new = home / f"{_FILE}.new"
    new.write_text(json.dumps(found))
    new.replace(home / _FILE)  # in one act: a reader sees the former or this one
    return len(found)


def _entry(each: Mapping[str, Any]) -> dict[str, Any]:
    repository = str(each["dockerRepository"])
    pypi = (each.get("remoteRegistries") or {}).get("pypi") or {}
    tags = each.get("tags") or ()
    form = "pypi" if pypi.get("enabled") else "manifest" if "language:manifest-only" in tags else "docker"
    entry = CatalogEntry(
        name=repository.rpartition("/")[2].removeprefix("source-"),
        title=str(each["name"]),
        package=str(pypi.get("packageName") or f"airbyte-{repository.rpartition('/')[2]}"),
        version=str(each["dockerImageTag"]),
        python="",
        overrides=(),
        licence=str(each.get("license") or "not said"),
        definition=str(each["sourceDefinitionId"]),
        docs=str(each.get("documentationUrl") or ""),
        form=form,
    )
    return {"entry": {**asdict(entry), "overrides": []}, "spec": each.get("spec")}


def _read(home: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads((home / _FILE).read_bytes()))
    except FileNotFoundError:
        return []


def imported(home: Path) -> list[CatalogEntry]:
    """What was imported, by name."""
    return sorted((CatalogEntry.from_json(each["entry"]) for each in _read(home)), key=lambda e: e.name)


def imported_spec(home: Path, package: str) -> dict[str, Any] | None:
    """The specification that the registry holds of a package: shown without installing it."""
    return next((dict(e["spec"]) for e in _read(home) if e["entry"]["package"] == package and e["spec"]), None)
