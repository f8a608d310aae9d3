"""Comparing two ends by content, whatever engines keep them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from syncline.verify.columns import Chunking, ColumnSpec, cut_points
from syncline.verify.drill import Drilled, drill
from syncline.verify.duckdb_side import open_engine
from syncline.verify.report import VerifyReport
from syncline.verify.side import Progress, Side

__all__ = ["Comparison", "compare"]

#: Rows of one chunk: what is looked at row by row for one difference.
_CHUNK_ROWS = 100_000
#: The same where chunks are by hash: finding their rows takes a scan of everything, however few they are.
_HASH_CHUNK_ROWS = 1_000
_MOST_HASH_CHUNKS = 16_384
_JOIN_MEMORY = "128MB"
_MOST_CHUNKS = 1024
_UNKNOWN_SIZE_CHUNKS = 64
#: Keys sampled for each border: enough that chunks are within some ten percent of each other.
_SAMPLES_PER_CHUNK = 50


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What to compare. ``excluded`` names columns that are left out and why. ``chunks``: how many, None to let the size
    decide. ``quarantine`` is asked when the ends differ: given the key columns, the key texts of the rows that are kept
    beside the destination, and how many rows there are."""

    stream: str
    columns: tuple[ColumnSpec, ...]
    key: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    chunks: int | None = None
    quarantine: Callable[[Sequence[ColumnSpec]], tuple[Iterable[str], int]] | None = None
    notes: tuple[str, ...] = ()


def compare(
    source: Side, destination: Side, comparison: Comparison, *, work_dir: Path, progress: Progress | None = None
) -> VerifyReport:
    """Sum both ends chunk by chunk, at the same time, and look closely at the chunks that differ.

    The caller closes both ends. ``progress`` is called from several threads.
    """
    began = time.monotonic()
    report = progress or (lambda label, done, expected: None)
    columns, excluded = _comparable(source, destination, comparison)
    notes = list(comparison.notes)
    by_name = {column.name: column for column in columns}
    key = tuple(by_name[name] for name in comparison.key if name in by_name)
    if len(key) < len(comparison.key):
        notes.append(f"compared without the key ({', '.join(comparison.key)}): not all of its columns can be compared")
        key = ()
    # Only what the source has as `json` and the destination as `jsonb` is not the same text at both ends.
    ours = [replace(c, jsonb=True) if destination.jsonb(c.name) and not source.jsonb(c.name) else c for c in columns]
    chunking = _divide(source, destination, key, comparison.chunks)
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="verify") as pool:
        first = pool.submit(source.chunk_sums, ours, chunking, report)
        second = pool.submit(destination.chunk_sums, columns, chunking, report)
        source_sums, destination_sums = first.result(), second.result()
    differing = source_sums.differing(destination_sums)
    found = Drilled()
    if differing:
        with open_engine(work_dir, memory=_JOIN_MEMORY) as engine:
            aside, beside = comparison.quarantine(key) if comparison.quarantine else ((), 0)
            found = drill(
                engine,
                (source, ours, source_sums),
                (destination, columns, destination_sums),
                chunking,
                differing,
                aside,
            )
        _excuse_keyless(found, chunking, beside)
    counts = found.counts
    return VerifyReport(
        stream=comparison.stream,
        equal=found.complete and not (counts["missing"] or counts["extra"] or counts["different"]),
        source_rows=source_sums.total.count,
        destination_rows=destination_sums.total.count,
        columns=tuple(column.name for column in columns),
        key=tuple(column.name for column in key),
        missing=counts["missing"],
        extra=counts["extra"],
        different=counts["different"],
        pending=counts["pending"],
        quarantined=counts["quarantined"],
        complete=found.complete,
        chunks=chunking.number,
        differing_chunks=len(found.chunks) if found.complete else len(differing),
        ranges=tuple(found.ranges),
        examples=tuple(found.examples),
        quarantined_examples=tuple(found.quarantined),
        excluded=excluded,
        moments={"source": source.moment(), "destination": destination.moment()},
        notes=(*notes, *source.notes, *destination.notes),
        seconds=time.monotonic() - began,
    )


def _comparable(source: Side, destination: Side, comparison: Comparison) -> tuple[list[ColumnSpec], dict[str, str]]:
    """The columns that both ends can write, and why not the others."""
    columns, excluded = [], dict(comparison.excluded)
    for column in comparison.columns:
        reasons = [
            f"at the {end} it {reason}"
            for end, side in (("source", source), ("destination", destination))
            if (reason := side.refusal(column))
        ]
        if reasons:
            excluded[column.name] = "; ".join(reasons)
        else:
            columns.append(column)
    return columns, excluded


def _divide(source: Side, destination: Side, key: Sequence[ColumnSpec], chunks: int | None) -> Chunking:
    rows = max(source.estimated_rows(), destination.estimated_rows())
    width = 0
    while width < len(key) and source.orders(key[width]) and destination.orders(key[width]):
        width += 1
    size, most = (_CHUNK_ROWS, _MOST_CHUNKS) if width else (_HASH_CHUNK_ROWS, _MOST_HASH_CHUNKS)
    number = chunks or (_UNKNOWN_SIZE_CHUNKS if rows < 0 else -(-rows // size))
    number = min(max(number, 1), most)
    if not width or number == 1:
        return Chunking(key=tuple(key), number=number)
    want = number * _SAMPLES_PER_CHUNK
    sample = source.sample(key[:width], want) or destination.sample(key[:width], want)
    return cut_points(key, width, sample, number)


def _excuse_keyless(found: Drilled, chunking: Chunking, quarantined: int) -> None:
    """Without a key nobody can say which of the rows are in quarantine: as many may be missing."""
    if chunking.key or not quarantined:
        return
    excused = min(found.counts["missing"], quarantined)
    found.counts["missing"] -= excused
    found.counts["quarantined"] += excused
    if not found.counts["missing"]:
        found.examples = [e for e in found.examples if e.what != "missing"]
