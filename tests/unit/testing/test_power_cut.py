"""A simulated power cut takes away what was not brought to disk, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from syncline.testing import power_cut

_WRITER = """
import os, sys
folder = sys.argv[1]
def file(name, durable, loose=b''):
    fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, durable)
    os.fsync(fd)
    os.write(fd, loose)
    return fd
def names():
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
file('whole', b'all of it')
file('tail', b'kept', b' lost')
file('renamed', b'x')
os.close(os.open(os.path.join(folder, 'empty'), os.O_WRONLY | os.O_CREAT))
names()
open(os.path.join(folder, 'empty'), 'wb').write(b'never on disk')
file('nameless', b'on disk, but in no folder')
os.rename(os.path.join(folder, 'renamed'), os.path.join(folder, 'newer'))
"""


def test_only_what_was_brought_to_disk_is_left(tmp_path: Path) -> None:
    folder, notes = tmp_path / "data", tmp_path / "notes"
    folder.mkdir()
    # The folder itself is in a folder: the cut begins inside it.
    environment = power_cut.environment(tmp_path / "site", notes, path=os.environ.get("PYTHONPATH", ""))
    subprocess.run([sys.executable, "-c", _WRITER, str(folder)], env={**os.environ, **environment}, check=True)
    taken = power_cut.cut(folder, notes)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "whole": b"all of it",
        "tail": b"kept",
        "renamed": b"x",
        "empty": b"",
    }
    assert len(taken) == 4


def test_without_any_fsync_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    assert power_cut.cut(folder, tmp_path / "notes") == ["a has no durable name"]
    assert list(folder.iterdir()) == []
