"""The reference implementation of the canonical text, and DuckDB's, against the vectors and against each other."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.testing.canonical_vectors import ROWS, VECTORS, Row, Vector
from syncline.verify.canonical import (
    Kind,
    arrow_cells,
    cell,
    jsonb_text,
    kind_of,
    row_hash,
    row_text,
    split_cells,
    sum_hashes,
)
from syncline.verify.columns import ColumnSpec
from syncline.verify.duckdb_cells import FUNCTIONS, cell_sql
from syncline.verify.sums import ChunkSum


def _kind(vector: Vector) -> Kind:
    kind = kind_of(vector.arrow, vector.logical)
    assert kind is not None
    return kind


def _array(vector: Vector) -> pa.Array:
    return pa.array([_decimals(vector.arrow, vector.value)], vector.arrow)


def _decimals(kind: pa.DataType, value: Any) -> Any:
    if value is None:
        return None
    if pa.types.is_list(kind):
        return [_decimals(kind.value_type, v) for v in value]
    return Decimal(value) if pa.types.is_decimal(kind) else value


def _engine() -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect(config={"threads": 1})
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(FUNCTIONS)
    return engine


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.id)
def test_the_reference_writes_each_vector(vector: Vector) -> None:
    assert arrow_cells(_array(vector), _kind(vector)) == [vector.cell]


def test_duckdb_writes_each_vector_of_its_own() -> None:
    engine = _engine()
    wrong = []
    for vector in VECTORS:
        if vector.duckdb is None:
            continue
        relation = engine.sql(f"SELECT {vector.duckdb} AS v")
        sql = cell_sql("v", ColumnSpec(name="v", kind=_kind(vector)), _kind(vector), relation.types[0])
        found = engine.execute(f"SELECT {sql} FROM (SELECT {vector.duckdb} AS v)").fetchall()
        if found != [(vector.cell,)]:
            wrong.append((vector.id, vector.cell, found))
    assert wrong == []


def test_duckdb_writes_each_vector_from_arrow() -> None:
    engine = _engine()
    wrong = []
    for vector in VECTORS:
        table = pa.table({"v": _array(vector)})
        engine.register("t", table)
        relation = engine.sql("SELECT * FROM t")
        sql = cell_sql("v", ColumnSpec(name="v", kind=_kind(vector)), _kind(vector), relation.types[0])
        found = engine.execute(f"SELECT {sql} FROM t").fetchall()
        if found != [(vector.cell,)]:
            wrong.append((vector.id, vector.cell, found))
    assert wrong == []


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.text or "nothing")
def test_rows(row: Row) -> None:
    assert row_text(row.cells) == row.text
    assert row_hash(row.text) == int(row.hash, 16)


_CELLS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(-(2**70), 2**70),
    "numeric": st.decimals(allow_nan=True, allow_infinity=True, min_value=None, max_value=None).filter(
        lambda d: not d.is_finite() or abs(d.adjusted()) < 200
    ),
    "float": st.floats(),
    "text": st.text(),
    "json": st.text(),
    "bytes": st.binary(),
    "date": st.dates(),
    "time": st.times(),
    "timestamp": st.datetimes(),
    "uuid": st.uuids(),
}


def _values() -> st.SearchStrategy[tuple[Kind, Any]]:
    scalars = st.one_of(*(st.tuples(st.just(Kind(name=name)), st.none() | values) for name, values in _CELLS.items()))
    lists = st.one_of(
        *(
            st.tuples(
                st.just(Kind(name="list", item=Kind(name="list", item=Kind(name=name)))),
                st.none() | st.lists(st.none() | st.lists(st.none() | values, max_size=3), max_size=3),
            )
            for name, values in _CELLS.items()
        )
    )
    structs = st.one_of(
        *(
            st.tuples(
                st.just(Kind(name="struct", fields=(("a", Kind(name=name)), ("b", Kind(name="text"))))),
                st.none() | st.fixed_dictionaries({"a": st.none() | values, "b": st.none() | st.text()}),
            )
            for name, values in _CELLS.items()
        )
    )
    return st.one_of(scalars, lists, structs)


@given(st.lists(_values(), min_size=1, max_size=6))
def test_a_rows_text_can_be_taken_apart(row: list[tuple[Kind, Any]]) -> None:
    cells = [cell(value, kind) for kind, value in row]
    assert all(c != "" for c in cells), "only NULL is nothing"
    assert split_cells(row_text(cells), [kind for kind, _ in row]) == cells


@given(st.decimals(allow_nan=False, allow_infinity=False).filter(lambda d: abs(d.adjusted()) < 100))
def test_numeric_text_is_the_same_number_in_its_shortest_form(number: Decimal) -> None:
    text = cell(number, Kind(name="numeric"))
    assert text is not None
    assert Decimal(text) == number
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))
    assert text != "-0"


@given(st.lists(st.text(), max_size=5), st.randoms())
def test_the_sum_is_of_a_set_with_repetitions(texts: list[str], random: Any) -> None:
    hashes = [row_hash(t) for t in texts]
    shuffled = list(hashes)
    random.shuffle(shuffled)
    assert sum_hashes(hashes) == sum_hashes(shuffled)
    if hashes:
        assert sum_hashes([*hashes, hashes[0], hashes[0]]) != sum_hashes(hashes), "an exclusive-or would not see two"


@given(st.lists(st.integers(0, 2**128 - 1), max_size=8))
def test_halves_make_the_whole(hashes: list[int]) -> None:
    high = sum(h >> 64 for h in hashes)
    low = sum(h & (2**64 - 1) for h in hashes)
    assert ChunkSum.of_halves(count=len(hashes), high=high, low=low).total == sum_hashes(hashes)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20))
def test_duckdb_reads_the_digest_as_the_reference_does(texts: list[str]) -> None:
    engine = _engine()
    engine.register("t", pa.table({"r": pa.array(texts, pa.string())}))
    low, high = "syncline_swap((h >> 64)::UBIGINT)", "syncline_swap((h & 18446744073709551615::UHUGEINT)::UBIGINT)"
    found = engine.execute(f"SELECT {high}, {low} FROM (SELECT md5_number(r) AS h FROM t)").fetchall()
    assert [(a << 64) + b for a, b in found] == [row_hash(t) for t in texts]
    assert row_hash(texts[0]) == int(hashlib.md5(texts[0].encode()).hexdigest(), 16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"bb":1,"a":[1,2.50,1e3,-0.0],"a":{"x":null}}', '{"a": {"x": null}, "bb": 1}'),
        ('[1,2.50,1e3,-0.0,true,"é\\u0001\\n/"]', '[1, 2.50, 1000, 0.0, true, "é\\u0001\\n/"]'),
        ('"x"', '"x"'),
        ("{}", "{}"),
        ("[]", "[]"),
    ],
)
def test_jsonb_text(text: str, expected: str) -> None:
    assert jsonb_text(text) == expected
