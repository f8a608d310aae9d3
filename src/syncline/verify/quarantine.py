"""Rows that are kept beside the destination: their keys as canonical text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from syncline.verify.canonical import Kind, cell, row_text
from syncline.verify.columns import ColumnSpec

__all__ = ["Record", "cell_of_text", "key_texts", "records_of_lines"]

#: A row's values as text for people, as the quarantine keeps them.
Record = Mapping[str, str | None]


def key_texts(records: Iterable[Record], key: Sequence[ColumnSpec]) -> set[str]:
    """The key's text of each record that has one."""
    found = set()
    for record in records:
        if all(column.name in record for column in key):
            found.add(row_text(cell_of_text(record[column.name], column.kind) for column in key))
    return found


def records_of_lines(data: bytes) -> list[Record]:
    """The records of a quarantine file: JSON lines, each with its ``record``."""
    return [json.loads(line)["record"] for line in data.splitlines() if line.strip()]


def cell_of_text(text: str | None, kind: Kind) -> str | None:
    """The canonical cell of a value that was written for people. What cannot be read is taken as it is: it then matches
    nothing, and its row shows as a difference."""
    if text is None:
        return None
    try:
        return cell(_value(text, kind.name), kind)
    except (ValueError, KeyError, ArithmeticError):
        return text


def _value(text: str, kind: str) -> Any:
    if kind == "bool":
        return {"true": True, "t": True, "false": False, "f": False}[text.lower()]
    if kind == "int":
        return int(text)
    if kind == "numeric":
        return Decimal(text)
    if kind == "float":
        return float(text)
    if kind == "bytes":
        return bytes.fromhex(text.removeprefix("\\x"))
    if text in ("infinity", "-infinity"):
        return text
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "time":
        return 86_400_000_000 if text.startswith("24:") else time.fromisoformat(text)
    if kind == "timestamp":
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return text
