"""What a comparison found, as JSON and for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Difference", "DifferingRange", "VerifyReport"]

#: Longest value shown.
_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One example. ``what`` is missing (not at the destination), extra (not at the source) or different. ``key`` holds
    the key columns' values for people; without a key, the whole row's. ``columns``: of a different row, each column
    that differs with (source, destination)."""

    what: str
    key: Mapping[str, str | None]
    source_rows: int = 1
    destination_rows: int = 1
    columns: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"what": self.what, "key": dict(self.key)}
        if self.columns:
            out["columns"] = {n: {"source": s, "destination": d} for n, (s, d) in self.columns.items()}
        if max(self.source_rows, self.destination_rows) > 1:
            out["source_rows"], out["destination_rows"] = self.source_rows, self.destination_rows
        return out

    def __str__(self) -> str:
        key = ", ".join(f"{n}={_short(v)}" for n, v in self.key.items())
        text = f"{self.what}: {key}"
        if max(self.source_rows, self.destination_rows) > 1:
            text += f" ({self.source_rows} times at the source, {self.destination_rows} at the destination)"
        if self.columns:
            text += ": " + ", ".join(f"{n} {_short(s)} -> {_short(d)}" for n, (s, d) in self.columns.items())
        return text


@dataclass(frozen=True, kw_only=True)
class DifferingRange:
    """A range of keys in which the ends differ. ``first`` and ``last`` are the outermost differing keys where they were
    looked at (``exact``), otherwise the borders of the chunk (None: open)."""

    first: list[str | None] | None
    last: list[str | None] | None
    exact: bool
    source_rows: int
    destination_rows: int
    missing: int = 0
    extra: int = 0
    different: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "last": self.last,
            "exact": self.exact,
            "source_rows": self.source_rows,
            "destination_rows": self.destination_rows,
            "missing": self.missing,
            "extra": self.extra,
            "different": self.different,
        }

    def __str__(self) -> str:
        first, last = (("…" if k is None else ", ".join(_short(v) for v in k)) for k in (self.first, self.last))
        counts = f"{self.missing} missing, {self.extra} extra, {self.different} different"
        return f"{first} to {last}: {counts if self.exact else 'differs'}"


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """The result for one stream.

    ``source_rows`` and ``destination_rows`` are all rows of the two ends as far as they take part; ``missing``,
    ``extra``, ``different`` count rows, exactly when ``complete``, otherwise at least so many. ``pending`` rows differ
    because they changed at the source after the last sync's position, ``quarantined`` ones because they are kept beside
    the destination: neither makes the ends unequal. ``excluded``: columns that were not compared, with the reason.
    ``moments``: when each end was read.
    """

    stream: str
    equal: bool
    source_rows: int
    destination_rows: int
    columns: tuple[str, ...]
    key: tuple[str, ...]
    missing: int = 0
    extra: int = 0
    different: int = 0
    pending: int = 0
    quarantined: int = 0
    complete: bool = True
    chunks: int = 1
    differing_chunks: int = 0
    ranges: tuple[DifferingRange, ...] = ()
    examples: tuple[Difference, ...] = ()
    quarantined_examples: tuple[Mapping[str, str | None], ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    moments: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "stream": self.stream,
            "equal": self.equal,
            "source_rows": self.source_rows,
            "destination_rows": self.destination_rows,
            "missing": self.missing,
            "extra": self.extra,
            "different": self.different,
            "pending": self.pending,
            "quarantined": self.quarantined,
            "complete": self.complete,
            "columns": list(self.columns),
            "key": list(self.key),
            "chunks": self.chunks,
            "differing_chunks": self.differing_chunks,
            "ranges": [r.to_json() for r in self.ranges],
            "examples": [e.to_json() for e in self.examples],
            "quarantined_examples": [dict(q) for q in self.quarantined_examples],
            "excluded": dict(self.excluded),
            "moments": dict(self.moments),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }

    def summary(self) -> str:
        """Some lines for people; the first one says it all."""
        compared = f"{len(self.columns)} columns, {self.chunks} chunk{'s' if self.chunks != 1 else ''}"
        rows = f"{self.source_rows:,} source rows, {self.destination_rows:,} destination rows"
        lines = [f"{self.stream}: {'equal' if self.equal else 'NOT EQUAL'} ({rows}; {compared}; {self.seconds:.1f} s)"]
        if not self.equal:
            atleast = "" if self.complete else "at least "
            lines.append(
                f"  {atleast}{self.missing:,} missing, {self.extra:,} extra, {self.different:,} different rows in "
                f"{self.differing_chunks} of {self.chunks} chunks"
            )
            lines += [f"  keys {r}" for r in self.ranges]
            lines += [f"  {e}" for e in self.examples]
        if self.pending:
            lines.append(f"  {self.pending:,} rows at the source are newer than the last sync")
        if self.quarantined:
            some = "; ".join(", ".join(f"{n}={_short(v)}" for n, v in q.items()) for q in self.quarantined_examples)
            lines.append(f"  {self.quarantined:,} rows are in quarantine{': ' + some if some else ''}")
        lines += [f"  not compared: column {name} ({reason})" for name, reason in self.excluded.items()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def _short(value: str | None) -> str:
    if value is None:
        return "NULL"
    shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    return shown if re.fullmatch(r"[\w.:+-]+", value) and value != "NULL" else repr(shown)
