"""Which column type an Arrow type gets, and which type fits into which."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.connectors.postgres.copy.encode import encoder_for
from syncline.connectors.postgres.writing.loading import load_columns
from syncline.connectors.postgres.writing.matrix import type_matrix_rows
from syncline.connectors.postgres.writing.relation import Column
from syncline.connectors.postgres.writing.types import Fit, arrow_column_type, fit
from syncline.core.schema import Field

INTEGERS = ["smallint", "integer", "bigint"]


@pytest.mark.parametrize(
    ("new", "existing", "how"),
    [
        ("integer", "integer", Fit.SAME),
        ("integer", "bigint", Fit.KEEP),
        ("bigint", "integer", Fit.WIDEN),
        ("real", "double precision", Fit.KEEP),
        ("double precision", "real", Fit.WIDEN),
        ("bigint", "double precision", Fit.NO),
        ("numeric(10,2)", "numeric(15,2)", Fit.KEEP),
        ("numeric(15,2)", "numeric(10,2)", Fit.WIDEN),
        ("numeric(15,4)", "numeric(15,2)", Fit.NO),
        ("numeric(15,2)", "numeric", Fit.KEEP),
        ("numeric", "numeric(15,2)", Fit.WIDEN),
        ("integer", "numeric", Fit.KEEP),
        ("integer", "numeric(9,0)", Fit.NO),
        ("integer", "numeric(12,2)", Fit.KEEP),
        ("bigint", "numeric(20,0)", Fit.KEEP),
        ("character varying(10)", "character varying(20)", Fit.KEEP),
        ("character varying(20)", "character varying(10)", Fit.WIDEN),
        ("character varying", "character varying(10)", Fit.WIDEN),
        ("character varying(10)", "text", Fit.KEEP),
        ("text", "character varying(10)", Fit.WIDEN),
        ("text", "character varying", Fit.KEEP),
        ("uuid", "text", Fit.KEEP),
        ("public.citext", "text", Fit.KEEP),
        ("text", "integer", Fit.NO),
        ("boolean", "integer", Fit.NO),
        ("date", "timestamp without time zone", Fit.NO),
        ("timestamp without time zone", "timestamp with time zone", Fit.NO),
        ("timestamp(3) without time zone", "timestamp without time zone", Fit.KEEP),
        ("timestamp without time zone", "timestamp(3) without time zone", Fit.WIDEN),
        ("integer[]", "bigint[]", Fit.NO),
        ("jsonb", "json", Fit.NO),
    ],
)
def test_fit(new, existing, how):
    assert fit(new, existing) == how


@given(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS))
def test_fit_is_symmetric(one, other):
    back = {Fit.SAME: Fit.SAME, Fit.KEEP: Fit.WIDEN, Fit.WIDEN: Fit.KEEP, Fit.NO: Fit.NO}
    assert fit(other, one) == back[fit(one, other)]


@pytest.mark.parametrize(
    ("kind", "logical", "column"),
    [
        (pa.decimal128(5, -2), None, "numeric(7,0)"),
        (pa.decimal128(2, 5), None, "numeric(5,5)"),
        (pa.list_(pa.decimal128(9, 2)), None, "numeric(9,2)[]"),
        (pa.list_(pa.string()), "uuid", "uuid[]"),
        (pa.int64(), "json", "bigint"),
        (pa.string(), "enum", "text"),
        (pa.string(), "text", "text"),
        (pa.dictionary(pa.int8(), pa.string()), "json", "jsonb"),
        (pa.run_end_encoded(pa.int32(), pa.int64()), None, "bigint"),
        (pa.time32("s"), None, "time without time zone"),
        (pa.map_(pa.string(), pa.string()), None, "jsonb"),
    ],
)
def test_arrow_column_type(kind, logical, column):
    assert arrow_column_type(kind, logical) == column


def test_every_row_of_the_matrix_can_be_loaded():
    rows = type_matrix_rows()
    assert len({row.source for row in rows}) == len(rows)
    for kind in (
        pa.int8(),
        pa.uint64(),
        pa.duration("ns"),
        pa.month_day_nano_interval(),
        pa.struct([("a", pa.int8())]),
    ):
        column = Column(name="c", type=arrow_column_type(kind), base=arrow_column_type(kind))
        (found,) = load_columns([Field(name="c", type=kind)], [column], dialect=None)
        assert found.cast == (encoder_for(kind, column.type) is None)
