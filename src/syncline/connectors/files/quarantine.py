"""A quarantine file: JSON lines, one row each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set

from syncline.sdk.quarantine import QuarantineEntry

__all__ = ["entries_of", "without"]


def entries_of(data: bytes) -> Iterator[QuarantineEntry]:
    """The rows of a file, in its order."""
    for line in data.splitlines():
        if line.strip():
            row = json.loads(line)
            yield QuarantineEntry(
                id=row.get("id", ""),
                generation=row["generation"],
                partition=row["partition_id"],
                sync_id=row["sync_id"],
                column=row["column_name"],
                reason=row["reason"],
                record=row["record"],
                at=row["quarantined_at"],
                original=row.get("original", ""),
            )


def without(data: bytes, ids: Set[str]) -> tuple[bytes, int]:
    """The file without these rows, and how many there were."""
    lines = [line for line in data.splitlines(keepends=True) if line.strip()]
    left = [line for line in lines if json.loads(line).get("id", "") not in ids]
    return b"".join(left), len(lines) - len(left)
