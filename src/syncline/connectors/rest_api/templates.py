"""Placeholders in a request: ``{since}``, ``{until}``, ``{after}``, ``{limit}``, ``{offset}``, ``{page}``,
``{parent.FIELD}``.

Only these names are looked for: other braces stay. A text that is nothing but a placeholder becomes the value itself
(a number stays one). What has no value takes its surroundings along: a parameter, a top-level entry of the body, or the
element of a list in it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

__all__ = ["filled", "filled_path", "names_in"]

_NAME = re.compile(r"\{(since|until|after|limit|offset|page|parent\.[^{}]+)\}")
_MISSING = object()


def names_in(value: Any) -> set[str]:
    """The placeholders that occur anywhere in it."""
    if isinstance(value, str):
        return set(_NAME.findall(value))
    if isinstance(value, Mapping):
        return {name for inner in value.values() for name in names_in(inner)}
    if isinstance(value, list | tuple):
        return {name for inner in value for name in names_in(inner)}
    return set()


def filled(value: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with its placeholders replaced."""
    done = {key: _fill(inner, values) for key, inner in value.items()}
    return {key: inner for key, inner in done.items() if inner is not _MISSING}


def filled_path(path: str, values: Mapping[str, Any]) -> str:
    """A path; values are quoted, so that they cannot add parts to it."""
    return _NAME.sub(lambda m: quote(str(values.get(m[1], "")), safe=""), path)


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        if whole := _NAME.fullmatch(value):
            found = values.get(whole[1])
            return _MISSING if found is None else found
        names = _NAME.findall(value)
        if any(values.get(n) is None for n in names):
            return _MISSING
        return _NAME.sub(lambda m: str(values[m[1]]), value) if names else value
    if isinstance(value, Mapping):
        done = {key: _fill(inner, values) for key, inner in value.items()}
        return _MISSING if any(v is _MISSING for v in done.values()) else done
    if isinstance(value, list | tuple):
        return [done for inner in value if (done := _fill(inner, values)) is not _MISSING]
    return value
