"""What a change leaves alone: a field that was not sent is not a field that was sent empty."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, TypeVar

__all__ = ["UNSET", "Unset", "given", "kept"]

T = TypeVar("T")


class Unset(Enum):
    """The type of :data:`UNSET`, for annotations."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


def kept(new: T | Unset, old: T) -> T:
    """The new value if there is one."""
    return old if isinstance(new, Unset) else new


def given(**values: Any) -> dict[str, Any]:
    """Those that are set."""
    return {name: value for name, value in values.items() if not isinstance(value, Unset)}
