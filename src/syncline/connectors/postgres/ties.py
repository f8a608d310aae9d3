"""Rows that share the cursor's boundary value, told apart where there is no key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql as compose

__all__ = ["tied_rows"]


def tied_rows(table: compose.Composable, columns: Sequence[str], ties: Mapping[str, Any]) -> compose.Composable:
    raise NotImplementedError
