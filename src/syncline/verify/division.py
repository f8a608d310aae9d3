"""SQL that both engines read alike: in which chunk a row lies, and which rows lie in some chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from syncline.verify.columns import Chunking

__all__ = ["Comparable", "chunk_by_range", "range_predicate"]

#: For one key column: its SQL expression, and a function from a cell to a literal of the same type.
Comparable = tuple[str, Callable[[str], str]]


def chunk_by_range(chunking: Chunking, key: Sequence[Comparable]) -> str:
    """An integer expression: a balanced tree of comparisons with the cuts. NULL comparisons fall to the higher side,
    in every engine alike."""

    def tree(low: int, high: int) -> str:
        if low == high:
            return str(low)
        middle = (low + high) // 2
        below = _below(key, chunking.cuts[middle])
        return f"CASE WHEN {below} THEN {tree(low, middle)} ELSE {tree(middle + 1, high)} END"

    return tree(0, len(chunking.cuts))


def range_predicate(chunking: Chunking, key: Sequence[Comparable], chunks: Sequence[int]) -> str:
    """A condition under which at least the rows of these chunks fall, in a form that an index can serve."""
    last = len(chunking.cuts)
    parts: list[str] = []
    for low, high in _runs(sorted(set(chunks))):
        conditions = []
        if low > 0:
            conditions.append(_from(key, chunking.cuts[low - 1]))
        if high < last:
            conditions.append(_below(key, chunking.cuts[high]))
        if high == last:
            # Keys that are NULL lie in the last chunk, and no comparison finds them.
            return "true" if not conditions else _or_null(key[: chunking.width], conditions, parts)
        parts.append("(" + " AND ".join(conditions) + ")")
    return "(" + " OR ".join(parts) + ")" if parts else "false"


def _or_null(key: Sequence[Comparable], conditions: Sequence[str], parts: Sequence[str]) -> str:
    nulls = [f"{expression} IS NULL" for expression, _ in key]
    return "(" + " OR ".join([*parts, "(" + " AND ".join(conditions) + ")", *nulls]) + ")"


def _below(key: Sequence[Comparable], cut: Sequence[str]) -> str:
    (expression, literal), border = key[0], cut[0]
    if len(cut) == 1:
        return f"{expression} < {literal(border)}"
    rest = _below(key[1:], cut[1:])
    return f"({expression} < {literal(border)} OR ({expression} = {literal(border)} AND {rest}))"


def _from(key: Sequence[Comparable], cut: Sequence[str]) -> str:
    """Not below the cut. The first condition is implied by the second and serves an index on the first column."""
    (expression, literal), border = key[0], cut[0]
    if len(cut) == 1:
        return f"{expression} >= {literal(border)}"
    rest = _from(key[1:], cut[1:])
    return (
        f"({expression} >= {literal(border)} AND "
        f"({expression} > {literal(border)} OR ({expression} = {literal(border)} AND {rest})))"
    )


def _runs(chunks: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring chunks as (first, last)."""
    runs: list[tuple[int, int]] = []
    for chunk in chunks:
        if runs and runs[-1][1] == chunk - 1:
            runs[-1] = (runs[-1][0], chunk)
        else:
            runs.append((chunk, chunk))
    return runs
