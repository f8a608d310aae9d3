"""Finds the numbers (attnum) of columns that are known by name only, so that a rename is not taken for another column.

A Relation message and a stream's schema both list columns in the order of their numbers, without the numbers. Names
that the catalogue still has fix some of them; what lies between is found where only one way is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["Unclear", "number_columns"]


class Unclear(Exception):  # noqa: N818 - an answer, not a failure
    """There is more than one way to number the columns, or none."""


def number_columns(names: Sequence[str], anchors: Mapping[str, int], free: Sequence[int]) -> dict[str, int]:
    """``name -> number`` for ``names`` in the order of their numbers. ``anchors`` are known already; ``free`` are the
    numbers that the others may have. Raises :class:`Unclear`."""
    found: dict[str, int] = {}
    waiting: list[str] = []
    last = 0
    for name in names:
        if name not in anchors:
            waiting.append(name)
            continue
        number = anchors[name]
        if number <= last:
            raise Unclear
        found.update(_between(waiting, [n for n in free if last < n < number]))
        found[name], last, waiting = number, number, []
    found.update(_between(waiting, [n for n in free if n > last]))
    return {name: found[name] for name in names}


def _between(names: Sequence[str], numbers: Sequence[int]) -> dict[str, int]:
    """Names in order onto numbers in order: unique only when there are as many of both."""
    if not names:
        return {}
    if len(names) != len(numbers):
        raise Unclear
    return dict(zip(names, numbers, strict=True))
