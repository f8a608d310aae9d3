"""Use case: find connectors and install those that are packages of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.packages.catalog import CatalogEntry, catalog, find
from syncline.sdk.packages.environment import install, installed, wish_for
from syncline.settings import load_settings

__all__ = ["Installable", "describe", "install_connector", "installables"]


@dataclass(frozen=True, kw_only=True)
class Installable:
    """A connector of the catalog; ``versions`` are those that are installed here."""

    entry: CatalogEntry
    versions: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether the catalog's own version is installed."""
        return self.entry.version in self.versions

    def to_json(self) -> dict[str, Any]:
        e = self.entry
        return {
            "name": e.name,
            "role": "source",
            "type": "airbyte",
            "title": e.title,
            "package": e.package,
            "version": e.version,
            "python": e.python,
            "overrides": list(e.overrides),
            "licence": e.licence,
            "definition": e.definition,
            "docs": e.docs,
            "installed": list(self.versions),
        }


def installables(word: str = "") -> list[Installable]:
    """The catalog, narrowed to entries with ``word`` in their name, title or package."""
    here: dict[str, list[str]] = {}
    for environment in installed(load_settings().connectors):
        here.setdefault(environment.package, []).append(environment.version)
    wanted = word.lower()
    return [
        Installable(entry=e, versions=tuple(here.get(e.package, ())))
        for e in catalog()
        if wanted in f"{e.name} {e.title} {e.package}".lower()
    ]


def describe(name: str) -> Installable:
    """One of them, by name or package. Raises ``config``."""
    entry = find(name)
    found = [i for i in installables() if entry is not None and i.entry.name == entry.name]
    if not found:
        raise SynclineError(ErrorKind.CONFIG, f"the catalog does not know {name!r}", hint="syncline connectors search")
    return found[0]


def install_connector(
    name: str,
    *,
    version: str | None,
    overrides: Sequence[str] | None,
    python: str | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Install a connector of the catalog, or any package that is one. Gives what there is now. Raises ``config``."""
    wish = wish_for(name, version=version, overrides=overrides, python=python)
    done = install(load_settings().connectors, wish, tell)
    return {
        "package": done.package,
        "version": done.version,
        "python": done.python,
        "overrides": list(done.overrides),
        "executable": str(done.executable),
    }
