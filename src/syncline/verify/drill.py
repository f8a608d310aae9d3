"""Looking closely at the chunks that differ: which keys, and in which columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa

from syncline.verify.canonical import split_cells
from syncline.verify.columns import Chunking, ColumnSpec, readable
from syncline.verify.report import Difference, DifferingRange
from syncline.verify.side import KEY_HASHES, RowCells, Side
from syncline.verify.sums import Sums

__all__ = ["Drilled", "drill"]

#: Keys joined at once; more go to disk.
_BATCH_ROWS = 4_000_000
#: Beyond this, chunks are named and not looked into.
_MOST_ROWS = 40_000_000
_EXAMPLES = 10
_RANGES = 10
#: Differing keys of one chunk that are sorted to name its range.
_RANGE_KEYS = 1000

#: The rows of each key at both ends, where they are not the same. A row of the source that is pending, or in
#: quarantine, excuses its key. Hashes of a key that has several rows are compared as a set, by their sum and extremes.
_JOIN = """
CREATE OR REPLACE TEMP TABLE differing AS
WITH s AS (
    SELECT key, any_value(chunk) AS chunk, count(*) AS n, bool_or(pending) AS pending,
           min(hash) AS low, max(hash) AS high, sum(('0x' || left(hash, 16))::UBIGINT) AS total
    FROM source_rows GROUP BY key
), d AS (
    SELECT key, any_value(chunk) AS chunk, count(*) AS n,
           min(hash) AS low, max(hash) AS high, sum(('0x' || left(hash, 16))::UBIGINT) AS total
    FROM destination_rows GROUP BY key
), joined AS (
    SELECT coalesce(s.key, d.key) AS key, coalesce(s.chunk, d.chunk) AS chunk, coalesce(s.n, 0) AS source,
           coalesce(d.n, 0) AS destination, coalesce(s.pending, false) AS pending
    FROM s FULL JOIN d ON s.key = d.key
    WHERE s.n IS DISTINCT FROM d.n OR s.low <> d.low OR s.high <> d.high OR s.total <> d.total
)
SELECT key, chunk, source, destination,
       CASE WHEN pending THEN 'pending'
            WHEN source > 0 AND key IN (SELECT key FROM quarantine) THEN 'quarantined'
            WHEN source > destination THEN 'missing'
            WHEN source < destination THEN 'extra'
            ELSE 'different' END AS what
FROM joined
"""

_ROWS = "CASE what WHEN 'missing' THEN source - destination WHEN 'extra' THEN destination - source ELSE source END"
_CLASSES = ("missing", "extra", "different", "pending", "quarantined")


@dataclass(kw_only=True)
class Drilled:
    """What was found in the differing chunks, by row. ``complete``: all of them were looked into."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_CLASSES, 0))
    ranges: list[DifferingRange] = field(default_factory=list)
    examples: list[Difference] = field(default_factory=list)
    quarantined: list[Mapping[str, str | None]] = field(default_factory=list)
    chunks: set[int] = field(default_factory=set)
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class _Found:
    key: str
    what: str
    source: int
    destination: int


def drill(
    engine: duckdb.DuckDBPyConnection,
    source: tuple[Side, Sequence[ColumnSpec], Sums],
    destination: tuple[Side, Sequence[ColumnSpec], Sums],
    chunking: Chunking,
    chunks: Sequence[int],
    quarantine: Iterable[str] = (),
) -> Drilled:
    """Join both ends of these chunks by key. ``quarantine``: key texts of rows that are kept beside the destination."""
    result = Drilled()
    engine.execute("CREATE OR REPLACE TEMP TABLE quarantine (key VARCHAR)")
    keys = pa.table({"key": pa.array(sorted(set(quarantine)), pa.string())})
    engine.register("quarantine_keys", keys)
    engine.execute("INSERT INTO quarantine SELECT key FROM quarantine_keys")
    for batch in _batches(chunks, source[2], destination[2]):
        if batch is None:
            result.complete = False
            break
        for name, (side, columns, _) in (("source_rows", source), ("destination_rows", destination)):
            _load(engine, name, side.key_hashes(columns, chunking, batch))
        engine.execute(_JOIN)
        _count(engine, result)
        _examples(engine, result, source[:2], destination[:2], chunking, batch)
        _ranges(engine, result, source[2], destination[2], chunking)
    if not result.complete and chunking.cuts:
        for chunk in chunks:
            if chunk not in result.chunks and len(result.ranges) < _RANGES:
                result.ranges.append(_range_of(chunking, chunk, source[2], destination[2]))
    return result


def _batches(chunks: Sequence[int], source: Sums, destination: Sums) -> Iterator[list[int] | None]:
    """Groups of chunks that are joined at once; None where the rest is left."""
    batch: list[int] = []
    rows = total = 0
    for chunk in chunks:
        size = max(source.get(chunk).count, destination.get(chunk).count)
        if batch and rows + size > _BATCH_ROWS:
            yield batch
            batch, rows = [], 0
        if total and total + size > _MOST_ROWS:
            if batch:
                yield batch
            yield None
            return
        batch.append(chunk)
        rows += size
        total += size
    if batch:
        yield batch


def _load(engine: duckdb.DuckDBPyConnection, name: str, batches: Iterator[pa.RecordBatch]) -> None:
    arrived = (batch.cast(KEY_HASHES) for batch in batches)
    reader = pa.RecordBatchReader.from_batches(KEY_HASHES, arrived)
    engine.register("arriving", reader)
    engine.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM arriving")
    engine.unregister("arriving")


def _count(engine: duckdb.DuckDBPyConnection, result: Drilled) -> None:
    for what, rows in engine.execute(f"SELECT what, sum({_ROWS}) FROM differing GROUP BY what").fetchall():
        result.counts[what] += int(rows)


def _examples(
    engine: duckdb.DuckDBPyConnection,
    result: Drilled,
    source: tuple[Side, Sequence[ColumnSpec]],
    destination: tuple[Side, Sequence[ColumnSpec]],
    chunking: Chunking,
    chunks: Sequence[int],
) -> None:
    found: list[_Found] = []
    for what in ("missing", "extra", "different"):
        want = _EXAMPLES - sum(e.what == what for e in result.examples)
        rows = engine.execute(
            f"SELECT key, source, destination FROM differing WHERE what = '{what}' ORDER BY chunk, key LIMIT {want}"
        ).fetchall()
        found += [_Found(key=k, what=what, source=s, destination=d) for k, s, d in rows]
    look = [f.key for f in found if f.what == "different" or not chunking.key]
    ours = _by_key(source, chunking, chunks, look)
    theirs = _by_key(destination, chunking, chunks, look)
    names = [column.name for column in source[1]]
    kinds = [column.kind for column in source[1]]
    for f in found:
        a, b = ours.get(f.key), theirs.get(f.key)
        shown = a or b
        if chunking.key:
            key = _readable_key(chunking, f.key)
        else:
            key = {n: _cut(c, k) for n, c, k in zip(names, shown.cells if shown else (), kinds, strict=False)}
        columns = {}
        if chunking.key and a and b:
            for n, name in enumerate(names):
                if a.digests[n] != b.digests[n]:
                    columns[name] = (_cut(a.cells[n], kinds[n]), _cut(b.cells[n], kinds[n]))
        result.examples.append(
            Difference(what=f.what, key=key, source_rows=f.source, destination_rows=f.destination, columns=columns)
        )
    if chunking.key and len(result.quarantined) < _EXAMPLES:
        rows = engine.execute(
            f"SELECT key FROM differing WHERE what = 'quarantined' ORDER BY key LIMIT {_EXAMPLES}"
        ).fetchall()
        result.quarantined += [_readable_key(chunking, key) for (key,) in rows]


def _by_key(
    end: tuple[Side, Sequence[ColumnSpec]], chunking: Chunking, chunks: Sequence[int], keys: Sequence[str]
) -> dict[str, RowCells]:
    side, columns = end
    found: dict[str, RowCells] = {}
    for row in side.cells(columns, chunking, chunks, keys) if keys else ():
        found.setdefault(row.key, row)
    return found


def _ranges(
    engine: duckdb.DuckDBPyConnection, result: Drilled, source: Sums, destination: Sums, chunking: Chunking
) -> None:
    counts: dict[int, dict[str, int]] = {}
    for chunk, what, rows, keys in engine.execute(
        f"SELECT chunk, what, sum({_ROWS}), count(*) FROM differing WHERE what IN ('missing', 'extra', 'different') "
        "GROUP BY chunk, what ORDER BY chunk"
    ).fetchall():
        entry = counts.setdefault(chunk, {"keys": 0})
        entry[what] = int(rows)
        entry["keys"] += keys
    result.chunks |= set(counts)
    if not chunking.key and not chunking.cuts:
        return  # chunks by hash are no ranges of anything
    for chunk, entry in counts.items():
        if len(result.ranges) >= _RANGES:
            return
        keys = entry.pop("keys")
        found = replace(
            _range_of(chunking, chunk, source, destination),
            exact=True,
            missing=entry.get("missing", 0),
            extra=entry.get("extra", 0),
            different=entry.get("different", 0),
        )
        if chunking.key and keys <= _RANGE_KEYS:
            listed = engine.execute(
                f"SELECT key FROM differing WHERE chunk = {chunk} AND what IN ('missing', 'extra', 'different')"
            ).fetchall()
            ordered = sorted((_order(chunking, key), key) for (key,) in listed)
            first, last = (list(_readable_key(chunking, ordered[n][1]).values()) for n in (0, -1))
            found = replace(found, first=first, last=last)
        result.ranges.append(found)


def _range_of(chunking: Chunking, chunk: int, source: Sums, destination: Sums) -> DifferingRange:
    low, high = chunking.border(chunk)
    return DifferingRange(
        first=list(low) if low else None,
        last=list(high) if high else None,
        exact=False,
        source_rows=source.get(chunk).count,
        destination_rows=destination.get(chunk).count,
    )


def _order(chunking: Chunking, key: str) -> tuple[tuple[bool, float, str], ...]:
    """Sorts keys for people: numbers and times by value, everything else as text."""
    cells = split_cells(key, [column.kind for column in chunking.key])
    order = []
    for text, column in zip(cells, chunking.key, strict=True):
        number = 0.0
        if text and column.kind.name in ("int", "numeric", "date", "time", "timestamp"):
            try:
                number = float(text)
            except ValueError:
                number = float("inf")
        order.append((text is None, number, readable(text, column.kind) or ""))
    return tuple(order)


def _readable_key(chunking: Chunking, key: str) -> dict[str, str | None]:
    cells = split_cells(key, [column.kind for column in chunking.key])
    return {c.name: readable(text, c.kind) for c, text in zip(chunking.key, cells, strict=True)}


def _cut(cell: str, kind: object) -> str | None:
    from syncline.verify.canonical import Kind

    assert isinstance(kind, Kind)
    if not cell:
        return None
    try:
        return readable(cell, kind)
    except (ValueError, IndexError):
        return cell  # cut off in the middle
