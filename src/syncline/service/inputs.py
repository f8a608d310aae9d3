"""What every text and every piece of JSON must be before it is stored: writable on both databases, and not endless."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from syncline.service.errors import invalid

__all__ = ["checked_json", "checked_name", "checked_number", "checked_text"]

#: Names are shown in lists; 256 characters are more than anybody reads.
NAME_LENGTH = 256
TEXT_LENGTH = 1_000_000
DEPTH = 64
#: What a column INTEGER of both databases holds.
INTEGER = 2**31 - 1


def checked_text(field: str, value: Any, *, length: int = TEXT_LENGTH) -> str:
    """Text that UTF-8 and Postgres can hold: without U+0000 and half surrogate pairs. Raises ``config``."""
    if not isinstance(value, str):
        raise invalid(field, f"must be text, not {type(value).__name__}")
    if "\0" in value:
        raise invalid(field, "contains the character U+0000")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise invalid(field, "contains half of a surrogate pair, which is no character") from None
    if len(value) > length:
        raise invalid(field, f"is longer than {length:,} characters")
    return value


def checked_name(field: str, value: Any) -> str:
    """A name: text, not blank, not long."""
    text = checked_text(field, value, length=NAME_LENGTH)
    if not text.strip():
        raise invalid(field, "must not be empty")
    return text


def checked_number(field: str, value: Any, *, least: int, most: int = INTEGER) -> int:
    """A whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(field, f"must be a whole number from {least} to {most}")
    return value


def checked_json(field: str, value: Any, depth: int = DEPTH) -> Any:
    """JSON as it came, if all its texts and numbers can be stored. Raises ``config`` with the place."""
    if depth == 0:
        raise invalid(field, f"is nested deeper than {DEPTH} levels")
    if isinstance(value, str):
        return checked_text(field, value)
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid(field, "is not a number that JSON knows")
    if isinstance(value, Mapping):
        return {
            checked_text(field, key): checked_json(f"{field}.{key}", each, depth - 1) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [checked_json(f"{field}[{number}]", each, depth - 1) for number, each in enumerate(value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise invalid(field, f"must be JSON, not {type(value).__name__}")
