"""The log of manifests of one stream: reading its end, adding to it by compare-and-set, keeping it short.

An entry is put only if its number is free, so that of two writers who both know entry 12 only one can put entry 13.
That alone is not enough once old entries are pruned: a writer paused for long might find number 13 free again.
Therefore a put counts only if, after it, no higher number exists; entries are pruned only below a higher one that
stays.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.sdk.files.manifest import EntryKind, LogEntry, Manifest
from syncline.sdk.files.store import ObjectStore

__all__ = ["ManifestLog", "new_entry_id", "read_manifest", "stream_folder"]

#: A reader needs the newest whole copy of the manifest and the entries after it: at most this many.
_FULL_EVERY = 50
#: A manifest with no more files and partitions than this is written whole each time (some 40 KiB).
_SMALL = 200
#: A reader may meet a prune under way; it then starts again.
_READ_ATTEMPTS = 20
_FORMAT = 1


def stream_folder(connection: str, stream: StreamName) -> str:
    """The key prefix of everything of ours about one stream: ``_syncline/<connection>/<namespace.stream>/``."""
    name = _part(stream.name)
    if stream.namespace:
        name = f"{_part(stream.namespace)}.{name}"
    return f"_syncline/{_part(connection)}/{name}/"


def _part(text: str) -> str:
    """``text`` as one part of a key: safe on every file system, and different for different texts."""
    import hashlib

    safe = quote(text, safe=" ()+,=@").replace(".", "%2E").replace("~", "%7E")
    if len(safe) > 100:
        safe = f"{safe[:80].rstrip('%')}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return safe


def new_entry_id() -> str:
    """Tells one's own entry from another's, also after an answer that was lost."""
    return secrets.token_hex(8)


def read_manifest(store: ObjectStore, connection: str, stream: StreamName) -> Manifest | None:
    """The newest manifest of a stream; None when the connection never wrote it. Changes nothing.

    ``live`` are the files that hold the stream's rows (those of kind DATA), complete and stable until the next
    generation is published; ``checkpoint`` tells the position up to which they hold it. Needs only read and list
    rights.
    """
    manifest = ManifestLog(store, connection, stream).read()
    return manifest if manifest.number else None


class ManifestLog:
    """The log of one stream. Used by one thread of one process at a time; any number of processes."""

    def __init__(self, store: ObjectStore, connection: str, stream: StreamName) -> None:
        self.folder = stream_folder(connection, stream)
        self.stage = self.folder + "stage/"
        self._store = store
        self._connection, self._stream = connection, stream
        self._whole = 0  # number of the newest whole copy of the manifest
        self._kept_from = 0  # the hint as we know it

    def read(self) -> Manifest:
        """The manifest after the newest entry; number 0 when there is none."""
        for _ in range(_READ_ATTEMPTS):
            newest = self._newest()
            if newest == 0:
                return Manifest()
            found = self._read_to(newest)
            if found is not None:
                return found
        raise SynclineError(
            ErrorKind.DATA,
            f"the log of manifests {self._store.url}{self.folder}log/ has gaps",
            hint="entries were removed by something else; restore them, or delete the folder and copy the stream anew",
            where=self._where(),
        )

    def claim(self) -> Manifest:
        """Take the next fencing token: no writer with an older one can put an entry after this."""
        for attempt in range(_READ_ATTEMPTS):
            before = self.read()
            entry = LogEntry(kind=EntryKind.CLAIM, id=new_entry_id(), token=before.token + 1)
            if self._put(before, entry):
                return before.after(entry)
            time.sleep(attempt * 0.02 * int(entry.id[:2], 16) / 255)  # apart by chance, so that not all try at once
        raise SynclineError(
            ErrorKind.CONFLICT,
            f"{_READ_ATTEMPTS} others took a fencing token in between",
            hint="only one run of a connection at a time",
            where=self._where(),
        )

    def append(self, before: Manifest, entry: LogEntry) -> Manifest:
        """Put ``entry`` right after ``before``. Raises ``conflict`` when somebody else has put one there."""
        if not self._put(before, entry):
            newest = self.read()
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"another attempt has taken over (its token is {newest.token}, ours {entry.token})",
                hint="nothing is lost: its commits stand, and this attempt must end",
                where=self._where(),
                final=newest.token > entry.token,
            )
        return before.after(entry)

    def prune(self, *, above: int) -> None:
        """Delete entries that nobody needs any more, when there are more than ``above`` of them."""
        if self._whole - self._kept_from <= above:
            return
        # First the hint: a reader that starts at it never meets the holes that the deletes make.
        self._store.put(self.folder + "hint.json", json.dumps({"number": self._whole}).encode())
        last = self._key(self._whole)
        self._store.delete([info.key for info in self._entries() if info.key < last])
        self._kept_from = self._whole

    def _put(self, before: Manifest, entry: LogEntry) -> bool:
        number = before.number + 1
        after = before.after(entry)
        whole = after.size <= _SMALL or number - self._whole >= _FULL_EVERY or before.number == 0
        body: dict[str, Any] = {
            "format": _FORMAT,
            "number": number,
            "id": entry.id,
            "kind": entry.kind.value,
            "token": entry.token,
            "connection": self._connection,
            "stream": self._stream.to_json(),
            "written_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        if whole:
            body["manifest"] = after.to_json()
        else:
            body["whole"] = self._whole
            body["change"] = entry.to_json(before)
        key = self._key(number)
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        if not self._store.put_if_absent(key, data):
            # The store may have taken our put and lost the answer; the client then tried again and met our own entry.
            held = self._store.get(key)
            if held is None or json.loads(held)["id"] != entry.id:
                return False
        if next(self._store.list(self.folder + "log/", start_after=key), None) is not None:
            return False
        if whole:
            self._whole = number
        return True

    def _newest(self) -> int:
        """The highest number of an entry; 0 when there is none. The hint only saves time: it may be stale, lost or from
        another life of this folder."""
        hint = self._store.get(self.folder + "hint.json")
        number = _hinted(hint) if hint else 0
        newest = 0
        if number > 0:
            for info in self._store.list(self.folder + "log/", start_after=self._key(number - 1)):
                newest = _number(info.key) or newest
        if newest == 0:
            number = 0
            for info in self._entries():
                newest = _number(info.key) or newest
        self._kept_from = number
        return newest

    def _entries(self) -> Iterator[Any]:
        return self._store.list(self.folder + "log/")

    def _read_to(self, newest: int) -> Manifest | None:
        """The manifest after entry ``newest``, None when entries have been pruned meanwhile."""
        changes: list[dict[str, Any]] = []
        number = newest
        body = self._body(number)
        while body is not None and "manifest" not in body:
            changes.append(body)
            number -= 1
            body = self._body(number)
        if body is None:
            return None
        self._whole = number
        manifest = Manifest.from_json(number, body["manifest"])
        for change in reversed(changes):
            manifest = manifest.after(LogEntry.from_json(change["change"], manifest))
        return manifest

    def _body(self, number: int) -> dict[str, Any] | None:
        data = self._store.get(self._key(number))
        if data is None:
            return None
        body: dict[str, Any] = json.loads(data)
        if body.get("format", 0) > _FORMAT:
            raise SynclineError(
                ErrorKind.CONFIG,
                "the log of manifests was written by a newer version of syncline",
                hint="upgrade syncline here",
                where=self._where(),
            )
        return body

    def _key(self, number: int) -> str:
        return f"{self.folder}log/{number:020}.json"

    def _where(self) -> dict[str, Any]:
        return {"stream": str(self._stream), "path": f"{self._store.url}{self.folder}"}


def _number(key: str) -> int:
    """The number of an entry's key; 0 for a file that is none."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return int(name) if len(name) == 20 and name.isdigit() else 0


def _hinted(data: bytes) -> int:
    try:
        return int(json.loads(data)["number"])
    except (ValueError, KeyError, TypeError):
        return 0
