"""The compiled encoder and the pure Python one agree: on bytes, on what they refuse and on why. No server needed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncline.connectors.postgres.copy.encode import EncodeColumn, encode_batch, find_unencodable
from syncline.connectors.postgres.copy.encode_fallback import PythonEncoder
from syncline.connectors.postgres.copy.encode_native import NativeEncoder, native_library
from syncline.connectors.postgres.copy.encode_plan import Reason, compile_plan, encoder_for
from syncline.core.errors import ErrorKind, SynclineError

INTS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
needs_native = pytest.mark.skipif(native_library() is None, reason="the extension was not compiled")


def bits(kind: pa.DataType) -> st.SearchStrategy[bytes]:
    """Any bits of one value, often near a limit of another width."""
    size = kind.bit_width // 8
    edges = [
        e + d for e in (0, 1 << 15, 1 << 31, 1 << 32, 1 << 53, 1 << 63, 1 << 64, 86_400_000_000) for d in (-1, 0, 1)
    ]
    near = st.sampled_from(edges).flatmap(lambda n: st.sampled_from([n, -n]))
    whole = st.integers(-(10**15), 10**15).map(lambda n: n * 1000)
    number = st.one_of(near, whole, st.integers(-1000, 1000)).map(
        lambda n: (n % (1 << (8 * size))).to_bytes(size, "little")
    )
    return st.one_of(number, st.binary(min_size=size, max_size=size))


def primitive(kind: pa.DataType, values: list[bytes | None]) -> pa.Array:
    raw = b"".join(v if v is not None else b"\xa5" * (kind.bit_width // 8) for v in values)
    valid = pa.array([v is not None for v in values]).buffers()[1]
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(raw)])


def raw_text(values: list[bytes | None]) -> pa.Array:
    data = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(data), data.buffers(), data.null_count)


PAIRS = [
    *((kind, f"{pg}") for kind in INTS for pg in ("int2", "int4", "int8", "oid", "float4", "float8", "numeric")),
    *((kind, f"{pg}") for kind in INTS for pg in ("numeric(5,2)", "numeric(3,-2)")),
    *((kind, pg) for kind in (pa.float16(), pa.float32(), pa.float64()) for pg in ("float4", "float8")),
    (pa.date32(), "date"),
    (pa.date64(), "date"),
    (pa.date32(), "timestamp"),
    *(
        (kind, pg)
        for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))
        for pg in ("time", "time(2)")
    ),
    *((pa.timestamp(u), pg) for u in ("s", "ms", "us", "ns") for pg in ("timestamp", "timestamp(0)", "timestamp(4)")),
    *((pa.timestamp(u, "UTC"), "timestamptz") for u in ("s", "ms", "us", "ns")),
]
TEXTS = ["text", "varchar(3)", "bpchar(2)", "name", "jsonb", "json", "uuid", "numeric", "numeric(6,2)", "numeric(2,4)"]
WORDS = b"1 0 . - + e E5 e-3 NaN inf Infinity 0000 123456789 { } a0ee- bc99 a0eebc999c0b4ef8bb6d6bb9bd380a11"
ESCAPES = [b"\\u0000", b"\\ud83d", b"\\ude00", b"\\", b"\\u12", b'"']
BYTES = [
    b" ",
    b"\0",
    b"\x80",
    b"\xc3\xa9",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf0\x9f\x98\x80",
    b"abcdefgh" * 8,
]
fragments = st.sampled_from([*WORDS.split(), *ESCAPES, *BYTES])
ugly = st.one_of(st.lists(fragments, max_size=5).map(b"".join), st.binary(max_size=12))
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def same(batch: pa.RecordBatch, columns: list[EncodeColumn]) -> None:
    """Compare in every way, from every row on."""
    library = native_library()
    assert library is not None
    plan = compile_plan(batch.schema, columns)
    native, python = NativeEncoder(library, *plan), PythonEncoder(*plan)
    native.bind(batch)
    python.bind(batch)
    for column in range(len(columns)):
        assert python.check(column) == native.check(column)
    row = 0
    while row <= batch.num_rows:
        stop, data, problem = native.rows(row, 1 << 40)
        data = memoryview(bytes(data))
        assert python.rows(row, 1 << 40) == (stop, data, problem)
        if problem is None:
            break
        row = stop + 1


@needs_native
@pytest.mark.parametrize(("kind", "encoder"), PAIRS, ids=str)
@quick
@given(data=st.data())
def test_numbers_and_times(kind: pa.DataType, encoder: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | bits(kind), min_size=1, max_size=12))
    array = primitive(kind, values).slice(data.draw(st.integers(0, len(values) - 1)))
    same(pa.RecordBatch.from_arrays([array], names=["a"]), [EncodeColumn(name="a", encoder=encoder)])


@needs_native
@pytest.mark.parametrize("encoder", TEXTS)
@quick
@given(data=st.data())
def test_texts(encoder: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | ugly, min_size=1, max_size=12))
    array = raw_text(values).slice(data.draw(st.integers(0, len(values) - 1)))
    names = ["a", "b", "c"]
    arrays = [array, array.dictionary_encode(), array.cast(pa.large_binary()).cast(pa.large_string(), safe=False)]
    columns = [EncodeColumn(name=n, encoder=encoder) for n in names]
    for name, values_, column in zip(names, arrays, columns, strict=True):
        same(pa.RecordBatch.from_arrays([values_], names=[name]), [column])
    same(pa.RecordBatch.from_arrays(arrays, names=names), columns)


@needs_native
@pytest.mark.parametrize(
    ("kind", "encoder"),
    [
        (pa.decimal32(7, 2), "numeric(5,1)"),
        (pa.decimal64(17, 8), "numeric(5,5)"),
        (pa.decimal128(38, 10), "numeric(20,4)"),
        (pa.decimal128(38, -3), "numeric(10,-4)"),
        (pa.decimal256(70, 20), "numeric(60,6)"),
        (pa.decimal256(76, 76), "numeric"),
        (pa.decimal256(76, -1), "numeric"),
    ],
    ids=str,
)
@quick
@given(data=st.data())
def test_decimals(kind: pa.DataType, encoder: str, data: st.DataObject) -> None:
    size, top = kind.bit_width // 8, 10**kind.precision - 1
    digits = st.integers(0, kind.precision).flatmap(lambda n: st.integers(0, 10 ** min(n, kind.precision) - 1))
    padded = st.tuples(digits, st.integers(0, 12)).map(lambda t: min(t[0] * 10 ** t[1], top))
    signed = st.tuples(st.one_of(digits, padded, st.just(top)), st.booleans()).map(lambda t: -t[0] if t[1] else t[0])
    values = data.draw(st.lists(st.none() | signed.map(lambda n: n.to_bytes(size, "little", signed=True)), min_size=1))
    same(pa.RecordBatch.from_arrays([primitive(kind, values)], names=["a"]), [EncodeColumn(name="a", encoder=encoder)])


def nested(items: st.SearchStrategy[Any], depth: int) -> st.SearchStrategy[Any]:
    """Lists of lists, rectangular or not, with NULLs at every depth."""
    strategy = st.none() | items
    for _ in range(depth):
        strategy = st.none() | st.lists(strategy, max_size=2) | st.lists(strategy, min_size=2, max_size=2)
    return strategy


@needs_native
@pytest.mark.parametrize(
    ("wrap", "depth"),
    [
        (pa.list_, 1),
        (pa.large_list, 1),
        (pa.list_view, 1),
        (lambda kind: pa.list_(pa.large_list(kind)), 2),
        (lambda kind: pa.large_list_view(pa.list_(pa.list_view(kind))), 3),
    ],
    ids=["list", "large", "view", "two", "three"],
)
@pytest.mark.parametrize(
    ("leaf", "encoder"), [(pa.int64(), "int4[]"), (pa.string(), "varchar(3)[]"), (pa.null(), "text[]")]
)
@quick
@given(data=st.data())
def test_nested_lists(wrap: Any, depth: int, leaf: pa.DataType, encoder: str, data: st.DataObject) -> None:
    items: st.SearchStrategy[Any] = st.integers(-(2**33), 2**33) if leaf == pa.int64() else st.text(max_size=5)
    if leaf == pa.null():
        items = st.none()
    values = data.draw(st.lists(nested(items, depth), min_size=1, max_size=6))
    array = pa.array(values, wrap(leaf)).slice(data.draw(st.integers(0, len(values) - 1)))
    same(pa.RecordBatch.from_arrays([array], names=["a"]), [EncodeColumn(name="a", encoder=encoder)])


@needs_native
@quick
@given(data=st.data())
def test_fixed_size_lists(data: st.DataObject) -> None:
    item = st.none() | st.lists(st.none() | st.integers(0, 5), min_size=2, max_size=2)
    values = data.draw(st.lists(st.none() | st.lists(item, min_size=3, max_size=3), min_size=1, max_size=6))
    array = pa.array(values, pa.list_(pa.list_(pa.int16(), 2), 3)).slice(data.draw(st.integers(0, len(values) - 1)))
    same(pa.RecordBatch.from_arrays([array], names=["a"]), [EncodeColumn(name="a", encoder="int8[]")])


@needs_native
def test_structures_of_arrow_that_are_easy_to_misread() -> None:
    words = pa.array(["one", None, "three", "a text that is longer than a view's twelve bytes"])
    with_null_inside = pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 1], pa.uint8()), pa.array(["x", None]))
    arrays = {
        "view": words.cast(pa.string_view()),
        "dictionary": with_null_inside,
        "list of dictionary": pa.ListArray.from_arrays(pa.array([0, 1, 1, 3, 4]), with_null_inside),
        "gap": pa.ListArray.from_arrays(pa.array([1, 2, None, 3, 4], pa.int32()), words),
        "no values": pa.nulls(4),
        "typed nulls": pa.nulls(4, pa.string()),
        "no nulls": pa.array(["a", "b", "c", "d"]),
        "empty binary": pa.array([b"", b"", b"", b""]).cast(pa.binary()),
    }
    encoders = ["text", "text", "text[]", "text[]", "int4", "text", "text", "bytea"]
    columns = [EncodeColumn(name=n, encoder=e) for n, e in zip(arrays, encoders, strict=True)]
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    for start in range(5):
        for length in range(5 - start):
            same(batch.slice(start, length), columns)


@pytest.fixture(params=["native", "fallback"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fallback":
        monkeypatch.setenv("SYNCLINE_NO_NATIVE", "1")
    elif native_library() is None:
        pytest.skip("the extension was not compiled")
    return str(request.param)


def test_a_problem_names_row_column_and_value(encoder: str) -> None:
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([1, 2, 3, 70_000]),
            pa.array(["fine", "nul\0nul", None, "x"]),
            pa.array([None, 1, 1_001, None]).view(pa.timestamp("ns")),
        ],
        names=["n", "t", "e"],
    )
    columns = [
        EncodeColumn(name="e", encoder="timestamp"),
        EncodeColumn(name="n", encoder="int2"),
        EncodeColumn(name="t", encoder="text"),
    ]
    found = find_unencodable(batch, columns)
    assert [(p.row, p.column, p.text, p.reason) for p in found] == [
        (1, "e", "1970-01-01 00:00:00.000000001", Reason.SUB_UNIT.text),
        (1, "t", "nul\0nul", Reason.NUL.text),
        (2, "e", "1970-01-01 00:00:00.000001001", Reason.SUB_UNIT.text),
        (3, "n", "70000", Reason.INT_RANGE.text),
    ]
    with pytest.raises(SynclineError) as refused:
        encode_batch(batch.slice(3), columns)
    assert refused.value.kind is ErrorKind.DATA
    assert refused.value.where == {"row": 0, "column": "n"}


def test_the_text_of_a_problem_is_made_whatever_the_value(encoder: str) -> None:
    far = 2**62
    batch = pa.RecordBatch.from_arrays(
        [
            raw_text([b"\xff\xfe"]),
            pa.array([-far]).view(pa.timestamp("us")),
            pa.array([2**31 - 1], pa.int32()).view(pa.date32()),
            pa.array([far]).view(pa.time64("us")),
            pa.array([[[1], [2, 3]]]),
        ],
        names=["a", "b", "c", "d", "e"],
    )
    encoders = ["text", "timestamp", "date", "time", "int4[]"]
    columns = [EncodeColumn(name=n, encoder=e) for n, e in zip(batch.schema.names, encoders, strict=True)]
    found = find_unencodable(batch, columns)
    assert [p.column for p in found] == batch.schema.names
    assert found[0].text == "\\xff\\xfe"
    assert all(p.text for p in found)


def test_columns_are_found_by_name_and_a_missing_one_is_named(encoder: str) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1], pa.int32()), pa.array([2], pa.int32())], names=["a", "b"])
    assert encode_batch(batch, [EncodeColumn(name="b", encoder="int4")])[-4:] == b"\0\0\0\2"
    with pytest.raises(SynclineError, match="'c'") as refused:
        encode_batch(batch, [EncodeColumn(name="c", encoder="int4")])
    assert refused.value.kind is ErrorKind.SCHEMA
    with pytest.raises(SynclineError, match="cannot be written as Postgres uuid"):
        encode_batch(batch, [EncodeColumn(name="a", encoder="uuid")])


def test_no_columns_and_no_rows(encoder: str) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1, 2])], names=["a"])
    assert encode_batch(batch, []) == b"\0\0\0\0"
    assert encode_batch(batch.slice(0, 0), [EncodeColumn(name="a", encoder="int8")]) == b""
    assert find_unencodable(batch.slice(0, 0), [EncodeColumn(name="a", encoder="int8")]) == []


def test_what_binary_copy_cannot_do_has_no_encoder() -> None:
    assert encoder_for(pa.string(), "xml") is None  # its binary input obeys the document's own encoding
    assert encoder_for(pa.string(), "interval") is None
    assert encoder_for(pa.string(), "integer") is None
    assert encoder_for(pa.string(), "time with time zone") is None
    assert encoder_for(pa.string(), "public.mood") is None
    assert encoder_for(pa.string(), '"char"') is None
    assert encoder_for(pa.string(), "citext[]") is None  # its OID is not the same everywhere
    assert encoder_for(pa.float64(), "numeric") is None
    assert encoder_for(pa.timestamp("us"), "timestamp with time zone") is None  # of which zone?
    assert encoder_for(pa.timestamp("us", "UTC"), "timestamp without time zone") is None
    assert encoder_for(pa.list_(pa.int32()), "integer") is None
    assert encoder_for(pa.int32(), "integer[]") is None
    assert encoder_for(pa.struct([("a", pa.int32())]), "jsonb") is None
    deep = pa.int32()
    for _ in range(7):
        deep = pa.list_(deep)
    assert encoder_for(deep, "integer[]") is None  # Postgres has six dimensions
    assert encoder_for(deep.value_type, "integer[]") == "int4[]"


@pytest.mark.parametrize(
    ("kind", "pg_type", "encoder"),
    [
        (pa.string(), "character varying(20)", "varchar(20)"),
        (pa.string(), "character varying", "varchar"),
        (pa.string(), "character(3)[]", None),
        (pa.list_(pa.string()), "character(3)[]", "bpchar(3)[]"),
        (pa.decimal128(15, 2), "numeric(15,2)", "numeric(15,2)"),
        (pa.string(), "numeric(5)", "numeric(5,0)"),
        (pa.int64(), "numeric(5,-2)", "numeric(5,-2)"),
        (pa.timestamp("us"), "timestamp(3) without time zone", "timestamp(3)"),
        (pa.timestamp("us", "UTC"), "timestamp with time zone", "timestamptz"),
        (pa.time64("us"), "time(0) without time zone", "time(0)"),
        (pa.string(), "public.citext", "text"),
        (pa.string(), '"Odd schema".citext', "text"),
        (pa.run_end_encoded(pa.int32(), pa.string()), "text", "text"),
        (pa.null(), "date", "date"),
    ],
    ids=str,
)
def test_encoders_say_what_binds_the_value(kind: pa.DataType, pg_type: str, encoder: str | None) -> None:
    assert encoder_for(kind, pg_type) == encoder
    if encoder is not None:
        assert encoder_for(kind, encoder) == encoder
