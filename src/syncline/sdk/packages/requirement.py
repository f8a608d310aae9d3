"""``Requires-Python`` as packages declare it (PEP 440 specifiers), compared by us: uv leaves out the upper bound."""

from __future__ import annotations

import re

__all__ = ["allows"]

_ONE = re.compile(r"\s*(~=|==|!=|<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)*)(\.\*)?\s*")


def allows(requirement: str, version: tuple[int, ...]) -> bool:
    """Whether a Python of that version (3, 11, 7) meets ``>=3.10,<3.12``. An empty requirement allows all; a clause
    that cannot be read allows none, so that nothing is installed on a misunderstanding."""
    return all(_one(clause, version) for clause in requirement.split(",") if clause.strip())


def _one(clause: str, version: tuple[int, ...]) -> bool:
    match = _ONE.fullmatch(clause)
    if match is None:
        return False
    said = tuple(int(part) for part in match[2].split("."))
    prefix = version[: len(said)]
    if match[3]:
        return (prefix == said) == (match[1] == "==")
    length = max(len(said), len(version))
    left, right = (v + (0,) * (length - len(v)) for v in (version, said))
    match match[1]:
        case ">=":
            return left >= right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case "<":
            return left < right
        case "==":
            return left == right
        case "!=":
            return left != right
        case _:
            return left >= right and version[: len(said) - 1] == said[:-1]
