"""What each message of pgoutput becomes, through both decoders of changes."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest
from tests.unit.connectors.postgres.changes_frames import EPOCH, Frames, Tables, changes, decode, name, places, rows

from syncline.connectors.postgres.changes.decode import ChangeDecoder, native_available
from syncline.connectors.postgres.changes.relation import Described, Refused, RelationColumn, RelationMessage
from syncline.core.change import Evolution, Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema

I, U, D, T = (int(op) for op in Op)  # noqa: E741
COLUMNS = [("id", True), ("v", False), ("w", False)]


@pytest.fixture(params=["native", "python"])
def native(request):
    if request.param == "native" and not native_available():
        pytest.skip("the extension is not built here")
    return request.param == "native"


@pytest.fixture
def tables():
    return Tables({"id": pa.int32()}, unselected={"other"})


@pytest.fixture
def decoder(native, tables):
    with ChangeDecoder(tables, native=native) as made:
        yield made


def table():
    return Frames().relation(1, "t", COLUMNS)


def test_rows_of_a_transaction_in_order_with_their_place_and_time(decoder):
    frames = table().begin(100, at=5, xid=3).insert(1, ["1", "a", None]).update(1, ["1", "b", ""])
    frames.delete(1, ["1", None, None]).truncate(1).commit(100, 140, at=5)
    [part] = decode(decoder, frames.stretch(end=150))
    assert changes([part], "t") == [
        {"op": I, "id": 1, "v": "a", "w": None},
        {"op": U, "id": 1, "v": "b", "w": ""},
        {"op": D, "id": 1, "v": None, "w": None},
        {"op": T, "id": None, "v": None, "w": None},
    ]
    assert places([part], "t") == [(100, 1), (100, 2), (100, 3), (100, 4)]
    [(_, batch)] = part.batches
    assert batch.committed_at.cast(pa.int64()).to_pylist() == [EPOCH + 5] * 4
    assert (part.position, part.whole, part.committed_at, part.broken) == (150, True, EPOCH + 5, {})
    assert batch.unchanged == {}
    assert (batch.moved, batch.old_key, batch.misfits, batch.evolution) == (None, None, (), None)


def test_an_empty_stretch_moves_the_position(decoder):
    [part] = decode(decoder, Frames().stretch(start=5, end=77))
    assert (part.batches, part.position, part.whole, part.committed_at) == ((), 77, True, None)


def test_a_changed_key_tells_the_former_one(decoder):
    frames = table().begin(1).update(1, ["1", "a", "x"]).update(1, ["2", "b", "x"], old=["1", None, None])
    frames.update(1, ["2", "c", "x"], old=["2", None, None]).commit(1)
    found = changes(decode(decoder, frames.stretch()), "t")
    assert [row.get("old") for row in found] == [None, {"id": 1}, None]


def test_the_full_identity_finds_moves_and_fills_what_was_left_out(decoder):
    frames = Frames().relation(1, "t", [(column, True) for column, _ in COLUMNS], identity="f").begin(1)
    frames.update(1, ["1", ..., "y"], old=["1", "long", "x"], kind=b"O")
    frames.update(1, ["2", ..., "y"], old=["1", "long", None], kind=b"O")
    frames.delete(1, ["2", "long", "y"], kind=b"O").commit(1)
    assert changes(decode(decoder, frames.stretch()), "t") == [
        {"op": U, "id": 1, "v": "long", "w": "y"},
        {"op": U, "id": 2, "v": "long", "w": "y", "old": {"id": 1}},
        {"op": D, "id": 2, "v": "long", "w": "y"},
    ]


def test_values_left_out_are_masked_and_a_key_that_was_is_filled(decoder):
    frames = Frames().relation(1, "t", [("id", True), ("k", True), ("v", False), ("w", False)]).begin(1)
    frames.insert(1, ["1", "k", "v", "w"])
    frames.update(1, ["1", ..., ..., "w2"], old=["1", "k", None, None])  # a long key is sent although it did not change
    frames.update(1, ["1", ..., "v2", ...], old=["1", "k", None, None])
    frames.update(1, ["9", ..., ..., "w3"], old=["1", "k", None, None]).commit(1)
    [part] = decode(decoder, frames.stretch())
    assert changes([part], "t") == [
        {"op": I, "id": 1, "k": "k", "v": "v", "w": "w"},
        {"op": U, "id": 1, "k": "k", "v": None, "w": "w2", "unchanged": ["v"]},
        {"op": U, "id": 1, "k": "k", "v": "v2", "w": None, "unchanged": ["w"]},
        {"op": U, "id": 9, "k": "k", "v": None, "w": "w3", "unchanged": ["v"], "old": {"id": 1, "k": "k"}},
    ]
    assert set(part.batches[0][1].unchanged) == {"v", "w"}


def test_masks_and_old_keys_do_not_leak_into_the_next_batch(decoder):
    first = table().begin(1).update(1, ["2", ..., "w"], old=["1", None, None]).commit(1)
    second = Frames().begin(20).update(1, ["3", "v", "w"]).commit(20)
    found = decode(decoder, first.stretch(end=10), second.stretch(start=10))
    assert changes(found, "t") == [
        {"op": U, "id": 2, "v": None, "w": "w", "unchanged": ["v"], "old": {"id": 1}},
        {"op": U, "id": 3, "v": "v", "w": "w"},
    ]
    assert found[1].batches[0][1].unchanged == {}
    assert found[1].batches[0][1].moved is None


def test_ordinals_count_what_is_not_selected_too(decoder, tables):
    frames = table().relation(2, "other", COLUMNS).relation(3, "u", COLUMNS)
    frames.begin(1).insert(2, ["1", "a", "b"]).insert(1, ["1", "a", "b"]).truncate(1, 2, 3).insert(3, ["1", "a", "b"])
    frames.commit(1).begin(30).insert(1, ["2", "a", "b"]).commit(30)
    found = decode(decoder, frames.stretch())
    assert places(found, "t") == [(1, 2), (1, 3), (30, 1)]
    assert places(found, "u") == [(1, 5), (1, 6)]
    assert [which.name for which, _ in found[0].batches] == ["t", "u"]
    assert [message.name for message in tables.asked] == ["other", "t", "u"]


def test_a_stream_leaves_out_what_lies_before_it_or_its_snapshot_shows(decoder):
    asked = []

    def visible(xid):
        asked.append(xid)
        return xid == 12

    decoder.follow(name("t"), start=100, visible=visible)
    frames = table().relation(3, "u", COLUMNS)
    for lsn, xid in ((50, 10), (100, 11), (150, 12), (200, 13)):
        frames.begin(lsn, xid=xid).insert(1, [str(lsn), "", ""]).insert(3, [str(lsn), "", ""])
        frames.insert(1, [str(lsn), "", ""]).commit(lsn)
    found = decode(decoder, frames.stretch())
    assert places(found, "t") == [(100, 1), (100, 3), (200, 1), (200, 3)]
    assert places(found, "u") == [(50, 2), (100, 2), (150, 2), (200, 2)]
    assert asked == [11, 12, 13]
    decoder.follow(name("t"))
    frames = Frames().begin(60, xid=12).insert(1, ["1", "", ""]).commit(60)
    assert places(decode(decoder, frames.stretch()), "t") == [(60, 1)]
    assert asked == [11, 12, 13]


def test_a_stream_can_be_added(decoder, tables):
    frames = Frames().relation(2, "other", COLUMNS).begin(1).insert(2, ["1", "a", "b"]).commit(1)
    assert decode(decoder, frames.stretch(end=10))[0].batches == ()
    tables.unselected.clear()
    decoder.follow(name("other"), start=20)
    frames = Frames().begin(12).insert(2, ["1", "a", "b"]).commit(12).begin(20).insert(2, ["2", "a", "b"]).commit(20)
    assert places(decode(decoder, frames.stretch(start=10)), "other") == [(20, 1)]


def test_a_relation_that_says_something_new_closes_the_batch(decoder, tables):
    frames = table().begin(1).insert(1, ["1", "a", "b"]).relation(1, "t", COLUMNS).insert(1, ["2", "a", "b"])
    frames.relation(1, "t", [("id", True), ("v", False)]).insert(1, ["3", "a"]).commit(1)
    [part] = decode(decoder, frames.stretch())
    assert [(which.name, batch.schema.names, batch.rows) for which, batch in part.batches] == [
        ("t", ("id", "v", "w"), 2),
        ("t", ("id", "v"), 1),
    ]
    assert len(tables.asked) == 2
    assert tables.asked[0] == RelationMessage(
        oid=1,
        namespace="public",
        name="t",
        identity="d",
        columns=tuple(RelationColumn(name=c, type_oid=25, typmod=-1, key=k) for c, k in COLUMNS),
    )


def described(*fields, evolution=None, columns=None):
    schema = StreamSchema(fields=tuple(Field(name=f, type=pa.string()) for f in fields))
    places = columns or tuple(range(len(fields)))
    return Described(stream=name("t"), schema=schema, columns=places, key=("id",), evolution=evolution)


def test_an_evolution_comes_with_the_first_batch_or_alone(native):
    renamed, again = Evolution(renamed={"b": "v"}), Evolution(renamed={"c": "b"})
    answers = iter(
        [described("id", "v"), described("id", "b", evolution=renamed), described("id", "c", evolution=again)]
    )
    frames = Frames().relation(1, "t", [("id", True), ("v", False)]).begin(1).insert(1, ["1", "a"]).commit(1)
    frames.begin(20, xid=1).relation(1, "t", [("id", True), ("b", False)]).insert(1, ["2", "a"]).commit(20)
    frames.begin(40).relation(1, "t", [("id", True), ("c", False)]).insert(1, ["3", "a"]).commit(40)
    decoder = ChangeDecoder(lambda message: next(answers), native=native)
    decoder.follow(name("t"), visible=lambda xid: xid == 1)  # what the second one describes has no row
    [part] = decode(decoder, frames.stretch())
    assert [(batch.schema.names, batch.rows, batch.evolution) for _, batch in part.batches] == [
        (("id", "v"), 1, None),
        (("id", "b"), 0, renamed),
        (("id", "c"), 1, again),
    ]
    assert rows(part.batches[1][1]) == []


def test_fields_may_be_fewer_than_columns_and_in_another_order(native):
    decoder = ChangeDecoder(lambda message: described("w", "id", columns=(2, 0)), native=native)
    frames = table().begin(1).insert(1, ["1", "a", "b"]).update(1, ["2", ..., "c"], old=["1", None, None]).commit(1)
    assert changes(decode(decoder, frames.stretch()), "t") == [
        {"op": I, "w": "b", "id": "1"},
        {"op": U, "w": "c", "id": "2", "old": {"id": "1"}},
    ]


def test_another_table_may_take_a_streams_name(native):
    decoder = ChangeDecoder(lambda message: described("id", "v", "w"), native=native)
    frames = table().relation(2, "t", COLUMNS).begin(1)
    frames.insert(1, ["1", "", ""]).insert(2, ["2", "", ""]).insert(1, ["3", "", ""]).commit(1)
    found = decode(decoder, frames.stretch())
    assert [row["id"] for row in changes(found, "t")] == ["1", "2", "3"]
    assert places(found, "t") == [(1, 1), (1, 2), (1, 3)]


def test_a_refused_stream_is_broken_and_the_others_go_on(native):
    error = SynclineError(ErrorKind.SCHEMA, "a column changed its type")

    def describe(message):
        return Refused(stream=name("t"), error=error) if message.oid == 1 else described("id", "v", "w")

    decoder = ChangeDecoder(describe, native=native)
    frames = table().relation(2, "u", COLUMNS).begin(1).insert(1, ["1", "", ""]).insert(2, ["2", "", ""])
    frames.insert(1, ["1", "", ""]).commit(1)
    [part] = decode(decoder, frames.stretch())
    assert part.broken == {name("t"): error}
    assert part.rows == 1


def test_a_streamed_transaction_leaves_out_aborted_parts(decoder, tables):
    frames = Frames().relation(1, "t", COLUMNS, xid=900).insert(1, ["1", "a", "b"], xid=900)
    frames.relation(1, "t", [*COLUMNS, ("x", False)], xid=901).insert(1, ["2", "a", "b", "c"], xid=901)
    frames.truncate(1, xid=901).message("syncline", xid=901)
    frames.insert(1, ["3", "a", "b"], xid=902).raw(b"O" + bytes(8) + b"o\0").message("syncline", xid=900)
    [part] = decode(decoder, frames.streamed(500, aborted=[901, 17], at=7))
    assert [row["id"] for row in changes([part], "t")] == [1, 3]
    assert places([part], "t") == [(500, 1), (500, 2)]
    assert (part.position, part.whole, part.committed_at) == (508, True, EPOCH + 7)
    assert len(tables.asked) == 1


def test_parts_of_a_streamed_transaction_count_on(decoder):
    first = Frames().relation(1, "t", COLUMNS, xid=900).insert(1, ["1", "a", "b"], xid=900)
    second = Frames().insert(1, ["2", "a", "b"], xid=900)
    found = decode(decoder, first.streamed(500, whole=False, start=400), second.streamed(500, start=400))
    assert places(found, "t") == [(500, 1), (500, 2)]
    assert [(part.position, part.whole, part.committed_at) for part in found] == [
        (400, False, None),
        (508, True, EPOCH),
    ]
    other = Frames().insert(1, ["3", "a", "b"], xid=901)
    assert places(decode(decoder, other.streamed(600, xid=901)), "t") == [(600, 1)]


def test_another_transaction_cannot_follow_a_part_of_one(decoder):
    decode(decoder, Frames().streamed(500, whole=False))
    with pytest.raises(SynclineError, match="another transaction"):
        decode(decoder, Frames().stretch())


def test_slices_end_after_transactions_or_within_large_ones(decoder):
    frames = table()
    for lsn in range(100, 400, 100):
        frames.begin(lsn, at=lsn).insert(1, ["1", "x" * 600, ""]).commit(lsn)
    frames.begin(400)
    for _ in range(3):
        frames.insert(1, ["1", "x" * 900, ""])
    frames.commit(400, at=400).begin(500).insert(1, ["1", "", ""]).commit(500)
    found = decode(decoder, frames.stretch(start=50, end=600), max_bytes=1000)
    assert [(part.rows, part.position, part.whole, part.committed_at) for part in found] == [
        (2, 208, True, EPOCH + 200),
        (2, 308, False, EPOCH + 300),
        (2, 408, True, EPOCH),
        (1, 600, True, EPOCH),
    ]
    assert places(found, "t") == [(100, 1), (200, 1), (300, 1), (400, 1), (400, 2), (400, 3), (500, 1)]


def test_a_transaction_is_asked_about_once_although_its_slices_are_many(decoder):
    asked = []

    def visible(xid):
        asked.append(xid)
        return False

    decoder.follow(name("t"), visible=visible)
    frames = table().begin(400, xid=4)
    for _ in range(5):
        frames.insert(1, ["1", "x" * 900, ""])
    found = decode(decoder, frames.commit(400).stretch(), max_bytes=1000)
    assert len(places(found, "t")) == 5
    assert asked == [4]


def test_other_messages_are_passed_over(decoder):
    frames = Frames().message("syncline", b"beat").raw(b"Y" + struct.pack(">I", 7) + b"public\0mood\0")
    frames.begin(1).raw(b"O" + bytes(8) + b"there\0").message("other", b"...").commit(1)
    [part] = decode(decoder, frames.stretch(end=9))
    assert (part.rows, part.position, part.committed_at) == (0, 9, EPOCH)


def test_a_table_without_columns_has_rows(native):
    decoder = ChangeDecoder(lambda message: Described(stream=name("t"), schema=StreamSchema(fields=()), columns=()),
                            native=native)  # fmt: skip
    frames = Frames().relation(1, "t", []).begin(1).insert(1, []).insert(1, []).commit(1)
    [part] = decode(decoder, frames.stretch())
    assert part.rows == 2


def test_a_former_key_without_a_place_breaks_the_stream(native):
    decoder = ChangeDecoder(Tables({"v": pa.timestamp("us")}), native=native)
    columns = [("id", True), ("v", True)]
    frames = Frames().relation(1, "t", columns).relation(2, "u", columns).begin(1).insert(1, ["1", "infinity"])
    frames.update(1, ["3", "2020-01-01 00:00:00"], old=["2", "2020-01-01 00:00:00"])
    frames.update(1, ["1", "2020-01-01 00:00:00"], old=["1", "infinity"]).insert(2, ["1", None])
    frames.insert(1, ["1", None]).commit(1)
    [part] = decode(decoder, frames.stretch())
    assert [len(changes([part], each)) for each in "tu"] == [2, 1]
    assert changes([part], "t")[1]["old"]["id"] == "2"
    [error] = part.broken.values()
    assert error.kind is ErrorKind.DATA
    assert error.where["column"] == "v"
    assert places([part], "u") == [(1, 4)]


BROKEN = {
    "a length that is cut off": lambda: Frames().begin(1).data + b"\0\0\0",
    "a frame that is cut off": lambda: table().begin(1).data[:-1],
    "an empty frame": lambda: b"\0\0\0\0",
    "no commit": lambda: table().begin(1).data,
    "a begin within": lambda: table().begin(1).begin(2).data,
    "a commit outside": lambda: table().commit(2).data,
    "a commit of another": lambda: table().begin(1).commit(2).data,
    "a change outside": lambda: table().insert(1, ["1", "", ""]).data,
    "a truncate outside": lambda: table().truncate(1).data,
    "no relation": lambda: Frames().begin(1).insert(1, ["1"]).commit(1).data,
    "no relation of a truncate": lambda: table().begin(1).truncate(1, 2).commit(1).data,
    "fewer columns": lambda: table().begin(1).insert(1, ["1", ""]).commit(1).data,
    "more columns": lambda: table().begin(1).insert(1, ["1", "", "", ""]).commit(1).data,
    "a value left out of an insert": lambda: table().begin(1).insert(1, ["1", ..., ""]).commit(1).data,
    "a value left out of a delete": lambda: table().begin(1).delete(1, ["1", ..., ""]).commit(1).data,
    "not of its type": lambda: table().begin(1).insert(1, ["one", "", ""]).commit(1).data,
    "an update without a new row": lambda: table().begin(1).raw(b"U\0\0\0\1K\0\3nnn").commit(1).data,
    "an insert with an old row": lambda: table().begin(1).raw(b"I\0\0\0\1K\0\3nnn").commit(1).data,
    "a delete with a new row": lambda: table().begin(1).raw(b"D\0\0\0\1N\0\3nnn").commit(1).data,
    "a binary value": lambda: table().begin(1).raw(b"I\0\0\0\1N\0\3nnb\0\0\0\0").commit(1).data,
    "a negative length": lambda: table().begin(1).raw(b"I\0\0\0\1N\0\3nnt\xff\xff\xff\xff").commit(1).data,
    "a length too long": lambda: table().begin(1).raw(b"I\0\0\0\1N\0\3nnt\0\0\0\1").commit(1).data,
    "bytes after the row": lambda: table().begin(1).raw(b"I\0\0\0\1N\0\3nnn!").commit(1).data,
    "an unknown message": lambda: Frames().raw(b"Z").data,
    "a stream's message": lambda: Frames().raw(b"S\0\0\0\1\1").data,
    "a relation that is cut off": lambda: Frames().raw(b"R\0\0\0\1public\0t\0d\0\1\0id\0\0\0").data,
    "a relation longer than it is": lambda: Frames().raw(b"R\0\0\0\1public\0t\0d\0\0!").data,
    "a truncate that is cut off": lambda: table().begin(1).raw(b"T\0\0\0\1\0\0\0").commit(1).data,
    "an impossible time": lambda: Frames().begin(1, at=2**63 - 1).commit(1).data,
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_the_protocol_does_not_say_is_an_error_with_its_place(decoder, case):
    frames = Frames()
    frames.data += BROKEN[case]()
    with pytest.raises(SynclineError) as raised:
        decode(decoder, frames.stretch())
    assert raised.value.kind is ErrorKind.DATA
    assert raised.value.hint
    assert "frame" in raised.value.where


def test_an_error_names_stream_column_and_place(decoder):
    frames = table().begin((2 << 32) + 10).insert(1, ["one", "", ""]).commit((2 << 32) + 10)
    with pytest.raises(SynclineError) as raised:
        decode(decoder, frames.stretch())
    where = raised.value.where
    assert (where["stream"], where["relation"], where["column"], where["lsn"]) == ("public.t", 1, "id", "2/A")


def test_a_streamed_transaction_at_an_impossible_time_is_an_error(decoder):
    frames = Frames().relation(1, "t", COLUMNS, xid=900).insert(1, ["1", "a", "b"], xid=900)
    with pytest.raises(SynclineError, match="impossible time"):
        decode(decoder, frames.streamed(500, at=2**63 - 1))


def test_the_environment_can_forbid_the_compiled_decoder(monkeypatch):
    monkeypatch.setenv("SYNCLINE_NO_NATIVE", "1")
    assert not native_available()
    with pytest.raises(SynclineError, match="not there"):
        ChangeDecoder(Tables(), native=True)


def test_any_buffer_may_hold_the_frames(decoder):
    data = table().begin(1).insert(1, ["1", "a", "b"]).commit(1).data
    for frames in (bytes(data), bytearray(data), memoryview(data), memoryview(bytes(data))):
        stretch = Frames().stretch()
        object.__setattr__(stretch, "frames", frames)
        assert len(changes(decode(decoder, stretch), "t")) == 1


def test_a_closed_decoder_says_so(decoder):
    frames = table().begin(1).insert(1, ["1", "x" * 99, ""]).insert(1, ["1", "x" * 99, ""]).commit(1)
    parts = decoder.decode(frames.stretch(), 100)
    assert not next(parts).whole
    decoder.close()
    decoder.close()
    for use in (lambda: next(parts), lambda: decode(decoder, frames.stretch()), lambda: decoder.follow(name("t"))):
        with pytest.raises(SynclineError, match="is closed"):
            use()


def test_the_memory_of_frames_can_be_used_again(decoder):
    frames = table().begin(1).insert(1, ["1", "a", "b"]).commit(1)
    stretch = frames.stretch()
    object.__setattr__(stretch, "frames", frames.data)
    found = decode(decoder, stretch)
    frames.data[:] = b""  # a bytearray that somebody looks at cannot shrink
    assert changes(found, "t") == [{"op": I, "id": 1, "v": "a", "w": "b"}]


def test_a_described_key_must_be_of_the_stream(native):
    decoder = ChangeDecoder(lambda message: described("v", "w"), native=native)
    with pytest.raises(SynclineError, match="a key that it has not"):
        decode(decoder, table().begin(1).insert(1, ["1", "", ""]).commit(1).stretch())


def test_a_described_column_must_be_one_of_the_table(native):
    decoder = ChangeDecoder(lambda message: described("id", "v", columns=(0, 3)), native=native)
    with pytest.raises(SynclineError, match="columns that its table has not"):
        decode(decoder, table().begin(1).insert(1, ["1", "", ""]).commit(1).stretch())
