"""The spool: what was appended comes back from any place, to any number of readers, and goes when nobody needs it."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.connectors.postgres.spool_messages import (
    Transaction,
    change,
    content,
    expected,
    frames,
    header,
    put,
    relation,
    streamed,
    texts,
)

from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.changes.spool_relations import KnownRelations, messages
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing import power_cut

START = 1000


@pytest.fixture
def spool(tmp_path):
    with_folder = Spool(tmp_path / "spool")
    with_folder.reset(START)
    yield with_folder
    with_folder.close()


def transactions(count: int, size: int = 20, first: int = START) -> list[Transaction]:
    return [Transaction(first + 10 * n, (change(1, b"%06d" % n + b"x" * size),)) for n in range(count)]


def test_a_reader_gets_what_was_appended_and_where_it_was(spool):
    some = transactions(3)
    put(spool, some[0], some[1])
    put(spool, some[2])
    cursor = spool.cursor(START)
    stretch = cursor.read(0)
    assert bytes(stretch.frames) == b"".join(each.frames for each in some)
    assert (stretch.start, stretch.end, stretch.whole, stretch.header) == (START, some[2].end, True, None)
    assert cursor.read(0) is None
    assert spool.end == cursor.position == some[2].end


def test_a_position_that_moved_alone_is_told_after_the_time_out(spool):
    cursor = spool.cursor(START)
    spool.append(b"", START + 500)
    assert spool.end == START + 500
    stretch = cursor.read(0.01)
    assert (bytes(stretch.frames), stretch.start, stretch.end) == (b"", START, START + 500)
    assert cursor.read(0) is None
    spool.append(b"", START + 400)  # never back
    assert spool.end == START + 500


def test_a_waiting_reader_is_woken(spool):
    cursor, found = spool.cursor(START), []
    thread = threading.Thread(target=lambda: found.append(cursor.read(60)))
    thread.start()
    time.sleep(0.05)
    put(spool, *transactions(1))
    thread.join(30)
    assert texts(found) == expected(transactions(1))


def test_readers_are_many_and_none_misses_anything(tmp_path):
    some = transactions(3000)
    with_folder = Spool(tmp_path / "s", segment_bytes=1 << 16)
    with_folder.reset(START)
    found: dict[int, list] = {n: [] for n in range(4)}

    def follow(number: int) -> None:
        cursor = with_folder.cursor(START)
        while cursor.position < some[-1].end:
            if (stretch := cursor.read(30, 1 << (10 + number))) is not None:
                found[number].append(stretch)
        cursor.close()

    threads = [threading.Thread(target=follow, args=(number,)) for number in found]
    for each in threads:
        each.start()
    for at in range(0, len(some), 7):
        put(with_folder, *some[at : at + 7])
    for each in threads:
        each.join(60)
    assert len(with_folder.segments) > 3
    for stretches in found.values():
        assert texts(stretches) == expected(some)
        assert all(a.end == b.start for a, b in itertools.pairwise(stretches))
    with_folder.close()


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    described=st.sets(st.integers(0, 40)),
    start=st.integers(0, 450),
    data=st.data(),
)
def test_a_cursor_begins_at_any_lsn(tmp_path_factory, sizes, described, start, data):
    """Exactly the transactions from there on, and the relations that were said before."""
    spool = Spool(tmp_path_factory.mktemp("s") / "spool", segment_bytes=1 << 16)
    spool.reset(START)
    written: list[Transaction] = []
    said = KnownRelations()
    for size in sizes:
        record: list[Transaction] = []
        for _ in range(size):
            n = len(written) + len(record)
            body: tuple[bytes, ...] = (change(1, b"%04d" % n + b"x" * data.draw(st.sampled_from([1, 20000]))),)
            if n in described:
                body = (relation(n % 3, b"name%d" % n), *body)
            record.append(Transaction(START + 10 * n, body))
        put(spool, *record)
        written += record
    at = min(START + start, spool.end)
    for each in written:
        if each.lsn < at:
            said.take(each.relations)
    found = content(spool, at, data.draw(st.sampled_from([1, 1000, 1 << 22])))
    assert texts(found) == expected(written, at)
    first = next((n for n, each in enumerate(found) if texts([each])), len(found))
    told = KnownRelations()
    for stretch in found[: first + 1]:
        for begin, end in messages(stretch.frames):
            if stretch.frames[begin] == ord("B"):
                break
            told.take(frames(bytes(stretch.frames[begin:end])))
    if first < len(found):
        assert sorted(told._latest.items()) == sorted(said._latest.items())
    spool.close()


def test_a_cursor_may_begin_beyond_the_end(spool):
    some = transactions(6)
    put(spool, some[0])
    cursor = spool.cursor(some[3].lsn)
    put(spool, *some[1:5])
    put(spool, some[5])
    found = [cursor.read(0), cursor.read(0)]
    assert texts(each for each in found if each) == expected(some, some[3].lsn)


def test_what_nobody_asks_for_goes_in_whole_files(tmp_path):
    spool = Spool(tmp_path / "s", segment_bytes=1 << 16)
    spool.reset(START)
    some = transactions(50, 10_000)
    for each in some:
        put(spool, each)
    files, size = len(spool.segments), spool.bytes
    assert files > 5
    assert size == sum(each.stat().st_size for each in (tmp_path / "s").glob("*.log"))
    spool.keep(some[20].lsn)
    assert spool.begin <= some[20].lsn
    assert len(spool.segments) < files
    assert spool.bytes < size
    assert texts(content(spool, some[20].lsn)) == expected(some, some[20].lsn)
    with pytest.raises(SynclineError) as raised:
        spool.cursor(START)
    assert raised.value.kind is ErrorKind.CONFLICT
    spool.keep(spool.end)
    assert len(spool.segments) == 1
    assert spool.bytes < 1 << 16
    assert content(spool) == []
    spool.close()


def test_a_full_spool_says_so_and_when_it_has_room_again(tmp_path):
    spool = Spool(tmp_path / "s", max_bytes=200_000)
    spool.reset(START)
    some = transactions(60, 10_000)
    written = 0
    while not spool.full:
        put(spool, some[written])
        written += 1
    assert 150_000 < spool.bytes < 250_000
    assert not spool.wait_for_room(0.01)
    timer = threading.Timer(0.1, spool.keep, [some[written - 1].end])
    timer.start()
    assert spool.wait_for_room(30)
    timer.join()
    for each in some[written:]:
        spool.keep(each.lsn)
        put(spool, each)
    assert texts(content(spool, some[-1].lsn)) == expected(some[-1:])
    assert spool.bytes < 200_000 + 65_536
    spool.close()


def test_only_one_process_at_a_time(tmp_path, spool):
    with pytest.raises(SynclineError, match=r"another process .* has the spool open") as raised:
        Spool(tmp_path / "spool")
    assert raised.value.kind is ErrorKind.CONFLICT
    spool.close()
    Spool(tmp_path / "spool").close()


def test_files_are_private(tmp_path, spool):
    put(spool, *transactions(3))
    spool.write_stream(9, frames(streamed(9, change(1, b"x" * 300_000))))
    spool.sync()
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    names = {each.name for each in (tmp_path / "spool").iterdir()}
    assert {"lock", "identity", "durable", "0000000001.log", "stream-9.part"} <= names
    for each in (tmp_path / "spool").iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each.name


def test_a_reset_is_another_spool(tmp_path, spool):
    put(spool, *transactions(3))
    former = spool.identity
    spool.sync()
    spool.reset(5000)
    assert (spool.begin, spool.end, spool.durable) == (5000, 5000, 5000)
    assert spool.identity != former
    assert content(spool) == []
    put(spool, *transactions(2, first=6000))
    identity = spool.identity
    spool.close()
    again = Spool(tmp_path / "spool")
    assert again.identity == identity
    assert texts(content(again)) == expected(transactions(2, first=6000))
    again.close()


def test_readers_hear_why_nothing_more_comes_after_the_rest(spool):
    put(spool, *transactions(2))
    cursor = spool.cursor(START)
    spool.fail(SynclineError(ErrorKind.CONFLICT, "the slot is gone"))
    assert texts([cursor.read(0)]) == expected(transactions(2))
    with pytest.raises(SynclineError, match="the slot is gone"):
        cursor.read(10)
    spool.fail(None)
    assert cursor.read(0) is None
    spool.close()
    with pytest.raises(SynclineError, match="closed"):
        cursor.read(10)


# -- streamed transactions ---------------------------------------------------------------------------------------------


def block(xid: int, *bodies: bytes) -> bytes:
    return frames(*(streamed(xid, body) for body in bodies))


@pytest.mark.parametrize("size", [10, 400_000])
def test_a_streamed_transaction_is_seen_when_it_is_committed(tmp_path, spool, size):
    some = transactions(4)
    said = relation(1, b"t")
    spool.write_stream(50, block(50, said, change(1, b"a" * size)), block(50, said))
    put(spool, some[0])
    spool.write_stream(60, block(60, change(1, b"other")))
    spool.write_stream(50, block(51, change(1, b"rolled back" + b"b" * size)))
    spool.write_stream(50, block(50, change(1, b"c")))
    spool.abort_stream(50, 51)
    assert texts(content(spool)) == expected(some[:1])
    inodes = {each.stat().st_ino for each in (tmp_path / "spool").glob("*.part")}
    assert len(inodes) == (size > 100)
    spool.commit_stream(header(50, some[1].lsn))
    put(spool, some[2])
    spool.abort_stream(60, 60)
    put(spool, some[3])
    wanted = [
        *expected(some[:1]),
        (some[1].lsn, b"a" * size),
        (some[1].lsn, b"c"),
        *expected(some[2:]),
    ]
    found = content(spool, max_bytes=1000)
    assert texts(found) == wanted
    parts = [each for each in found if each.header is not None]
    assert [each.whole for each in parts] == [False] * (len(parts) - 1) + [True]
    assert {each.aborted for each in parts} == {frozenset({51})}
    assert {(each.start, each.end) for each in parts[:-1]} <= {(some[0].end, some[0].end)}
    assert (parts[-1].start, parts[-1].end) == (some[0].end, some[1].end)
    # Not copied: it is the very file.
    assert inodes <= {each.stat().st_ino for each in (tmp_path / "spool").glob("*.log")}
    # Who begins after it gets its relations in ordinary form.
    later = content(spool, some[2].lsn)
    assert frames(said) in b"".join(each.frames for each in later)
    assert texts(content(spool, some[1].lsn)) == wanted[1:]
    assert texts(content(spool, some[1].lsn + 1)) == wanted[3:]
    spool.close()
    again = Spool(tmp_path / "spool")
    assert texts(content(again)) == wanted
    again.close()


def test_streams_that_are_not_committed_go_with_their_session(tmp_path, spool):
    spool.write_stream(50, block(50, change(1, b"a" * 400_000)))
    assert spool.stream_bytes > 400_000
    assert spool.bytes > spool.stream_bytes
    spool.begin_session()
    assert spool.stream_bytes == 0
    assert list((tmp_path / "spool").glob("*.part")) == []
    spool.write_stream(50, block(50, change(1, b"a" * 400_000)))
    spool.close()
    again = Spool(tmp_path / "spool")
    assert content(again) == []
    assert list((tmp_path / "spool").glob("*.part")) == []
    again.close()


@pytest.mark.parametrize("size", [10, 400_000])
def test_a_transaction_that_is_known_is_left_out_and_its_relations_are_not(spool, size):
    some = transactions(3)
    put(spool, *some[:2])
    spool.begin_session()
    said = relation(1, b"t")
    spool.write_stream(50, block(50, said, change(1, b"a" * size)), block(50, said))
    spool.commit_stream(header(50, some[1].lsn))
    spool.append(b"", 0, dropped_relations=frames(relation(2, b"u")))
    put(spool, some[2])
    found = content(spool)
    assert texts(found) == expected(some)
    everything = b"".join(each.frames for each in found)
    assert everything.index(frames(said, relation(2, b"u"))) < everything.index(some[2].frames)


def test_a_log_that_goes_back_is_no_silent_loss(spool):
    some = transactions(3)
    put(spool, *some)
    spool.write_stream(50, block(50, change(1, b"a")))
    with pytest.raises(SynclineError, match="lies before"):
        spool.commit_stream(header(50, some[1].lsn))


def test_a_streamed_transaction_of_nothing_only_moves_the_position(spool):
    spool.commit_stream(header(50, 2000))
    assert spool.end == 2008
    (only,) = content(spool)
    assert (only.frames, only.header, only.end) == (b"", None, 2008)


def test_each_file_begins_with_what_was_said_in_this_session(tmp_path):
    spool = Spool(tmp_path / "s", segment_bytes=1 << 16)
    spool.reset(START)
    spool.begin_session()
    old, new = relation(1, b"old"), relation(1, b"new")
    put(spool, Transaction(START, (old, change(1, b"x" * 60_000))))
    put(spool, Transaction(START + 10, (new, change(1, b"x" * 60_000))))
    put(spool, Transaction(START + 20, (change(1, b"x" * 60_000),)))
    assert bytes(content(spool, START + 20)[0].frames).startswith(frames(new))
    spool.begin_session()
    put(spool, Transaction(START + 30, (change(1, b"x" * 60_000),)))
    assert b"new" not in b"".join(each.frames for each in content(spool, START + 30))
    spool.close()


def test_the_folder_is_made_where_it_was_missing(tmp_path):
    spool = Spool(tmp_path / "a" / "b")
    assert spool.empty
    assert (spool.begin, spool.end) == (0, 0)
    with pytest.raises(SynclineError):
        spool.cursor(0)
    spool.close()
    spool.close()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SynclineError) as raised:
        Spool(Path(blocked) / "below")
    assert raised.value.kind is ErrorKind.RESOURCE


def test_a_reader_at_the_end_goes_on_where_files_that_it_had_read_are_gone(tmp_path):
    """Also over a file that held nothing: a large transaction became a file of its own right after one was begun."""
    spool = Spool(tmp_path / "spool", segment_bytes=1 << 16)
    spool.reset(START)
    put(spool, *transactions(2, size=20_000))
    cursor = spool.cursor(START)
    assert cursor.read(0) is not None
    assert cursor.read(0) is None
    spool.keep(spool.end)  # seals what was read and begins another file
    spool.write_stream(50, block(50, change(1, b"a" * 400_000)))
    spool.commit_stream(header(50, 2000))  # seals that one, empty, and is a file itself
    spool.keep(cursor.position)
    stretch = cursor.read(0)
    assert stretch is not None
    assert stretch.header == header(50, 2000)
    spool.close()


def test_a_power_cut_leaves_what_was_brought_to_disk(tmp_path):
    """In a process that notes its fsyncs: afterwards the spool is there with all that it called durable."""
    script = (
        "import sys; from pathlib import Path; from syncline.connectors.postgres.changes.spool import Spool;"
        "from tests.unit.connectors.postgres.spool_messages import Transaction, change, put;"
        "spool = Spool(Path(sys.argv[1])); spool.reset(1000);"
        "put(spool, Transaction(1000, (change(1, b'kept'),))); spool.sync();"
        "put(spool, Transaction(1010, (change(1, b'lost'),)))"
    )
    base, notes = tmp_path / "disk", tmp_path / "fsyncs"
    base.mkdir()
    environment = power_cut.environment(tmp_path / "site", notes, path=str(Path(__file__).parents[4]))
    command = [sys.executable, "-c", script, str(base / "spools" / "one")]
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    assert power_cut.cut(base, notes)
    spool = Spool(base / "spools" / "one")
    stretch = spool.cursor(START).read(0)
    assert stretch is not None
    assert b"kept" in bytes(stretch.frames)
    assert b"lost" not in bytes(stretch.frames)
    assert spool.end == 1008
    spool.close()
