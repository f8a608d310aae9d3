"""The journal of a destination that cannot be asked what it holds: its ledger, the messages that wait and the rows set
aside, in a folder on local disk. Per stream it is the log of manifests that destinations of files have."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncline.connectors.airbyte.declared import column_words
from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.log import ManifestLog, new_entry_id, read_manifest
from syncline.sdk.files.manifest import EntryKind, FileKind, LogEntry, Manifest, ManifestFile
from syncline.sdk.files.store import PendingUpload

__all__ = ["Journal", "ensure_columns_fit", "ensure_next"]


class Journal:
    """``root`` is made when first written to. Streams have a folder each, below that of their connection."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root.absolute())

    def log(self, connection: str, stream: StreamName) -> ManifestLog:
        return ManifestLog(self.store, connection, stream)

    def kept(self, name: str) -> bytes | None:
        """A small file of our own beside the streams."""
        return self.store.get(f"_syncline/{name}")

    def keep(self, name: str, body: bytes) -> None:
        self.store.put(f"_syncline/{name}", body)

    def ensure_same_place(self, connection: str, said: Mapping[str, Any]) -> None:
        """A ledger is true of one place only, and this one lies elsewhere: so it remembers whose it is. ``said`` tells
        one destination from another. Raises ``config`` for another one."""
        key = f"_syncline/{hashlib.sha256(connection.encode()).hexdigest()[:16]}.place.json"
        body = json.dumps(said, sort_keys=True, default=str, indent=1).encode()
        if self.store.put_if_absent(key, body) or self.store.get(key) == body:
            return
        known = json.loads(self.store.get(key) or b"{}")
        changed = [name for name in said if known.get(name) != said[name]]
        if "config" in changed and isinstance(known.get("config"), dict):
            both = {**known["config"], **said["config"]}
            changed = [f"config.{n}" for n in both if known["config"].get(n) != said["config"].get(n)]
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the journal was kept for a destination with another {', '.join(changed)}",
            hint="for another place give another journal, so that everything is copied there; if it is still the same "
            f"place, remove {self.store.url_of(key)}",
        )

    def settled(self, log: ManifestLog, now: Manifest) -> Manifest:
        """Carry out what was decided: the quarantine's files get their names, the messages that were sent go."""
        for file in now.pending:
            if file.kind is FileKind.QUARANTINE and file.staged is not None:
                self.store.complete(file.staged)
        self.forget([f for f in now.pending if f.kind is FileKind.DATA])
        if now.pending or now.superseding:
            now = log.append(now, LogEntry(kind=EntryKind.MARK, id=new_entry_id(), token=now.token, published=True))
        self.store.delete(now.trash)
        return now

    def sweep(self, log: ManifestLog, now: Manifest, token: int) -> None:
        """Throw away what attempts before ``token`` laid down and never committed."""
        self.store.tidy()
        needed = {f.staged.upload for f in now.staged if f.staged is not None}
        garbage = []
        for upload in self.store.uploads(log.folder, stage=log.stage):
            of = upload.name.partition("-")[0]  # a stage's name begins with its token
            if upload.upload not in needed and of.isdigit() and int(of) < token:
                garbage.append(upload)
        self.store.abort(garbage)

    def forget(self, files: Sequence[ManifestFile]) -> None:
        """Throw away messages that have been sent."""
        self.store.abort([_upload_of(f) for f in files])

    def set_aside(self, connection: str, stream: StreamName) -> list[ManifestFile]:
        """The files of rows that were set aside."""
        manifest = read_manifest(self.store, connection, stream)
        return [] if manifest is None else [f for f in manifest.live if f.kind is FileKind.QUARANTINE]

    @contextmanager
    def alone(self, log: ManifestLog) -> Iterator[None]:
        """One delivery of a stream at a time, also between processes: the lock goes with whoever holds it."""
        folder = self.store.root / log.folder
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / "delivery.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SynclineError(
                    ErrorKind.CONFLICT,
                    "another run is giving rows of this stream to the destination",
                    hint="wait for it to end; one that is paused must be ended first",
                ) from None
            yield
        finally:
            os.close(file)


def ensure_columns_fit(now: Manifest, target: StreamTarget) -> None:
    """What stays at the destination and what comes must be of one type; integers may become numbers."""
    if target.write is WriteMode.REPLACE:
        return
    for name, new in column_words(target.schema).items():
        old = now.columns.get(name, new)
        if old != new and (old, new) != ("integer", "number"):
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"column {name!r} was given as {old} so far and is {new} now",
                hint="copy the stream anew (syncline state reset), or leave the column out",
                where={"stream": str(target.stream)},
            )


def _upload_of(file: ManifestFile) -> PendingUpload:
    assert file.staged is not None
    return PendingUpload(key=file.key, upload=file.staged.upload)


def ensure_next(now: Manifest, checkpoint: StreamCheckpoint, token: int, target: StreamTarget) -> None:
    """Raises ``conflict`` when another attempt has taken over, or the sequence is taken."""
    if now.token == token and now.checkpoint.sequence + 1 == checkpoint.sequence:
        return
    raise SynclineError(
        ErrorKind.CONFLICT,
        f"another attempt has taken over (token {now.token}, sequence {now.checkpoint.sequence}; ours {token}, "
        f"{checkpoint.sequence})",
        hint="nothing is lost: its commits stand, and this attempt must end",
        where={"stream": str(target.stream)},
        final=now.token != token,
    )
