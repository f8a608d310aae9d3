"""Stages into a table by key, and one row per key in a copy before it is published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.checkpoint import StreamTarget
from syncline.sdk.tables.keys import key_codes, newest
from syncline.sdk.tables.overlay import Overlay
from syncline.sdk.tables.reading import FileReader
from syncline.sdk.tables.table import TableFile

__all__ = ["losers", "merge_files", "only_newest"]

_Ints = npt.NDArray[np.int64]

#: ~96 MB of staged rows are deduplicated and merged at once.
_CHUNK_BYTES = 96 << 20
#: Keys of so many rows are held while duplicates are looked for.
_KEY_ROWS = 4_000_000


def merge_files(
    overlay: Overlay, reader: FileReader, files: Sequence[TableFile], target: StreamTarget, *, alone: bool
) -> None:
    """Every key's newest row of the staged files. Not ``alone``: the plan has brought rows before, and one of them that
    is newer stays."""
    key, cursor = list(target.primary_key), _cursor(target)
    for chunk in _chunks(reader, files):
        rows = chunk.take(pa.array(newest([chunk[k] for k in key], None if cursor is None else _ranked(chunk[cursor]))))
        if not alone and cursor is not None and "_syncline_sync_id" in rows.column_names:
            rows = _still_newer(overlay, rows, key, cursor, target.sync_id)
        overlay.upsert(rows)
        # Of two chunks of one commit the second must see what the first has brought.
        alone = False


def _cursor(target: StreamTarget) -> str | None:
    """The cursor, where it can tell two rows of a key apart."""
    cursor = target.cursor_field
    return cursor if cursor is not None and cursor not in target.primary_key else None


def _chunks(reader: FileReader, files: Sequence[TableFile]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    size = 0
    for file in files:
        for _, table in reader.tables(file):
            held.append(table)
            size += table.nbytes
            if size >= _CHUNK_BYTES:
                yield pa.concat_tables(held)
                held, size = [], 0
    if size or held:
        yield pa.concat_tables(held)


def _still_newer(overlay: Overlay, rows: pa.Table, key: list[str], cursor: str, sync_id: str) -> pa.Table:
    places, there = overlay.find(rows.select(key), [cursor, "_syncline_sync_id"])
    mine = pa.array(places, mask=places < 0)
    before = there.take(mine)
    ours = pc.equal(before["_syncline_sync_id"], sync_id)
    old, new = _ranked(before[cursor]), _ranked(rows[cursor])
    newer = pc.or_kleene(pc.greater(old, new), pc.and_(pc.is_valid(old), pc.is_null(new)))
    stale = pc.fill_null(pc.and_kleene(ours, newer), False)
    return rows.filter(pc.invert(stale))


def _ranked(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A cursor in a type that sorts as its values do. Text that is a number sorts as one."""
    if not pa.types.is_string(column.type):
        return column
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        return column


def losers(reader: FileReader, files: Sequence[TableFile], target: StreamTarget) -> dict[str, _Ints]:
    """The rows that must go so that every key is there once: of each file (by its key) the numbers of its rows. Files
    come in the order in which they were written.

    Only files whose ranges of keys overlap are looked at together; where those have many rows, one stretch of the first
    key column after the other."""
    key, cursor = list(target.primary_key), _cursor(target)
    found: dict[str, list[_Ints]] = {}
    for group in _overlapping(files, key[0]):
        bounds = _stretches(reader, group, key[0])
        for low, high in bounds:
            _lose(reader, group, key, cursor, low, high, found)
    return {name: np.sort(np.concatenate(parts)) for name, parts in found.items()}


def _lose(
    reader: FileReader,
    group: Sequence[TableFile],
    key: list[str],
    cursor: str | None,
    low: pa.Scalar | None,
    high: pa.Scalar | None,
    found: dict[str, list[_Ints]],
) -> None:
    columns = list(dict.fromkeys([*key, *([] if cursor is None else [cursor])]))
    tables, origins, numbers = [], [], []
    for place, file in enumerate(group):
        for start, read in reader.tables(file, columns):
            rows = np.arange(start, start + read.num_rows)
            mask = _between(read[key[0]], low, high)
            table = read
            if mask is not None:
                table, rows = read.filter(mask), rows[mask.to_numpy().astype(bool)]
            if table.num_rows:
                tables.append(table)
                origins.append(np.full(table.num_rows, place))
                numbers.append(rows)
    if not tables:
        return
    whole = pa.concat_tables(tables)
    codes = key_codes([whole[k] for k in key])
    if len(np.unique(codes)) == len(codes):
        return
    keep = newest([whole[k] for k in key], None if cursor is None else _ranked(whole[cursor]))
    gone = np.ones(whole.num_rows, np.bool_)
    gone[keep] = False
    origin, number = np.concatenate(origins)[gone], np.concatenate(numbers)[gone]
    for place in np.unique(origin).tolist():
        found.setdefault(group[place].key, []).append(number[origin == place])


def _between(column: pa.ChunkedArray, low: pa.Scalar | None, high: pa.Scalar | None) -> pa.ChunkedArray | None:
    mask = None
    if low is not None:
        mask = pc.greater_equal(column, low)
    if high is not None:
        below = pc.less(column, high)
        mask = below if mask is None else pc.and_(mask, below)
    return mask


def _overlapping(files: Sequence[TableFile], first: str) -> Iterator[list[TableFile]]:
    """Files by overlapping ranges of the first key column; those without bounds are with all others."""
    known = [f for f in files if (b := f.bounds.get(first)) and b.low is not None and b.high is not None]
    if len(known) < len(files):
        if files:
            yield list(files)
        return
    place = {f.key: i for i, f in enumerate(files)}
    group: list[TableFile] = []
    end: int | str | None = None
    for file in sorted(known, key=lambda f: f.bounds[first].low):  # type: ignore[arg-type,return-value]
        bounds = file.bounds[first]
        if group and end is not None and bounds.low > end:  # type: ignore[operator]
            yield sorted(group, key=lambda f: place[f.key])
            group, end = [], None
        group.append(file)
        end = bounds.high if end is None else max(end, bounds.high)  # type: ignore[type-var]
    if group:
        yield sorted(group, key=lambda f: place[f.key])


def _stretches(
    reader: FileReader, group: Sequence[TableFile], first: str
) -> list[tuple[pa.Scalar | None, pa.Scalar | None]]:
    """Bounds of the first key column that cut the group's rows into pieces small enough; open at both ends."""
    rows = sum(f.rows for f in group)
    count = -(-rows // _KEY_ROWS)
    if count < 2:
        return [(None, None)]
    sample = []
    for file in group:
        for _, table in reader.tables(file, [first]):
            step = max(1, table.num_rows // 64)
            sample.append(table[first].take(pa.array(np.arange(0, table.num_rows, step))))
    values = pa.chunked_array([c for column in sample for c in column.chunks])
    values = values.take(pc.array_sort_indices(values.combine_chunks()))
    cuts = [values[len(values) * i // count] for i in range(1, count)]
    cuts = [c for i, c in enumerate(cuts) if i == 0 or not c.equals(cuts[i - 1])]
    return list(zip([None, *cuts], [*cuts, None], strict=True))


def only_newest(reader: FileReader, file: TableFile, gone: _Ints) -> Iterator[pa.Table]:
    """The rows of a file without those numbers."""
    for start, table in reader.tables(file):
        keep = np.ones(table.num_rows, np.bool_)
        mine = gone[(gone >= start) & (gone < start + table.num_rows)] - start
        keep[mine] = False
        yield table if keep.all() else table.filter(pa.array(keep))
