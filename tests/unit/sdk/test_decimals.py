"""Decimal text without an exponent, compared with Python's."""

from __future__ import annotations

from decimal import Context, Decimal

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from syncline.sdk.decimals import decimal_text


@given(
    scale=st.integers(-5, 60),
    values=st.lists(st.none() | st.integers(-(10**60) + 1, 10**60 - 1), max_size=8),
    start=st.integers(0, 3),
)
def test_text_is_exact(scale: int, values: list[int | None], start: int) -> None:
    exact = Context(prec=200)
    decimals = [None if v is None else exact.scaleb(Decimal(v), -scale) for v in values]
    array = pa.array(decimals, pa.decimal256(76, scale)).slice(start)
    assert decimal_text(array).to_pylist() == [None if d is None else format(d, "f") for d in decimals[start:]]
