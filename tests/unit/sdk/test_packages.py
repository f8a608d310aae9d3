"""Connectors that are packages: what the catalog knows, and what is refused before anything is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.packages.catalog import catalog
from syncline.sdk.packages.environment import Wish, executable_of, install, installed, wish_for


def test_the_catalog_pins_every_version_once() -> None:
    entries = catalog()
    assert len({e.name for e in entries}) == len({e.definition for e in entries}) == len(entries)
    for entry in entries:
        wish = wish_for(entry.name)
        assert (wish.package, wish.version, wish.overrides) == (entry.package, entry.version, entry.overrides)
        assert wish_for(entry.package) == wish


def test_another_version_takes_nothing_from_the_catalog() -> None:
    wish = wish_for("s3", version="4.14.2")
    assert wish == Wish(package="airbyte-source-s3", version="4.14.2")


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("strpe", None, "no connector 'strpe'"),
        ("airbyte-source-unheard-of", None, "which version"),
        ("airbyte-source-x", ">=1", "no package and exact version"),
        ("airbyte-source-x --index-url evil", "1", "no package and exact version"),
    ],
)
def test_what_is_not_one_package_and_version_is_refused(name: str, version: str | None, words: str) -> None:
    with pytest.raises(SynclineError, match=words) as raised:
        wish_for(name, version=version)
    assert raised.value.kind is ErrorKind.CONFIG


def test_a_python_outside_of_the_range_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(SynclineError, match=r"needs a Python >=9; this machine has .*3\.11"):
        install(tmp_path, Wish(package="airbyte-source-x", version="1", requires=">=9"), said.append)
    assert installed(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert said == []


def test_what_is_not_installed_says_how_to(tmp_path: Path) -> None:
    with pytest.raises(SynclineError) as raised:
        executable_of(tmp_path, wish_for("stripe"))
    assert raised.value.hint == "syncline connectors install airbyte-source-stripe --version 5.14.1"
