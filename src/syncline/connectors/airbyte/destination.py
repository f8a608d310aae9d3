"""The destination ``airbyte``: a connector's ``write``, behind our contract.

Such a connector cannot be asked what it holds, so the ledger lies in a *journal* on local disk, together with the rows
on their way: the log of manifests that destinations of files have, too. Stages are files of messages.

    REPLACE   every stage stays hidden in the journal until the copy is whole, then all of them go in one delivery,
              which takes the place of what was there; a repeated delivery gives the same
    MERGE     each commit is a delivery; a repeated one changes nothing, since rows replace those of their key
    APPEND    each commit is a delivery; when we die between its end and the entry in the journal, it comes again:
              at least once

Two deliveries of one stream never run at once: a lock of the operating system sees to that, and the child goes with us.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncline.connectors.airbyte.config import AirbyteDestinationConfig
from syncline.connectors.airbyte.declared import column_words, configured
from syncline.connectors.airbyte.delivery import deliver
from syncline.connectors.airbyte.program import Program
from syncline.connectors.airbyte.stage import StageWriter, entries_of, lines_of
from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.log import ManifestLog, new_entry_id, read_manifest
from syncline.sdk.files.manifest import EntryKind, FileKind, LogEntry, Manifest, ManifestFile
from syncline.sdk.files.store import PendingUpload
from syncline.sdk.findings import Finding, Severity
from syncline.sdk.own_config import without_secrets
from syncline.sdk.quarantine import QuarantineEntry
from syncline.settings import load_settings

__all__ = ["AirbyteDestination"]

#: What the connector must be able to do for a sync mode: its first load, and what comes after it.
_NEEDS = {
    SyncMode.FULL_REFRESH_OVERWRITE: ("overwrite",),
    SyncMode.FULL_REFRESH_OVERWRITE_DEDUPED: ("overwrite", "append_dedup"),
    SyncMode.FULL_REFRESH_APPEND: ("append",),
    SyncMode.INCREMENTAL_APPEND: ("append",),
    SyncMode.INCREMENTAL_DEDUPED_HISTORY: ("overwrite", "append_dedup"),
}
#: A delivery is a process of its own that takes seconds to start.
_LINGER_SECONDS = 30.0
_LOG_ENTRIES = 50


class AirbyteDestination:
    """See :class:`syncline.sdk.destination.Destination`."""

    def __init__(self, config: AirbyteDestinationConfig, context: ConnectorContext) -> None:
        self._config, self._connection = config, context.connection
        self._program = Program(config, context.work_dir)
        root = Path(config.journal).expanduser() if config.journal else load_settings().home / "journals" / "airbyte"
        self._store = LocalStore(root.absolute())
        self._logs: dict[StreamName, tuple[ManifestLog, Manifest]] = {}
        self._able: frozenset[str] | None = None

    @property
    def traits(self) -> DestinationTraits:
        able = self._modes()
        refusals = {}
        for mode, needs in _NEEDS.items():
            if lacking := [n for n in needs if n not in able]:
                known = ", ".join(sorted(able)) or "none"
                refusals[mode] = f"the connector does not know the mode {lacking[0]}; it knows: {known}"
        return DestinationTraits(
            modes=frozenset(_NEEDS) - refusals.keys(), refusals=refusals, linger_seconds=_LINGER_SECONDS
        )

    def check(self, targets: Sequence[StreamTarget] = ()) -> list[Finding]:
        self._ensure_same_place()
        found = [self._program.reach("destination")]
        if any(not t.dedupe for t in targets):
            found.append(
                Finding(
                    severity=Severity.WARNING,
                    message="rows that are appended through a connector of Airbyte's arrive at least once: when a run "
                    "dies while it writes, they may come twice",
                    hint="use a deduped mode where the stream has a key; whole copies that overwrite are exact",
                )
            )
        return found

    def committed(self, connection: str, stream: StreamName) -> LedgerEntry | None:
        manifest = read_manifest(self._store, connection, stream)
        return None if manifest is None else LedgerEntry(token=manifest.token, checkpoint=manifest.checkpoint)

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        self._ensure_same_place()
        log = ManifestLog(self._store, connection, stream)
        now = self._settled(log, log.claim())
        log.prune(above=_LOG_ENTRIES)
        self._logs[stream] = (log, now)
        return LedgerEntry(token=now.token, checkpoint=now.checkpoint)

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        log, now = self._known(target, token)
        self._ensure_columns_fit(now, target)
        self._store.tidy()
        needed = {f.staged.upload for f in now.staged if f.staged is not None}
        garbage = []
        for upload in self._uploads(log):
            of = upload.name.partition("-")[0]
            if upload.upload not in needed and of.isdigit() and int(of) < token:
                garbage.append(upload)
        self._store.abort(garbage)
        return []

    def writer(self, target: StreamTarget, partition: str, token: int) -> StageWriter:
        folder = ManifestLog(self._store, target.connection, target.stream).folder
        return StageWriter(self._store, folder, target, partition, token)

    def commit(
        self,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
        *,
        publish: bool = False,
    ) -> None:
        log, _ = self._known(target, token)
        files = [ManifestFile.from_json(f) for s in staged for f in s.payload["files"]]
        with self._alone(log):
            # As it is now, not as we remember it: nothing may be sent once a newer attempt has begun.
            now = log.read()
            _ensure_next(now, checkpoint, token, target)
            mark = {"connection": target.connection, "token": token, "sequence": checkpoint.sequence}
            whole = target.write is WriteMode.REPLACE
            if whole and publish:
                self._replace(target, [*now.hidden, *files], mark, log)
            elif not whole and files:
                mode = "append_dedup" if target.write is WriteMode.MERGE else "append"
                self._send(target, mode, files, mark, log, minimum_generation=0)
            # The destination has said that it is durable there: from here on a death repeats the delivery.
            failpoint("commit.inside")
            entry = LogEntry(
                kind=EntryKind.COMMIT,
                id=new_entry_id(),
                token=token,
                checkpoint=checkpoint,
                write=target.write,
                publish=publish,
                # What was sent is of no more use, except to a copy that is not whole yet.
                added=tuple(f for f in files if (whole and not publish) or f.kind is FileKind.QUARANTINE),
                columns=column_words(target.schema) if files or publish else {},
                cleaned=True,  # whoever put the entry before this one, or took the token, has deleted its trash
            )
            now = log.append(now, entry)
            failpoint("publish.inside")
            self._store.abort([_upload_of(f) for f in files if f not in now.staged])
            if now.pending or now.superseding:
                now = self._settled(log, now)
            self._logs[target.stream] = (log, now)
        if publish:
            log.prune(above=_LOG_ENTRIES)

    def quarantine(self, connection: str, stream: StreamName) -> Iterator[QuarantineEntry]:
        for file in self._set_aside(connection, stream):
            yield from entries_of(self._store.get(file.key) or b"")

    def forget_quarantined(self, connection: str, stream: StreamName, ids: Sequence[str]) -> int:
        gone, found = set(ids), 0
        for file in self._set_aside(connection, stream):
            lines = (self._store.get(file.key) or b"").splitlines(keepends=True)
            left = [line for line in lines if json.loads(line)["id"] not in gone]
            if len(left) < len(lines):
                self._store.put(file.key, b"".join(left))
                found += len(lines) - len(left)
        return found

    def close(self) -> None:
        self._store.close()

    def _replace(
        self, target: StreamTarget, files: Sequence[ManifestFile], mark: dict[str, Any], log: ManifestLog
    ) -> None:
        """A whole copy in the place of the former one."""
        if self._config.supports_refreshes:
            mode = "append_dedup" if target.dedupe else "append"
            self._send(target, mode, files, mark, log, minimum_generation=target.generation)
        elif target.dedupe:
            # The mode overwrite keeps every row; so the former copy goes first, and then rows are merged by their key.
            self._send(target, "overwrite", (), {**mark, "step": "clear"}, log, minimum_generation=target.generation)
            self._send(target, "append_dedup", files, mark, log, minimum_generation=0)
        else:
            self._send(target, "overwrite", files, mark, log, minimum_generation=target.generation)

    def _send(
        self,
        target: StreamTarget,
        mode: str,
        files: Sequence[ManifestFile],
        mark: dict[str, Any],
        log: ManifestLog,
        *,
        minimum_generation: int,
    ) -> None:
        if mode not in self._modes():
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the connector does not know the mode {mode}, which this copy needs",
                hint="choose another sync mode, or set supports_refreshes if the connector does",
                where={"stream": str(target.stream)},
            )
        data = [f for f in files if f.kind is FileKind.DATA]
        deliver(
            self._program,
            configured(target, mode, minimum_generation=minimum_generation),
            (chunk for f in data for chunk in lines_of(self._store, f)),
            rows=sum(f.rows for f in data),
            mark=mark,
            log=self._store.root / log.folder / "last-delivery.log",
        )

    def _modes(self) -> frozenset[str]:
        """What the connector says that it can do; of a released package it is asked once and kept."""
        if self._able is None:
            of = hashlib.sha256(json.dumps(self._program.command).encode()).hexdigest()[:16]
            key = f"_syncline/modes-{of}.json"
            kept = self._store.get(key) if self._config.package else None
            if kept is None:
                said = self._program.ask("spec", "spec", configured=False).get("supported_destination_sync_modes")
                kept = json.dumps(said or []).encode()
                if self._config.package:
                    self._store.put(key, kept)
            able = frozenset(json.loads(kept))
            self._able = able | {"overwrite"} if self._config.supports_refreshes and "append" in able else able
        return self._able

    def _ensure_same_place(self) -> None:
        """A ledger is true of one place only, and this one lies elsewhere: so it remembers whose it is."""
        said = {
            "connector": self._config.package or self._config.executable or list(self._config.command or ()),
            "config": without_secrets(self._config.config),
        }
        key = f"_syncline/{hashlib.sha256(self._connection.encode()).hexdigest()[:16]}.place.json"
        body = json.dumps(said, sort_keys=True, default=str, indent=1).encode()
        if self._store.put_if_absent(key, body) or self._store.get(key) == body:
            return
        known = json.loads(self._store.get(key) or b"{}")
        changed = [name for name in said if known.get(name) != said[name]]
        if "config" in changed and isinstance(known.get("config"), dict):
            both = {**known["config"], **said["config"]}
            changed = [f"config.{n}" for n in both if known["config"].get(n) != said["config"].get(n)]
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the journal was kept for a destination with another {', '.join(changed)}",
            hint="for another place give another journal, so that everything is copied there; if it is still the same "
            f"place, remove {self._store.url_of(key)}",
        )

    def _known(self, target: StreamTarget, token: int) -> tuple[ManifestLog, Manifest]:
        known = self._logs.get(target.stream)
        if known is None or known[1].token != token:
            log = ManifestLog(self._store, target.connection, target.stream)
            known = self._logs[target.stream] = (log, log.read())
        return known

    def _settled(self, log: ManifestLog, now: Manifest) -> Manifest:
        """Carry out what was decided: the quarantine's files get their names, the messages that were sent go."""
        for file in now.pending:
            if file.kind is FileKind.QUARANTINE and file.staged is not None:
                self._store.complete(file.staged)
        self._store.abort([_upload_of(f) for f in now.pending if f.kind is FileKind.DATA])
        if now.pending or now.superseding:
            now = log.append(now, LogEntry(kind=EntryKind.MARK, id=new_entry_id(), token=now.token, published=True))
        self._store.delete(now.trash)
        return now

    def _uploads(self, log: ManifestLog) -> Iterator[PendingUpload]:
        yield from self._store.uploads(log.folder, stage=log.stage)

    def _set_aside(self, connection: str, stream: StreamName) -> list[ManifestFile]:
        manifest = read_manifest(self._store, connection, stream)
        return [] if manifest is None else [f for f in manifest.live if f.kind is FileKind.QUARANTINE]

    def _ensure_columns_fit(self, now: Manifest, target: StreamTarget) -> None:
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

    @contextmanager
    def _alone(self, log: ManifestLog) -> Iterator[None]:
        folder = self._store.root / log.folder
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


def _upload_of(file: ManifestFile) -> PendingUpload:
    assert file.staged is not None
    return PendingUpload(key=file.key, upload=file.staged.upload)


def _ensure_next(now: Manifest, checkpoint: StreamCheckpoint, token: int, target: StreamTarget) -> None:
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
