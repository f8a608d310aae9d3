"""The compiled decoder of changes and its Python twin: the same slices for the same frames, good or bad."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.connectors.postgres.changes_frames import Frames, Tables, Value, name

from syncline.connectors.postgres.changes.decode import ChangeDecoder, native_available
from syncline.connectors.postgres.changes.stretch import Stretch
from syncline.core.change import ChangeBatch, ChangeSlice
from syncline.core.errors import SynclineError

pytestmark = pytest.mark.skipif(not native_available(), reason="the extension is not built here")

EXAMPLES = 120

TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "oid": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "decimal": pa.decimal128(12, 4),
    "wide": pa.decimal256(60, 20),
    "text": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "money": pa.string(),
    "inet": pa.string(),
    "ints": pa.list_(pa.int32()),
    "texts": pa.list_(pa.list_(pa.string())),
    "decimals": pa.list_(pa.decimal128(12, 4)),
    "boxes": pa.list_(pa.string()),
    "bools": pa.list_(pa.bool_()),
}
NATIVES = {"oid": "oid", "money": "money", "inet": "inet", "boxes": "box[]"}


def digits(low: int, high: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=low, max_size=high)


signs = st.sampled_from(["", "", "-"])
decimals = st.one_of(
    st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "-0.0", "0." + "0" * 30, "1" + "0" * 80, "-.5", "1.", "+1"]),
    st.builds("{}{}.{}".format, signs, digits(1, 45), digits(1, 25)),
    st.builds("{}{}".format, signs, digits(1, 20)),
)
floats = st.one_of(
    st.floats().map(lambda f: repr(f).replace("nan", "NaN").replace("inf", "Infinity")),
    st.builds("{}{}.{}e{}{}".format, signs, digits(1, 20), digits(1, 20), st.sampled_from("+-"), digits(1, 3)),
    decimals,
    st.sampled_from(["1e39", "3.4028235677973366e38", "3.4028235677973365e38", "7e-46", "8e-46", "1e400", "1e-400",
                     "1.0000000596046448", "1.00000017881393432617187499", "1.00000017881393432617187500",
                     "1e5", "1e+",
                     "0x1p3", "1E+5", "nan", "inf", "16777217", "9007199254740993", "0.1e+0001", "1" * 70]),
)  # fmt: skip
days = st.one_of(
    st.builds("{}-{}-{}{}".format, digits(4, 8), digits(2, 2), digits(2, 2), st.sampled_from(["", " BC", " bc"])),
    st.builds(
        "{:04}-{:02}-{:02}{}".format,
        st.integers(1, 6_000_000),
        st.integers(0, 13),
        st.integers(0, 32),
        st.sampled_from(["", "", " BC"]),
    ),
    st.sampled_from(["infinity", "-infinity", "9999999-12-31", "0000-01-01", "", " BC"]),
)
clocks = st.builds(
    "{:02}:{:02}:{:02}{}".format,
    st.integers(0, 25),
    st.integers(0, 60),
    st.integers(0, 61),
    st.one_of(st.just(""), digits(0, 7).map(".{}".format)),
)
zones = st.sampled_from(["", "+00", "+00", "-11:30", "+05:45:10", "+5", "+05:4", "-00:60", "Z"])


@st.composite
def moments(draw: st.DrawFn) -> str:
    day = draw(days)
    bc = day.endswith(" BC")
    return f"{day.removesuffix(' BC')} {draw(clocks)}{draw(zones)}{' BC' if bc else ''}"


items = st.one_of(
    st.none(),
    st.text('ab{}",;\\ é\n', max_size=6),
    st.sampled_from(["NULL", "null", "", "12", "-3", "1.5", "NaN", "t"]),
)


def printed(item: Any, delimiter: str) -> str:
    """As array_out() does, now and then with less care."""
    if isinstance(item, list):
        return "{" + delimiter.join(printed(part, delimiter) for part in item) + "}"
    if item is None:
        return "NULL"
    if item and item != "NULL" and not set(item) & set('{},;"\\ \n'):
        return str(item)
    return '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def arrays(draw: st.DrawFn) -> str:
    shape = draw(st.lists(st.integers(1, 3), min_size=0, max_size=3))
    delimiter = draw(st.sampled_from(",,,;"))

    def filled(sizes: list[int]) -> Any:
        return [filled(sizes[1:]) for _ in range(sizes[0])] if sizes else draw(items)

    text = printed(filled(shape), delimiter) if shape else "{}"
    prefix = draw(st.sampled_from(["", "", "", "[0:1]=", "[-2:3][1:1]=", "[0:", "[a:b]=", "[1:2]" * 7 + "="]))
    return draw(st.sampled_from([prefix + text, prefix + text, text[:-1], text + "}", text + " ", text[1:]]))


VALUES: dict[str, st.SearchStrategy[str]] = {
    "bool": st.sampled_from(["t", "f", "true", ""]),
    "int2": st.one_of(st.integers(-(2**15), 2**15 - 1).map(str), decimals),
    "int4": st.one_of(st.integers(-(2**31), 2**31 - 1).map(str), st.sampled_from(["", "-", "00", "2147483648"])),
    "int8": st.one_of(st.integers(-(2**63), 2**63 - 1).map(str), st.integers(-(2**65), 2**65).map(str)),
    "oid": st.integers(-1, 2**32).map(str),
    "float4": floats,
    "float8": floats,
    "decimal": decimals,
    "wide": decimals,
    "text": st.text(max_size=40),
    "bytea": st.one_of(st.binary(max_size=40).map(lambda b: "\\x" + b.hex()), st.text("\\xaF0g ", max_size=6)),
    "date": days,
    "time": clocks,
    "timestamp": moments(),
    "timestamptz": moments(),
    "money": st.one_of(
        st.integers(-(10**18), 10**18).map(lambda n: f"{'-' if n < 0 else ''}${abs(n):,}.00"),
        st.text("-$,.12", max_size=8),
    ),
    "inet": st.sampled_from(["10.0.0.1", "::1", "10.0.0.0/8", "fe80::/64", ""]),
    "ints": arrays(),
    "texts": arrays(),
    "decimals": arrays(),
    "boxes": arrays(),
    "bools": arrays(),
}

#: Texts that every type takes, for frames whose tuples are the matter.
PLAIN = {
    "bool": "t", "int2": "-7", "int4": "123", "int8": "9", "oid": "1", "float4": "1.5", "float8": "0.1",
    "decimal": "12.5", "wide": "-1.25", "text": "héllo", "bytea": "\\x00ff", "date": "2020-01-02", "time": "01:02:03",
    "timestamp": "2020-01-02 03:04:05.6", "timestamptz": "2020-01-02 03:04:05.6+00", "money": "$1,000.00",
    "inet": "10.0.0.1", "ints": "{1,NULL,3}", "texts": '{{a,"b,"}}', "decimals": "{1.5}", "boxes": "{(1,1),(0,0)}",
    "bools": "{t,f}",
}  # fmt: skip


def exact(value: Any) -> Any:
    if isinstance(value, list):
        return [exact(item) for item in value]
    return repr(value) if isinstance(value, float) and (math.isnan(value) or value == 0) else value


def plain(array: pa.Array) -> Any:
    """Moments as numbers; everything else as Python has it."""
    array.validate(full=not pa.types.is_list(array.type))
    if pa.types.is_timestamp(array.type) or pa.types.is_time64(array.type):
        array = array.view(pa.int64())
    if pa.types.is_date32(array.type):
        array = array.view(pa.int32())
    if pa.types.is_string(array.type):
        array = array.view(pa.binary())
    return exact(array.to_pylist())


def seen(batch: ChangeBatch) -> Any:
    return {
        "columns": {column: plain(batch.data.column(column)) for column in batch.data.schema.names},
        "types": [str(field.type) for field in batch.data.schema],
        "nulls": [column.null_count for column in batch.data.columns],
        "meta": [plain(array) for array in (batch.op, batch.lsn, batch.ordinal, batch.committed_at)],
        "unchanged": {column: plain(mask) for column, mask in batch.unchanged.items()},
        "moved": None if batch.moved is None else plain(batch.moved),
        "old": None if batch.old_key is None else [plain(column) for column in batch.old_key.columns],
        "misfits": batch.misfits,
    }


def outcome(stretches: list[Stretch], tables: Tables, *, native: bool, max_bytes: int, check_utf8: bool) -> Any:
    """All slices, and at which place an error stopped them."""
    slices: list[ChangeSlice] = []
    stopped: Any = None
    with ChangeDecoder(tables, native=native, check_utf8=check_utf8) as decoder:
        decoder.follow(name("half"), start=60, visible=lambda xid: xid % 2 == 0)
        try:
            for stretch in stretches:
                slices += decoder.decode(stretch, max_bytes)
        except SynclineError as error:
            stopped = (error.kind, error.where)
    return [
        (
            [(which.name, seen(batch)) for which, batch in part.batches],
            part.position,
            part.whole,
            part.committed_at,
            {which.name: (error.kind, error.where) for which, error in part.broken.items()},
        )
        for part in slices
    ], stopped


def same(stretches: list[Stretch], *, max_bytes: int = 1 << 20, check_utf8: bool = False) -> Any:
    def tables() -> Tables:
        return Tables({"id": pa.int32(), **TYPES}, natives=NATIVES, unselected={"not"})

    native, python = (
        outcome(stretches, tables(), native=each, max_bytes=max_bytes, check_utf8=check_utf8) for each in (True, False)
    )
    assert native == python
    return native


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=EXAMPLES // 3)
@given(data=st.data())
def test_values(kind, data):
    values = data.draw(st.lists(VALUES[kind], min_size=1, max_size=4))
    frames = Frames().relation(1, "t", [("id", True), (kind, False)]).begin(1)
    for number, value in enumerate(values):
        frames.insert(1, [str(number), value])
    found, stopped = same([frames.commit(1).stretch()], check_utf8=True)
    assert (stopped is None) == bool(found)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_value_of_each_type_is_one(kind):
    found, stopped = same(
        [Frames().relation(1, "t", [(kind, False)]).begin(1).insert(1, [PLAIN[kind]]).commit(1).stretch()]
    )
    assert stopped is None
    assert not found[0][0][0][1]["misfits"]
    assert found[0][0][0][1]["nulls"] == [0]


@settings(max_examples=EXAMPLES // 5)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_text_in_no_encoding(values):
    frames = Frames().relation(1, "t", [("v", False), ("texts", False)]).begin(1)
    for value in values:
        quoted = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        frames.insert(1, [value, b'{{"' + quoted + b'"}}'])
    found, stopped = same([frames.commit(1).stretch()], check_utf8=True)
    assert stopped is None
    assert found


KEY = [("id", True), ("money", True)]


@st.composite
def logs(draw: st.DrawFn) -> list[Stretch]:
    """Transactions over four tables, ordinary and streamed, with everything a tuple may be."""
    columns = [*KEY, *((kind, False) for kind in draw(st.lists(st.sampled_from(list(TYPES)), max_size=5, unique=True))
                       if kind != "money")]  # fmt: skip
    names = {1: "t", 2: "half", 3: "not", 4: "full"}

    def cell(kind: str, *, left_out: bool) -> Value:
        options: list[Value] = [PLAIN.get(kind, "1"), PLAIN.get(kind, "1"), None]
        if kind == "id":
            options = ["1", "2"]
        if kind == "timestamp":
            options.append("infinity")
        return draw(st.sampled_from([*options, ...] if left_out else options))

    def rows(*, left_out: bool = False) -> list[Value]:
        return [cell(kind, left_out=left_out) for kind, _ in columns]

    def old() -> list[Value]:
        return [cell(kind, left_out=False) if key else None for kind, key in columns]

    def write(frames: Frames, xid: int | None) -> None:
        oid = draw(st.sampled_from(list(names)))
        match draw(st.sampled_from("IIUUUDTRM")):
            case "I":
                frames.insert(oid, rows(), xid=xid)
            case "U":
                full = oid == 4
                before = draw(st.sampled_from([None, rows() if full else old()]))
                frames.update(oid, rows(left_out=True), old=before, kind=b"O" if full else b"K", xid=xid)
            case "D":
                frames.delete(oid, rows() if oid == 4 else old(), kind=b"O" if oid == 4 else b"K", xid=xid)
            case "T":
                frames.truncate(*draw(st.lists(st.sampled_from(list(names)), min_size=1, max_size=4)), xid=xid)
            case "R":
                frames.relation(oid, names[oid], columns, identity="f" if oid == 4 else "d",
                                type_oid=draw(st.integers(1, 2)), xid=xid)  # fmt: skip
            case _:
                frames.message("syncline", xid=xid)

    first = Frames()
    for oid, table in names.items():
        first.relation(oid, table, columns, identity="f" if oid == 4 else "d")
    stretches, lsn = [first.stretch(end=20)], 20
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            frames = Frames()
            for _ in range(draw(st.integers(0, 3))):
                frames.begin(lsn, at=lsn, xid=lsn // 20)
                for _ in range(draw(st.integers(0, 6))):
                    write(frames, None)
                frames.commit(lsn, at=lsn)
                lsn += 20
            stretches.append(frames.stretch(start=lsn, end=lsn))
        else:
            parts = draw(st.integers(1, 3))
            for part in range(parts):
                frames = Frames()
                for _ in range(draw(st.integers(0, 6))):
                    write(frames, draw(st.sampled_from([900, 901, 902])))
                stretches.append(frames.streamed(lsn, aborted={901}, whole=part == parts - 1, xid=lsn // 20, start=lsn))
            lsn += 20
    return stretches


@settings(max_examples=EXAMPLES)
@given(logs(), st.sampled_from([1, 200, 1000, 1 << 20]))
def test_logs(stretches, max_bytes):
    found, stopped = same(stretches, max_bytes=max_bytes)
    assert stopped is None
    assert found


@settings(max_examples=EXAMPLES)
@given(logs(), st.integers(0, 2**32))
def test_damaged_logs(stretches, seed):
    """Cut off, overwritten, with pieces out and in: the same rows before the damage and the same verdict."""
    same([damaged(stretch, random.Random(seed)) for stretch in stretches], max_bytes=500, check_utf8=True)


def damaged(stretch: Stretch, dice: random.Random) -> Stretch:
    data = bytearray(bytes(stretch.frames))
    for _ in range(dice.choice([0, 1, 1, 2, 8])):
        if not data:
            break
        at = dice.randrange(len(data))
        match dice.randrange(5):
            case 0:
                del data[at:]
            case 1:
                data[at] = dice.randrange(256)
            case 2:
                data[at] = dice.choice(b'nutKONIUDTRBCYM\0\xff{}"\\-0')
            case 3:
                del data[at : at + dice.randrange(1, 5)]
            case _:
                data[at:at] = struct.pack(">I", dice.choice([0, 1, 2**31 - 1, 2**32 - 1, 5]))
    values = {**stretch.__dict__, "frames": bytes(data)}
    return Stretch(**values)
