"""A destination of Airbyte's, behind our contract, keeps what can be kept: its rows are looked at in its own tables."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import DestinationConformance

PROGRAM = Path(__file__).parents[1] / "integration" / "airbyte" / "table_keeper.py"


class _Keeper:
    gaps: dict[str, str] = {}

    def __init__(self, folder: Path, *, refreshes: bool) -> None:
        self._file, self._journal = folder / "kept.sqlite", folder / "journal"
        config = {
            "command": [sys.executable, "-S", str(PROGRAM)],
            "config": {"file": str(self._file), "refreshes": refreshes},
            "journal": str(self._journal),
            "supports_refreshes": refreshes,
        }
        self._reference = ConnectorReference(type="airbyte", config=config)

    def reference(self) -> ConnectorReference:
        return self._reference

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]] | None:
        con = sqlite3.connect(self._file)
        try:
            known = [row[1] for row in con.execute('PRAGMA table_info("shop.items")')]
            if not known:
                return None
            names = ", ".join(f'"{c}"' if c in known else "NULL" for c in columns)
            found = con.execute(f'SELECT {names} FROM "shop.items"').fetchall()
        finally:
            con.close()
        return [tuple(_value(c, text) for c, text in zip(columns, row, strict=True)) for row in found]

    def quarantined(self) -> int:
        files = [p for p in self._journal.rglob("quarantine/*.jsonl") if "stage" not in p.parts]
        return sum(len(p.read_bytes().splitlines()) for p in files)


def _value(column: str, text: str | None) -> Any:
    said = None if text is None else json.loads(text)
    if column == "amount" and said is not None:
        return Decimal(str(said))
    return datetime.fromisoformat(said) if column == "seen_at" and said is not None else said


@pytest.mark.slow
class TestWithoutRefreshes(DestinationConformance):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> _Keeper:
        return _Keeper(tmp_path, refreshes=False)


@pytest.mark.slow
class TestWithRefreshes(DestinationConformance):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> _Keeper:
        return _Keeper(tmp_path, refreshes=True)
