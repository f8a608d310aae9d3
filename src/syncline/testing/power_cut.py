"""What a power cut leaves of a folder: only what was brought to disk by ``fsync``.

A killed process loses nothing that it has written, because the system still has it; so kills do not show a missing
``fsync``. Here a process notes each of its ``fsync`` calls (:func:`note_fsyncs`, started by :func:`environment`), and
after it was killed :func:`cut` takes away everything else: files without a durable name, and what lies behind the size
that a file had when it was last brought to disk. A file that is written again in place keeps its new bytes: that fault
is not shown.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

__all__ = ["cut", "environment", "note_fsyncs"]

_VARIABLE = "SYNCLINE_TESTING_FSYNCS"
_START = f"""
import os
if os.environ.get({_VARIABLE!r}):
    from syncline.testing.power_cut import note_fsyncs
    note_fsyncs(os.environ[{_VARIABLE!r}])
"""


def environment(folder: Path, notes: Path, *, path: str = "") -> dict[str, str]:
    """Variables for a Python process whose calls shall be noted in ``notes``; ``folder`` takes the file that starts it.
    ``path`` is the rest of its PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_START, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [path])]), _VARIABLE: str(notes)}


def note_fsyncs(notes: str) -> None:
    """In the process: from now on each ``fsync`` that has returned is a line of ``notes``."""
    lines = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for name in ("fsync", "fdatasync"):
        plain = getattr(os, name)

        def noted(file: Any, plain: Any = plain) -> None:
            number = file if isinstance(file, int) else file.fileno()
            status = os.fstat(number)
            before = _names(number) if stat.S_ISDIR(status.st_mode) else status.st_size
            plain(file)
            os.write(lines, (json.dumps([status.st_ino, before]) + "\n").encode())

        setattr(os, name, noted)


def _names(directory: int) -> dict[str, int]:
    return {entry.name: entry.inode() for entry in os.scandir(directory)}


def cut(folder: Path, notes: Path) -> list[str]:
    """Make ``folder`` what a power cut would have left; the process is dead. Says what was taken away."""
    sizes: dict[int, int] = {}
    names: dict[int, dict[str, int]] = {}
    if notes.exists():
        for line in notes.read_text(encoding="utf-8").splitlines():
            inode, what = json.loads(line)
            if isinstance(what, dict):
                names[inode] = what
            else:
                sizes[inode] = what
    taken: list[str] = []
    _cut(folder, sizes, names, taken)
    return taken


def _cut(folder: Path, sizes: dict[int, int], names: dict[int, dict[str, int]], taken: list[str]) -> None:
    durable = names.get(folder.stat().st_ino, {})
    former = {inode: name for name, inode in durable.items()}
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        if status.st_ino not in former:
            taken.append(f"{path.name} has no durable name")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        if path.is_dir():
            _cut(path, sizes, names, taken)
            continue
        size = sizes.get(status.st_ino, 0)
        if status.st_size > size:
            taken.append(f"{path.name} is cut from {status.st_size} to {size} bytes")
            os.truncate(path, size)
        if path.name != former[status.st_ino]:
            taken.append(f"{path.name} is {former[status.st_ino]} again")
            path.rename(folder / former[status.st_ino])
