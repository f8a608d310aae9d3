"""Identifiers and literals in MySQL's SQL."""

from __future__ import annotations

from syncline.core.stream import StreamName

__all__ = ["quoted", "table_name", "text_literal"]


def quoted(name: str) -> str:
    """An identifier; every place where one goes into SQL passes here."""
    return "`" + name.replace("`", "``") + "`"


def table_name(stream: StreamName) -> str:
    return f"{quoted(stream.namespace)}.{quoted(stream.name)}" if stream.namespace else quoted(stream.name)


def text_literal(value: str) -> str:
    """Text as hexadecimal digits with its character set: nothing to escape, whatever the session's modes are."""
    return f"_utf8mb4 X'{value.encode().hex()}'"
