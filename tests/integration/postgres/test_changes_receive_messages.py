"""Native and Python receiver take the same messages apart in the same way, malformed ones too."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.connectors.postgres.changes.receive_fallback import PythonReceiver, Status
from syncline.connectors.postgres.changes.receive_native import NativeReceiver, native_receiver_library
from syncline.connectors.postgres.changes.spool_relations import messages

LIBRARY = native_receiver_library()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the extension is not compiled here")

LIMITS = {"target_bytes": 200, "spill_bytes": 150, "position": 1000}


def data(payload: bytes, end: int = 0) -> bytes:
    return struct.pack(">cQQq", b"w", 0, end, 0) + payload


def keepalive(end: int, reply: bool) -> bytes:
    return struct.pack(">cQqB", b"k", end, 0, reply)


def begin(lsn: int, xid: int) -> bytes:
    return data(struct.pack(">cQqI", b"B", lsn, 3, xid))


def commit(lsn: int) -> bytes:
    return data(struct.pack(">cBQQq", b"C", 0, lsn, lsn + 8, 4))


@st.composite
def transaction(draw: Any, lsn: int) -> list[bytes]:
    body = draw(st.lists(st.tuples(st.sampled_from(b"IUDTRYMO"), st.binary(min_size=9, max_size=60)), max_size=8))
    return [begin(lsn, lsn % 97), *(data(bytes([kind]) + rest) for kind, rest in body), commit(lsn)]


@st.composite
def stream_block(draw: Any, xid: int) -> list[bytes]:
    body = draw(st.lists(st.tuples(st.sampled_from(b"IUDTRYMO"), st.binary(min_size=9, max_size=60)), max_size=6))
    start = data(struct.pack(">cIB", b"S", xid, 1))
    return [start, *(data(bytes([kind]) + rest) for kind, rest in body), data(b"E")]


@st.composite
def sessions(draw: Any) -> list[bytes]:
    found: list[bytes] = []
    lsn = 900  # below the first position: transactions that are known
    for _ in range(draw(st.integers(1, 12))):
        lsn += draw(st.integers(8, 60))
        kind = draw(st.sampled_from("tttbcaakm"))
        xid = draw(st.integers(1, 3))
        if kind == "t":
            found += draw(transaction(lsn))
        elif kind == "b":
            found += draw(stream_block(xid))
        elif kind == "c":
            found.append(data(struct.pack(">cIBQQq", b"c", xid, 0, lsn, lsn + 8, 5)))
        elif kind == "a":
            found.append(data(struct.pack(">cII", b"A", xid, draw(st.integers(1, 3)))))
        elif kind == "k":
            found.append(keepalive(lsn, draw(st.booleans())))
        else:
            found.append(data(struct.pack(">cBQ", b"M", 0, lsn) + b"syncline\0" + struct.pack(">I", 0)))
    return found


def seen(receiver: Any, message: bytes, pause: bool) -> Any:
    status = receiver.feed(message)
    found = (
        status,
        bytes(receiver.frames),
        receiver.relations,
        receiver.dropped_relations,
        bytes(receiver.block),
        receiver.block_relations,
        receiver.position,
        receiver.server_end,
        receiver.messages,
        receiver.bytes,
    )
    event: tuple[int, ...] = ()
    if status is Status.COMMIT:
        event = (receiver.xid, receiver.commit_lsn, receiver.end_lsn, receiver.committed_at)
    elif status is Status.ABORT:
        event = (receiver.xid, receiver.subxid)
    block_xid = receiver.block_xid if len(receiver.block) else 0
    if status is not Status.IDLE or pause:
        receiver.clear()
        receiver.clear_block()
    return found, event, block_xid


def pair() -> tuple[NativeReceiver, PythonReceiver]:
    assert LIBRARY is not None
    return NativeReceiver(LIBRARY, **LIMITS), PythonReceiver(**LIMITS)


@given(session=sessions(), pauses=st.sets(st.integers(0, 60)))
def test_both_find_the_same(session, pauses):
    native, python = pair()
    for number, message in enumerate(session):
        found = seen(native, message, number in pauses)
        assert found == seen(python, message, number in pauses)
        assert found[0][0] is not Status.MALFORMED
        assert all(end <= len(found[0][1]) for _, end in messages(found[0][1]))
    native.close()


@given(session=sessions(), at=st.integers(0, 200), cut=st.integers(0, 60), junk=st.binary(max_size=40))
def test_malformed_messages_are_named_by_both(session, at, cut, junk):
    native, python = pair()
    session.insert(at % (len(session) + 1), junk)
    other = session[(at + 1) % len(session)]
    session[(at + 1) % len(session)] = other[: len(other) - cut]
    for message in session:
        if not message:
            continue  # libpq knows no empty one
        found = seen(native, message, False)
        assert found == seen(python, message, False)
        if found[0][0] is Status.MALFORMED:
            break
    native.close()


def test_what_belongs_to_an_open_transaction_stays_for_its_commit():
    native, python = pair()
    for receiver in (native, python):
        receiver.feed(begin(2000, 7))
        receiver.feed(data(b"I" + b"x" * 30))
        receiver.feed(commit(2000))
        receiver.feed(begin(2010, 8))
        receiver.feed(data(b"R" + b"y" * 10))
        receiver.feed(keepalive(5000, False))
        assert receiver.position == 2008  # not beyond a transaction whose commit has not come
        assert len(receiver.frames) == 25 - 4 + 4 + 35 + 30
        assert receiver.relations == b""
        receiver.clear()
        assert len(receiver.frames) == 0
        receiver.feed(commit(2010))
        assert len(receiver.relations) == 15
        assert len(receiver.frames) == 25 + 15 + 30
        assert receiver.position == 2018
    native.close()


def test_a_log_that_goes_back_is_no_silent_loss():
    native, python = pair()
    for receiver in (native, python):
        receiver.feed(keepalive(3000, False))
        assert receiver.feed(begin(2000, 7)) is Status.MALFORMED
    native.close()
