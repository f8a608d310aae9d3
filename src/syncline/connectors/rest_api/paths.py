"""Paths into JSON text: ``data.items``, ``results[*].line``, ``['odd.key']``, ``$``. Values stay text until one is
wanted: a page of records is never decoded as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

__all__ = ["Step", "fields_of", "found_at", "getter", "parse_path", "value_at"]

Step = str | int | None
"""A key, an index, or None for every element."""

_PART = re.compile(r"\[(\*|-?[0-9]+|'(?:[^']*)'|\"(?:[^\"]*)\")\]|\.?([^.\[\]]+)")

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path. ValueError for what is none."""
    rest = text.strip().removeprefix("$").removeprefix(".")
    steps: list[Step] = []
    at = 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None:
            raise ValueError(f"{text!r} is no path: write data.items, results[*].line or ['odd.key']")
        inside, name = match.groups()
        if name is not None:
            steps.append(None if name == "*" else name)
        elif inside == "*":
            steps.append(None)
        else:
            steps.append(inside[1:-1] if inside[0] in "'\"" else int(inside))
        at = match.end()
    return tuple(steps)


def fields_of(raw: Any) -> dict[str, Any]:
    """An object's fields, their values as text. Raises msgspec.DecodeError for anything else."""
    return _object(raw)


def found_at(raw: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    """Every value at the path, as text; what is not there is passed over."""
    if not steps:
        yield raw
        return
    first, rest = steps[0], steps[1:]
    kind = bytes(raw).lstrip()[:1]
    if isinstance(first, str):
        if kind == b"{" and (inner := _object(raw).get(first)) is not None:
            yield from found_at(inner, rest)
        return
    if kind != b"[":
        return
    items = _array(raw)
    if first is None:
        for item in items:
            yield from found_at(item, rest)
    elif -len(items) <= first < len(items):
        yield from found_at(items[first], rest)


def getter(path: str) -> Callable[[Any], Any]:
    """:func:`value_at` for one path and many records: of an object's own field nothing else is decoded."""
    steps = parse_path(path)
    if len(steps) != 1 or not isinstance(steps[0], str) or not steps[0].isprintable() or set(steps[0]) & {'"', "\\"}:
        return lambda raw: value_at(raw, steps)
    kind: Any = msgspec.defstruct("One", [("value", Any, None)], rename={"value": steps[0]})
    decode = msgspec.json.Decoder(kind).decode
    return lambda raw: decode(raw).value


def value_at(raw: Any, steps: tuple[Step, ...]) -> Any:
    """The first value at the path, decoded; None where there is none."""
    for found in found_at(raw, steps):
        return msgspec.json.decode(found)
    return None
