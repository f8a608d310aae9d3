"""Which streams a block of mappings means."""

from __future__ import annotations

import fnmatch
import time

import pytest

from syncline.core.schema import StreamSchema
from syncline.core.stream import Catalog, Stream, StreamName
from syncline.sdk.mapping.blocks import checked_blocks, mapped_catalog

NAMES = ("a", "aa", "aba", "ab", "orders", "orders_2024", "Orders", "a.b", "[x]", "")


def left_out(pattern: str, *names: str) -> set[str]:
    """The streams that a block which deselects leaves out."""
    catalog = Catalog(streams=tuple(Stream(name=StreamName(name=n), schema=StreamSchema(fields=())) for n in names))
    kept = mapped_catalog(catalog, checked_blocks([{"from": pattern, "select": False}])).streams
    return set(names) - {s.name.name for s in kept}


@pytest.mark.parametrize("pattern", ["*", "a*", "*a", "a*a", "a*b*a", "orders*", "*_20*4", "[x]*", "**", "*a*a*"])
def test_a_star_stands_for_any_text(pattern: str) -> None:
    as_shells_do = pattern.replace("[", "[[]")
    assert left_out(pattern, *NAMES) == {n for n in NAMES if fnmatch.fnmatchcase(n, as_shells_do)}


def test_many_stars_cost_no_more_than_few() -> None:
    began = time.process_time()
    assert left_out("*a" * 30 + "*b", "a" * 200) == set()
    assert time.process_time() - began < 1
