"""Changes to rows over a table's files: gathered by key, then carried out by rewriting only the files that they touch.

Nothing of it is in the table before the commit. Rows gather in memory; when they are many, the files are rewritten in
between and the overlay goes on over the new ones, which nobody else sees either.

A file is opened only if its bounds may hold one of the keys, read whole only if it does hold one, and every other file
stays as it is. A row that changes stays in the file in which it was, so that files keep their ranges of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from syncline.sdk.files.store import ObjectStore, PendingUpload
from syncline.sdk.tables.bounds import may_hold
from syncline.sdk.tables.files_out import FilesOut, Naming, NewFile, Sizes, complete_all
from syncline.sdk.tables.keys import KeySet
from syncline.sdk.tables.reading import FileReader
from syncline.sdk.tables.table import TableFile

__all__ = ["Overlay", "Rewritten"]

#: ~96 MB of changed rows are held before files are rewritten.
_HELD_BYTES = 96 << 20

_Ints = npt.NDArray[np.int64]


@dataclass
class Rewritten:
    """What a commit must do: ``added`` are durable and not yet visible, but for those in ``early``, which were made
    visible to be read again; ``removed`` are of the state that the overlay began with. ``spoiled`` are keys of files
    that came and went in between."""

    added: list[NewFile] = field(default_factory=list)
    removed: list[TableFile] = field(default_factory=list)
    spoiled: list[str] = field(default_factory=list)
    early: set[str] = field(default_factory=set)


class _Held:
    """Rows (or keys alone) that wait, each key once, found by key without looking at the others. ``alive`` says which
    of them still count."""

    def __init__(self, table: pa.Table, key: Sequence[str]) -> None:
        self.table, self._key = table.combine_chunks(), list(key)
        self._set: KeySet | None = None
        self.alive: npt.NDArray[np.bool_] = np.ones(table.num_rows, np.bool_)

    def places(self, keys: pa.Table) -> _Ints:
        """For each key where it is here, -1 where it is not."""
        if self._set is None:
            self._set = KeySet(self.table.select(self._key))
        at = self._set.find(keys)
        return np.where((at >= 0) & self.alive[at], at, -1)

    def drop(self, keys: pa.Table) -> None:
        at = self.places(keys)
        self.alive[at[at >= 0]] = False

    def living(self) -> pa.Table:
        return self.table if self.alive.all() else self.table.filter(pa.array(self.alive))


def _add(held: list[_Held], table: pa.Table, key: Sequence[str]) -> None:
    """Add to a list that stays short: neighbours of like size become one, so that a key is looked for in few places
    however many small batches there were."""
    held.append(_Held(table, key))
    while len(held) > 1 and held[-2].table.num_rows <= 2 * held[-1].table.num_rows:
        last, before = held.pop(), held.pop()
        held.append(_Held(pa.concat_tables([before.living(), last.living()]), key))


class Overlay:
    """Used by one thread. ``schema`` are the table's columns, ``key`` its primary key. ``intend`` is told the keys of
    files before they are made visible early."""

    def __init__(
        self,
        store: ObjectStore,
        naming: Naming,
        files: Sequence[TableFile],
        *,
        schema: pa.Schema,
        file_schema: pa.Schema,
        key: Sequence[str],
        sizes: Sizes,
        reader: Callable[[pa.Schema], FileReader],
        intend: Callable[[Sequence[str]], None],
    ) -> None:
        self._store, self._naming, self._sizes = store, naming, sizes
        self.schema, self._file_schema = schema, file_schema
        self._key = list(key)
        self._reader = reader
        self._intend = intend
        self._base = list(files)  # as the table has them
        self._new: list[NewFile] = []  # made here
        self._result = Rewritten()
        self._forget()

    def _forget(self) -> None:
        self._rows: list[_Held] = []  # final rows, each key once over all
        self._keys: list[_Held] = []  # every key that files must let go, each once over all
        self._bytes = 0

    # -- changes -------------------------------------------------------------------------------------------------------

    def upsert(self, rows: pa.Table) -> None:
        """These rows (each key once) in the place of those with their keys."""
        if not rows.num_rows:
            return
        self._let_go(rows.select(self._key))
        _add(self._rows, rows, self._key)
        self._bytes += rows.nbytes
        if self._bytes > _HELD_BYTES:
            self.settle()

    def delete(self, keys: pa.Table) -> None:
        """Rows with these keys (columns of the key, each once) go."""
        if keys.num_rows:
            self._let_go(keys)
            if self._bytes > _HELD_BYTES:
                self.settle()

    def clear(self) -> None:
        """Every row goes."""
        self._forget()
        self._drop(self._files())

    def _let_go(self, keys: pa.Table) -> None:
        for held in self._rows:
            held.drop(keys)
        known = self._touched(keys)
        if not known.all():
            fresh = keys if not known.any() else keys.filter(pa.array(~known))
            _add(self._keys, fresh, self._key)
            self._bytes += fresh.nbytes

    def _touched(self, keys: pa.Table) -> npt.NDArray[np.bool_]:
        """Which of the keys files have nothing to say about any more."""
        known: npt.NDArray[np.bool_] = np.zeros(keys.num_rows, np.bool_)
        for held in self._keys:
            known |= held.places(keys) >= 0
        return known

    def find(self, keys: pa.Table, columns: Sequence[str]) -> tuple[_Ints, pa.Table]:
        """The rows with these keys (each once), as the overlay has them now: for each key the place of its row among
        the rows given back, -1 where there is none."""
        places = np.full(keys.num_rows, -1, np.int64)
        found = list[pa.Table]()
        count = 0
        for held in self._rows:
            at = held.places(keys)
            here = np.flatnonzero(at >= 0)
            if len(here):
                places[here] = count + np.arange(len(here))
                found.append(held.table.select(columns).take(pa.array(at[here])))
                count += len(here)
        touched = self._touched(keys)
        open_ = np.flatnonzero(~touched)
        if len(open_):
            rest = keys.take(pa.array(open_))
            rest_set = KeySet(rest)
            needed = list(dict.fromkeys([*self._key, *columns]))
            reader = self._reader(self.schema)
            for file in self._files():
                if not may_hold(file, rest).any() or not self._holds(reader, file, rest_set, rest):
                    continue
                self._see(file)
                for _, table in reader.tables(file, needed, keys=rest):
                    at = rest_set.find(table.select(self._key))
                    rows = np.flatnonzero(at >= 0)
                    if len(rows):
                        places[open_[at[rows]]] = count + np.arange(len(rows))
                        found.append(table.select(columns).take(pa.array(rows)))
                        count += len(rows)
        empty = pa.schema([self.schema.field(c) for c in columns]).empty_table()
        return places, pa.concat_tables([empty, *found])

    def tables(self) -> Iterator[pa.Table]:
        """Every row as the overlay has it now, after what is held has been carried out."""
        reader = self._reader(self.schema)
        for file in self.readable():
            for _, table in reader.tables(file):
                yield table

    def readable(self) -> list[TableFile]:
        """The files that hold every row as the overlay has it now, each there to be read."""
        self.settle()
        files = self._files()
        for file in files:
            self._see(file)
        return files

    def reshape(self, schema: pa.Schema, file_schema: pa.Schema, change: Callable[[pa.Table], pa.Table] | None) -> None:
        """The table gets other columns. ``change`` makes rows with them out of rows as they are, where files must be
        written anew; None where adding columns is all."""
        if change is None:
            self._rows = [_Held(_widened(held.living(), schema), self._key) for held in self._rows]
            self.schema, self._file_schema = schema, file_schema
            return
        self.settle()
        out = FilesOut(self._store, self._naming, file_schema, self._sizes)
        try:
            reader, before = self._reader(self.schema), self._files()
            for file in before:
                self._see(file)
                for _, table in reader.tables(file):
                    out.write(change(table))
            self._drop(before)
            self._new += out.finish()
        except BaseException:
            out.abort()
            raise
        self.schema, self._file_schema = schema, file_schema

    def adopt(self, files: Sequence[NewFile]) -> None:
        """Files of other rows of the same commit: whatever is done to every row is done to theirs."""
        self._new += files

    def rewrite(self, change: Callable[[pa.Table], pa.Table]) -> None:
        """Change every row in place."""
        self.reshape(self.schema, self._file_schema, change)

    # -- carrying out --------------------------------------------------------------------------------------------------

    def finish(self) -> Rewritten:
        """Carry out what is held, and say what the commit must do."""
        self.settle()
        self._result.added = list(self._new)
        return self._result

    def abort(self) -> None:
        """Throw what was made away."""
        for one in self._new:
            self._discard(one)
        self._new = []
        self._store.delete(self._result.spoiled)

    def settle(self) -> None:
        """Rewrite the files that hold one of the keys, and write what is new."""
        if not self._keys:
            return
        keys = pa.concat_tables([held.living() for held in self._keys]).combine_chunks()
        rows = pa.concat_tables([self.schema.empty_table(), *(held.living() for held in self._rows)]).combine_chunks()
        self._forget()
        gone = KeySet(keys)
        fresh = KeySet(rows.select(self._key))
        placed = np.zeros(rows.num_rows, np.bool_)
        reader = self._reader(self.schema)
        made: list[NewFile] = []
        dropped: list[TableFile] = []
        for file in self._files():
            mask = may_hold(file, keys)
            if not mask.any():
                continue
            mine = keys.filter(pa.array(mask))
            if not self._holds(reader, file, gone, mine):
                continue
            self._see(file)
            made += self._rewritten(reader, file, gone, fresh, rows, placed)
            dropped.append(file)
        self._drop(dropped)
        self._new += made
        if not placed.all():
            out = FilesOut(self._store, self._naming, self._file_schema, self._sizes)
            self._fill(out, [rows.filter(pa.array(~placed))])

    def _holds(self, reader: FileReader, file: TableFile, keys: KeySet, mine: pa.Table) -> bool:
        self._see(file)
        return any(
            (keys.find(table) >= 0).any() for _, table in reader.tables(file, self._key, keys=mine) if table.num_rows
        )

    def _rewritten(
        self,
        reader: FileReader,
        file: TableFile,
        gone: KeySet,
        fresh: KeySet,
        rows: pa.Table,
        placed: npt.NDArray[np.bool_],
    ) -> list[NewFile]:
        out = FilesOut(self._store, self._naming, self._file_schema, self._sizes)
        try:
            for _, table in reader.tables(file):
                at = gone.find(table.select(self._key))
                if (at < 0).all():
                    out.write(table)
                    continue
                out.write(table.filter(pa.array(at < 0)))
                here = fresh.find(table.filter(pa.array(at >= 0)).select(self._key))
                here = np.unique(here[here >= 0])
                here = here[~placed[here]]  # a key that a foreign hand has put in twice is one afterwards
                placed[here] = True
                out.write(rows.take(pa.array(here)))
            return out.finish()
        except BaseException:
            out.abort()
            raise

    def _fill(self, out: FilesOut, tables: Sequence[pa.Table]) -> None:
        try:
            for table in tables:
                out.write(table)
            self._new += out.finish()
        except BaseException:
            out.abort()
            raise

    def _files(self) -> list[TableFile]:
        return [*self._base, *(n.file for n in self._new)]

    def _see(self, file: TableFile) -> None:
        """Make a file of our own readable before the commit."""
        mine = next((n for n in self._new if n.file.key == file.key), None)
        if mine is not None and file.key not in self._result.early:
            self._intend([file.key])
            complete_all(self._store, [mine.staged])
            self._result.early.add(file.key)

    def _drop(self, files: Sequence[TableFile]) -> None:
        keys = {f.key for f in files}
        self._result.removed += [f for f in self._base if f.key in keys]
        self._base = [f for f in self._base if f.key not in keys]
        for one in [n for n in self._new if n.file.key in keys]:
            if one.file.key in self._result.early:
                self._result.spoiled.append(one.file.key)
            else:
                self._discard(one)
        self._new = [n for n in self._new if n.file.key not in keys]

    def _discard(self, one: NewFile) -> None:
        if one.file.key in self._result.early:
            self._store.delete([one.file.key])
        else:
            self._store.abort([PendingUpload(key=one.staged.key, upload=one.staged.upload)])


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    arrays = [
        table[f.name] if f.name in table.column_names else pa.chunked_array([pa.nulls(table.num_rows, f.type)])
        for f in schema
    ]
    return pa.Table.from_arrays([pc.cast(a, f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema)
