"""The memory destination keeps the contract too: it is what the engine is tested with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import ChangeConformance, DestinationConformance
from syncline.testing.memory import register_memory, world

register_memory()


class Driver:
    gaps = {
        "test_an_unsafe_retype_stops_the_stream": "memory has no types",
        "test_a_type_widens_and_an_unsafe_one_is_refused": "memory has no types",
        "test_a_killed_flush_leaves_nothing": "memory dies with its process",
    }

    def __init__(self) -> None:
        self.name = uuid4().hex

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="memory", config={"world": self.name})

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]] | None:
        found = world(self.name).visible.get("shop.items")
        return None if found is None else [tuple(r.get(c) for c in columns) for r in found]

    def quarantined(self) -> int:
        return sum(len(rows) for rows in world(self.name).quarantined.values())


class TestMemory(DestinationConformance):
    @pytest.fixture
    def driver(self) -> Driver:
        return Driver()


class TestMemoryChanges(ChangeConformance):
    @pytest.fixture
    def driver(self) -> Driver:
        return Driver()
