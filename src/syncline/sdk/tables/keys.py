"""Rows by their primary key: which of some keys each row of a table has, without a Python object per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["KeySet", "key_codes", "newest"]

_Ints = npt.NDArray[np.int64]


class KeySet:
    """Distinct keys. :meth:`find` says where each row's key stands among them."""

    def __init__(self, keys: pa.Table) -> None:
        self.keys = keys.combine_chunks()
        columns = [_identity(column) for column in self.keys.columns]
        self._values = [pc.unique(column) for column in columns]
        #: After each column, the combinations that there are: so numbers stay small however many columns there are.
        self._known: list[_Ints] = []
        codes = self._codes(columns, learn=True)
        self._order = np.argsort(codes, kind="stable")
        self._sorted = codes[self._order]

    def __len__(self) -> int:
        return int(self.keys.num_rows)

    def find(self, table: pa.Table) -> _Ints:
        """For each row of ``table`` (columns of the key by their names) the place of its key, -1 where it is not
        here."""
        if not len(self) or not table.num_rows:
            return np.full(table.num_rows, -1, np.int64)
        codes = self._codes([_identity(table[name]) for name in self.keys.column_names])
        at = _places(self._sorted, codes)
        return np.where(at >= 0, self._order[at], -1)

    def _codes(self, columns: Sequence[pa.ChunkedArray], *, learn: bool = False) -> _Ints:
        code: _Ints | None = None
        for level, (column, values) in enumerate(zip(columns, self._values, strict=True)):
            number = _numpy(pc.fill_null(pc.index_in(column, value_set=values), -1))
            if code is None:
                code = number
                continue
            pair = np.where((code < 0) | (number < 0), -1, code * max(len(values), 1) + number)
            if learn:
                self._known.append(np.unique(pair))
            code = _places(self._known[level - 1], pair)
        assert code is not None
        return code


def _places(among: _Ints, values: _Ints) -> _Ints:
    """Where each value stands in a sorted array, -1 where it does not."""
    if not len(among):
        return np.full(len(values), -1, np.int64)
    at = np.searchsorted(among, values)
    at[at == len(among)] = 0
    return np.where((among[at] == values) & (values >= 0), at, -1)


def key_codes(columns: Sequence[pa.ChunkedArray]) -> _Ints:
    """A number for each different key."""
    code: _Ints | None = None
    for column in columns:
        number = _numpy(_combined(_identity(column)).dictionary_encode().indices)
        if code is None:
            code = number
        else:
            code = code * (int(number.max(initial=0)) + 1) + number
            _, code = np.unique(code, return_inverse=True)
    assert code is not None
    return code.astype(np.int64)


def newest(keys: Sequence[pa.ChunkedArray], cursor: pa.ChunkedArray | None) -> _Ints:
    """The rows to keep so that each key is there once: of equal keys the one with the greatest cursor (NULL is the
    least), among equals the last. In their order."""
    code = key_codes(keys)
    count = len(code)
    if cursor is None:
        order = np.argsort(code, kind="stable")
    else:
        values = _combined(cursor)
        ranks = _numpy(pc.rank(values, sort_keys="ascending", tiebreaker="dense"))
        ranks[values.is_null().to_numpy(zero_copy_only=False)] = -1
        order = np.lexsort((np.arange(count), ranks, code))
    last = np.ones(count, np.bool_)
    last[:-1] = code[order[1:]] != code[order[:-1]]
    return np.sort(order[last])


def _identity(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column so that equal keys have equal values."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        return pc.add(column, pa.scalar(0.0, column.type))  # -0.0 is 0.0
    return column


def _combined(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def _numpy(column: pa.ChunkedArray | pa.Array) -> _Ints:
    values: _Ints = _combined(column).to_numpy(zero_copy_only=False).astype(np.int64)
    return values
