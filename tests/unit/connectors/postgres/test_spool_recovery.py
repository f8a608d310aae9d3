"""What a killed process or a power cut leaves: the spool opens with whole transactions only, or says that it cannot."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
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
    streamed,
    texts,
)

from syncline.connectors.postgres.changes.spool import Spool
from syncline.core.errors import ErrorKind, SynclineError

START = 1000


def some(count: int, size: int = 10) -> list[Transaction]:
    return [Transaction(START + 10 * n, (change(1, b"%06d" % n + b"x" * size),)) for n in range(count)]


def make(folder: Path, **options: int) -> Spool:
    spool = Spool(folder, **options)
    spool.reset(START)
    return spool


def last_file(folder: Path) -> Path:
    return max(folder.glob("*.log"))


def crash(spool: Spool, folder: Path) -> Path:
    """The folder as a kill would leave it."""
    copy = folder.with_name(folder.name + "-crashed")
    shutil.copytree(folder, copy)
    spool.close()
    return copy


def test_torn_at_every_byte_of_the_last_record(tmp_path):
    """Cut there: never an error, never a part of a transaction, and the log goes on after it."""
    spool = make(tmp_path / "s")
    put(spool, *some(2))
    whole = last_file(tmp_path / "s").stat().st_size
    third = some(3)[2]
    put(spool, third)
    crashed = crash(spool, tmp_path / "s")
    data = last_file(crashed).read_bytes()
    name = last_file(crashed).name
    for size in range(whole, len(data) + 1):
        work = tmp_path / f"cut-{size}"
        shutil.copytree(crashed, work)
        (work / name).write_bytes(data[:size])
        again = Spool(work)
        kept = 3 if size == len(data) else 2
        assert again.end == some(3)[kept - 1].end
        assert texts(content(again)) == expected(some(kept))
        put(again, *some(5)[kept:])
        assert texts(content(again)) == expected(some(5))
        again.close()
        final = Spool(work)
        assert texts(content(final)) == expected(some(5))
        final.close()
        shutil.rmtree(work)


@given(data=st.data())
def test_any_byte_of_the_last_record_changed(tmp_path_factory, data):
    """As after a power cut that wrote the pages in any order."""
    folder = tmp_path_factory.mktemp("s") / "s"
    spool = make(folder)
    put(spool, *some(2))
    whole = last_file(folder).stat().st_size
    put(spool, some(3)[2])
    crashed = crash(spool, folder)
    content_of = bytearray(last_file(crashed).read_bytes())
    at = data.draw(st.integers(whole, len(content_of) - 1))
    content_of[at] ^= data.draw(st.integers(1, 255))
    last_file(crashed).write_bytes(content_of)
    again = Spool(crashed)
    assert texts(content(again)) == expected(some(2))
    again.close()


@given(data=st.data())
def test_a_power_cut_leaves_whole_transactions_and_all_that_was_synced(tmp_path_factory, data):
    """Files with streamed transactions among them; some bytes written after the last sync never reached the disk."""
    folder = tmp_path_factory.mktemp("s") / "s"
    spool = make(folder, segment_bytes=1 << 16)
    written: list[Transaction] = []
    durable = START
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.log")}
    for n in range(data.draw(st.integers(2, 12))):
        each = Transaction(START + 10 * n, (change(1, b"%04d" % n + b"x" * data.draw(st.sampled_from([5, 30000]))),))
        if data.draw(st.booleans()):
            big = frames(*(streamed(9, part) for part in each.body), streamed(8, change(1, b"y" * 300_000)))
            spool.write_stream(9, big)
            spool.abort_stream(9, 8)
            spool.commit_stream(header(9, each.lsn))
        else:
            put(spool, each)
        written.append(each)
        if data.draw(st.booleans()):
            durable = spool.sync()
            assert durable == each.end
            sizes = {path.name: path.stat().st_size for path in folder.glob("*.log")}
    crashed = crash(spool, folder)
    for path in crashed.glob("*.log"):
        safe, size = sizes.get(path.name, 0), path.stat().st_size
        if size > safe and data.draw(st.booleans()):
            keep = data.draw(st.integers(safe, size))
            path.write_bytes(path.read_bytes()[:keep] + (b"\0" * (size - keep) if data.draw(st.booleans()) else b""))
    again = Spool(crashed)
    found = texts(content(again))
    assert again.durable == durable
    assert again.end >= durable
    assert found == expected(written)[: len(found)]
    assert len(found) >= sum(each.end <= durable for each in written)
    again.close()


def test_damage_below_what_was_durable_is_a_conflict_and_nothing_is_deleted(tmp_path):
    spool = make(tmp_path / "s", segment_bytes=1 << 16)
    put(spool, *some(5, 20_000))
    put(spool, *some(10, 20_000)[5:])
    assert spool.sync() == some(10)[9].end
    crashed = crash(spool, tmp_path / "s")
    files = sorted(crashed.glob("*.log"))
    assert len(files) >= 2
    for damage in (
        lambda: os.truncate(files[-1], files[-1].stat().st_size - 1),
        lambda: os.truncate(files[0], files[0].stat().st_size - 1),
        files[1].unlink,
    ):
        kept = {path: path.read_bytes() for path in files}
        damage()
        left = set(crashed.glob("*.log"))
        with pytest.raises(SynclineError) as raised:
            Spool(crashed)
        assert raised.value.kind is ErrorKind.CONFLICT
        assert set(crashed.glob("*.log")) == left
        for path, data in kept.items():
            path.write_bytes(data)
    # Sealed long ago, so it is not read at the opening; a reader finds it.
    changed = bytearray(files[0].read_bytes())
    changed[5000] ^= 1
    files[0].write_bytes(changed)
    again = Spool(crashed)
    with pytest.raises(SynclineError, match="damaged"):
        content(again)
    again.close()


def test_a_mark_that_is_lost_only_means_more_checking(tmp_path):
    spool = make(tmp_path / "s")
    put(spool, *some(5))
    assert spool.sync() == spool.durable == some(5)[4].end
    crashed = crash(spool, tmp_path / "s")
    again = Spool(crashed)
    assert again.durable == some(5)[4].end
    again.close()
    (crashed / "durable").write_bytes(b"torn")
    again = Spool(crashed)
    assert again.durable == 0  # as far as is known
    assert texts(content(again)) == expected(some(5))
    assert again.sync() == some(5)[4].end
    again.close()


def test_a_position_without_transactions_is_durable_after_a_sync(tmp_path):
    spool = make(tmp_path / "s")
    put(spool, *some(2))
    spool.append(b"", 9000)
    assert spool.sync() == 9000
    crashed = crash(spool, tmp_path / "s")
    again = Spool(crashed)
    assert (again.end, again.durable) == (9000, 9000)
    assert texts(content(again)) == expected(some(2))
    again.close()


def test_files_of_another_spool_are_not_taken(tmp_path):
    one, other = make(tmp_path / "one"), make(tmp_path / "other")
    put(one, *some(2))
    put(other, *some(4))
    one.close()
    other.close()
    shutil.copy(last_file(tmp_path / "other"), last_file(tmp_path / "one"))
    with pytest.raises(SynclineError, match="damaged"):
        Spool(tmp_path / "one")
    (tmp_path / "one" / "durable").unlink()
    again = Spool(tmp_path / "one")
    assert again.empty
    again.close()


def test_opening_again_and_again_makes_no_files(tmp_path):
    make(tmp_path / "s").close()
    for _ in range(5):
        spool = Spool(tmp_path / "s")
        assert (spool.begin, spool.end) == (START, START)
        spool.close()
    assert len(list((tmp_path / "s").glob("*.log"))) <= 2


@pytest.mark.parametrize("kind", ["ordinary", "streamed"])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, kind):
    """A limit of the file's size stands for the disk: the kernel refuses a part of a write in the same way."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
            spool = make(tmp_path / "s", segment_bytes=10 << 20, max_bytes=1 << 30)
            written = 0
            try:
                for n, each in enumerate(some(100, 10_000)):
                    if kind == "streamed":
                        spool.write_stream(9, frames(*(streamed(9, part) for part in each.body)))
                    else:
                        put(spool, each)
                    written = n + 1
            except SynclineError as error:
                if error.kind is not ErrorKind.RESOURCE or "free space" not in error.hint:
                    os._exit(20)
                if kind == "ordinary":
                    assert texts(content(spool)) == expected(some(written, 10_000))
                    assert spool.sync() == some(written)[-1].end
                    put(spool, Transaction(START + 10 * written, (change(1, b"small"),)))  # for which there is room
                    assert len(texts(content(spool))) == written + 1
                else:
                    assert content(spool) == []
                    spool.begin_session()
                    put(spool, *some(3))
                os._exit(17 if 40 < written < 90 else 18)
        os._exit(19)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 17
    again = Spool(tmp_path / "s")
    found = texts(content(again))
    if kind == "streamed":
        assert found == expected(some(3))
    else:
        assert found[:-1] == expected(some(len(found) - 1, 10_000))
        assert found[-1][1] == b"small"
    again.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_file_system_at_every_kind_of_write(tmp_path):
    """A real one, very small: rotation, footers and the durable mark fail there too, and it goes on once there is
    room."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(mount)], capture_output=True)
    if made.returncode:
        pytest.skip("this root may not mount")
    try:
        spool = make(mount / "s", segment_bytes=1 << 16)
        written: list[Transaction] = []
        failures, kinds = 0, set()
        for n in range(400):
            each = Transaction(START + 10 * n, (change(1, b"%06d" % n + b"x" * (97 * n % 9000)),))
            for _ in range(50):
                try:
                    put(spool, each)
                    break
                except SynclineError as error:
                    kinds.add(error.kind)
                    failures += 1
                    assert texts(content(spool, spool.begin))[-20:] == expected(written)[-20:]
                    spool.keep(written[-20].lsn)
            else:
                pytest.fail("no room after everything was given up")
            written.append(each)
        assert failures > 2
        assert kinds == {ErrorKind.RESOURCE}
        spool.sync()
        first = spool.begin
        spool.close()
        again = Spool(mount / "s")
        assert texts(content(again, first)) == expected(written, first)
        again.close()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


_WRITER = """
import sys
from pathlib import Path
from syncline.connectors.postgres.changes.spool import Spool
from tests.unit.connectors.postgres.spool_messages import put, Transaction, change
spool = Spool(Path(sys.argv[1]), segment_bytes=1 << 16)
spool.reset(1000)
for n in range(10 ** 9):
    put(spool, Transaction(1000 + 10 * n, (change(1, b"%06d" % n + b"x" * (n * 7919 % 3000)),)))
    if n % 50 == 0:
        print(spool.sync(), flush=True)
"""


def test_a_killed_writer_leaves_all_that_it_appended_in_whole_transactions(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as child:
        assert child.stdout is not None
        durable = [int(child.stdout.readline()) for _ in range(8)]
        child.send_signal(signal.SIGKILL)
    spool = Spool(tmp_path / "s")
    found = texts(content(spool))
    assert spool.durable >= durable[-1]
    assert len(found) >= 50 * 7 + 1
    assert found == [(1000 + 10 * n, b"%06d" % n + b"x" * (n * 7919 % 3000)) for n in range(len(found))]
    spool.close()
