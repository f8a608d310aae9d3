"""What each destination of one reception still needs of the log.

A destination that is away cannot be asked, so its need is remembered in a small file beside the spool. The file may be
behind the truth, never ahead of it: what is needed less is only kept longer.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from syncline.connectors.postgres.changes.spool_folder import disk_error, sync_names

__all__ = ["Needs", "laggards"]

_SAVE_SECONDS = 1.0


class Needs:
    """``members`` are all destinations of the connection, running or not. Of others that the file knows nothing is kept
    but that they were there. Without a ``path`` nothing is remembered: the one destination of an ordinary connection
    has its ledger. Any thread."""

    def __init__(self, members: Sequence[str], path: Path | None = None) -> None:
        self._members, self._path = tuple(members), path
        self._lock = threading.Lock()
        self._saved = 0.0
        #: the LSN from which each needs the log; without an entry it has no place in it
        self._lsn: dict[str, int] = {}
        #: who lost the place, and why in words
        self._left: dict[str, str] = {}
        #: who was taken out of the connection, also when it is back and has not taken its place yet
        self._out: set[str] = set()
        for name, (lsn, left, out) in self._load().items():
            if out or (name not in self._members and not left):
                self._out.add(name)
            elif lsn is not None:
                self._lsn[name] = lsn
            elif left:
                self._left[name] = left

    def take_all_out(self) -> None:
        """The connection has one destination now, which has its ledger: the file keeps nothing for those that it knows.
        Should it have several again, each goes on from what there still is."""
        with self._lock:
            self._out.update(self._lsn)
            self._lsn.clear()
            self._save(durable=True)

    @property
    def floor(self) -> int | None:
        """Nobody needs anything below; None when nobody has a place."""
        with self._lock:
            return min(self._lsn.values(), default=None)

    def of(self, member: str) -> int | None:
        with self._lock:
            return self._lsn.get(member)

    def all(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._lsn)

    def why_left(self, member: str) -> str | None:
        """Why it lost its place, None when it did not."""
        with self._lock:
            return self._left.get(member)

    def was_out(self, member: str) -> bool:
        """Whether it was taken out of the connection, and is back and without a place."""
        with self._lock:
            return member in self._out

    def take_place(self, member: str, lsn: int) -> None:
        """It reads from here on, whatever was before. Remembered before this returns."""
        with self._lock:
            self._left.pop(member, None)
            self._out.discard(member)
            self._lsn[member] = lsn
            self._save(durable=True)

    def move(self, member: str, lsn: int) -> None:
        """What is below is durable at the destination. One that has lost its place does not get it back so."""
        with self._lock:
            before = self._lsn.get(member)
            if before is None or lsn <= before:
                return
            self._lsn[member] = lsn
            if time.monotonic() - self._saved >= _SAVE_SECONDS:
                self._save(durable=False)

    def leave(self, member: str, why: str) -> None:
        """It loses its place."""
        with self._lock:
            self._lsn.pop(member, None)
            self._left[member] = why
            self._save(durable=True)

    def forget(self, member: str) -> None:
        """It has no place, and nothing needs to be said about it."""
        with self._lock:
            self._lsn.pop(member, None)
            self._left.pop(member, None)
            self._save(durable=True)

    def close(self) -> None:
        """Remember the last word."""
        with self._lock:
            self._save(durable=False)

    # -- the file --------------------------------------------------------------------------------------------------

    def _load(self) -> dict[str, tuple[int | None, str, bool]]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {m: (of.get("lsn"), of.get("left", ""), of.get("out", False)) for m, of in found.items()}
        except (OSError, ValueError, AttributeError):
            return {}  # lost with the spool, or torn: who is away will be told what it lacks when it comes back

    def _save(self, *, durable: bool) -> None:
        if self._path is None:
            return
        self._saved = time.monotonic()
        text = json.dumps(
            {
                **{m: {"out": True} for m in sorted(self._out)},
                **{m: {"lsn": n} for m, n in self._lsn.items()},
                **{m: {"left": w} for m, w in self._left.items()},
            }
        )
        partial = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(self._path)
            if durable:
                sync_names(self._path.parent)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if durable:
                raise disk_error(error, self._path) from error


def laggards(needs: Mapping[str, int], weight: Callable[[int], int], least: int) -> list[str]:
    """Whose leaving would free at least ``least``: the fewest that are furthest behind. ``weight`` of an LSN is what is
    held below it. Nobody, when all are about equally far."""
    ordered = sorted(needs.items(), key=lambda item: item[1])
    for count in range(1, len(ordered)):
        if weight(ordered[count][1]) >= least:
            return [name for name, _ in ordered[:count]]
    return []
