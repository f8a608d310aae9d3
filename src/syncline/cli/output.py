"""How the command line speaks: lines for people on a terminal or off it, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

from syncline.core.errors import SynclineError

__all__ = ["fail_with", "human_bytes", "human_seconds", "print_error", "print_json", "table"]


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def fail_with(error: SynclineError) -> int:
    """Say what happened, where and what to do, on standard error; returns the exit code of its kind."""
    if "--json" in sys.argv:
        print_json({"error": error.to_json()})
    else:
        print_error(error)
    return error.policy.exit_code


def print_error(error: SynclineError) -> None:
    where = ", ".join(f"{k} {v}" for k, v in error.where.items())
    print(f"error ({error.kind.value}): {error.message}" + (f" [{where}]" if where else ""), file=sys.stderr)
    if error.hint:
        print(f"  next: {error.hint}", file=sys.stderr)


def human_bytes(count: float) -> str:
    """``1.5 MB``; 1 MB = 10^6 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def table(header: list[str], rows: list[list[str]]) -> None:
    """Left-aligned columns of plain text; readable off a terminal and by grep."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
