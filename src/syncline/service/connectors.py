"""Use case: find connectors and install those that are packages of their own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.packages.catalog import CatalogEntry, catalog, find
from syncline.sdk.packages.environment import install, installed, wish_for
from syncline.sdk.packages.registry import import_registry, imported, imported_spec
from syncline.settings import load_settings

__all__ = [
    "Installable",
    "describe",
    "import_connectors",
    "install_connector",
    "installables",
    "specification_of",
    "update_connectors",
]


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
            "form": e.form,
            "installed": list(self.versions),
        }


def installables(word: str = "") -> list[Installable]:
    """The catalog and what was imported, narrowed to entries with ``word`` in their name, title or package."""
    home = load_settings().connectors
    here: dict[str, list[str]] = {}
    for environment in installed(home):
        here.setdefault(environment.package, []).append(environment.version)
    wanted = word.lower()
    return [
        Installable(entry=e, versions=tuple(here.get(e.package, ())))
        for e in _entries(home)
        if wanted in f"{e.name} {e.title} {e.package}".lower()
    ]


def describe(name: str) -> Installable:
    """One of them, by name or package. Raises ``config``."""
    entry = find(name, imported(load_settings().connectors))
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
    home = load_settings().connectors
    wish = wish_for(name, version=version, overrides=overrides, python=python, further=imported(home))
    done = install(home, wish, tell)
    return {
        "package": done.package,
        "version": done.version,
        "python": done.python,
        "overrides": list(done.overrides),
        "executable": str(done.executable),
    }


def _entries(home: Path) -> list[CatalogEntry]:
    ours = catalog()
    names = {e.name for e in ours}
    return [*ours, *(e for e in imported(home) if e.name not in names)]


def import_connectors(text: bytes) -> int:
    """Take the sources of a registry's JSON into the catalog of this machine; how many there are. Raises ``config``."""
    return import_registry(load_settings().connectors, text)


def update_connectors(name: str | None, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Install the catalog's version of a connector, or of every one of which another version is installed. The other
    versions stay: connections may name them. Raises ``config``."""
    chosen = [describe(name)] if name is not None else [i for i in installables() if i.versions and not i.ready]
    done = []
    for one in chosen:
        if not one.ready:
            tell(f"{one.entry.name}: {', '.join(one.versions) or 'not installed'} -> {one.entry.version}")
            done.append(install_connector(one.entry.name, version=None, overrides=None, python=None, tell=tell))
    return done


def specification_of(name: str) -> dict[str, Any]:
    """How a connector of the catalog is configured, in Airbyte's words. Asked of the installed connector once and kept;
    of one that is not installed, what an imported registry says. Raises ``config``."""
    home = load_settings().connectors
    one = describe(name)
    entry = one.entry
    kept = home / "specifications" / f"{entry.package}-{entry.version}.json"
    if kept.exists():
        return dict(json.loads(kept.read_bytes()))
    if not one.ready and (found := imported_spec(home, entry.package)) is not None:
        return found
    # Arrow and pydantic come with these; listing and searching, which people wait for, do without.
    from syncline.sdk.connector import ConnectorContext
    from syncline.sdk.reference import ConnectorReference, open_source
    from syncline.sdk.source import TellsSpecification

    with tempfile.TemporaryDirectory(prefix="syncline-spec-") as folder:
        context = ConnectorContext(connection="spec", work_dir=Path(folder))
        reference = ConnectorReference(type="airbyte", config={"package": entry.name})
        with closing(open_source(reference, context)) as source:
            if not isinstance(source, TellsSpecification):
                raise SynclineError(ErrorKind.INTERNAL, "the connector airbyte tells no specification")
            found = dict(source.specification())
    kept.parent.mkdir(parents=True, exist_ok=True)
    new = kept.with_suffix(".new")
    new.write_text(json.dumps(found))
    new.replace(kept)
    return found
