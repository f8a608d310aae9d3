"""Column types and which fits into which."""

from __future__ import annotations

import pyarrow as pa
import pytest

from syncline.connectors.duckdb.types import Fit, column_type, fit, type_matrix_rows
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field


@pytest.mark.parametrize(
    ("existing", "new", "expected"),
    [
        ("BIGINT", "BIGINT", Fit.SAME),
        ("BIGINT", "INTEGER", Fit.KEEP),
        ("INTEGER", "BIGINT", Fit.WIDEN),
        ("INTEGER", "UINTEGER", Fit.NO),
        ("BIGINT", "UINTEGER", Fit.KEEP),
        ("HUGEINT", "UBIGINT", Fit.KEEP),
        ("DOUBLE", "INTEGER", Fit.KEEP),
        ("DOUBLE", "BIGINT", Fit.NO),
        ("FLOAT", "DOUBLE", Fit.WIDEN),
        ("DOUBLE", "FLOAT", Fit.KEEP),
        ("DECIMAL(10,2)", "DECIMAL(12,2)", Fit.WIDEN),
        ("DECIMAL(10,2)", "DECIMAL(11,4)", Fit.NO),
        ("DECIMAL(10,2)", "SMALLINT", Fit.KEEP),
        ("DECIMAL(6,2)", "SMALLINT", Fit.NO),
        ("BIGINT", "DECIMAL(38,2)", Fit.WIDEN),
        ("BIGINT", "DECIMAL(20,2)", Fit.NO),
        ("VARCHAR", "BIGINT", Fit.KEEP),
        ("VARCHAR", "DOUBLE", Fit.NO),
        ("BIGINT", "VARCHAR", Fit.WIDEN),
        ("JSON", "VARCHAR", Fit.WIDEN),
        ("DOUBLE", "VARCHAR", Fit.NO),
        ("DATE", "TIMESTAMP", Fit.NO),
        ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", Fit.NO),
        ("BOOLEAN", "INTEGER", Fit.NO),
        ("BIGINT[]", "INTEGER[]", Fit.NO),
    ],
)
def test_fit(existing: str, new: str, expected: Fit) -> None:
    assert fit(existing, new, pa.null()) is expected


def test_text_fits_into_text_whatever_it_means() -> None:
    assert fit("VARCHAR", "UUID", pa.string()) is Fit.KEEP


def test_a_type_without_a_column_type_is_named() -> None:
    with pytest.raises(SynclineError, match="month_day_nano_interval") as caught:
        column_type(Field(name="i", type=pa.month_day_nano_interval()))
    assert caught.value.kind is ErrorKind.SCHEMA


def test_every_row_of_the_matrix_has_a_column_type() -> None:
    found = type_matrix_rows()
    assert len({row.source for row in found}) == len(found) > 30
    assert all(row.column for row in found)
    assert {row.column for row in found if row.source == "decimal256(76, 10)"} == {"VARCHAR"}
