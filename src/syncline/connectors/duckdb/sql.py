"""Names and literals in DuckDB's SQL. Every identifier passes through :func:`quote`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["TableName", "folded", "literal", "quote", "quoted_list"]


def quote(name: str) -> str:
    """A name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quoted_list(names: Iterable[str]) -> str:
    return ", ".join(quote(n) for n in names)


def literal(text: str) -> str:
    """Text as an SQL literal, for the places where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


def folded(name: str) -> str:
    """The form in which DuckDB compares names: ASCII letters lose their case, all others keep it."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)


@dataclass(frozen=True, kw_only=True)
class TableName:
    """A table of one schema; ``str()`` is its quoted form. ``catalog`` None is the database file's own."""

    schema: str
    name: str
    catalog: str | None = None

    def __str__(self) -> str:
        own = f"{quote(self.schema)}.{quote(self.name)}"
        return own if self.catalog is None else f"{quote(self.catalog)}.{own}"
