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

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from syncline.connectors.airbyte.config import AirbyteDestinationConfig
from syncline.connectors.airbyte.declared import column_words, configured
from syncline.connectors.airbyte.delivery import deliver
from syncline.connectors.airbyte.journal import Journal, ensure_columns_fit, ensure_next
from syncline.connectors.airbyte.program import Program
from syncline.connectors.airbyte.stage import StageWriter, entries_of, lines_of
from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.files.log import ManifestLog, new_entry_id, read_manifest
from syncline.sdk.files.manifest import EntryKind, FileKind, LogEntry, Manifest, ManifestFile
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
        self._program = Program(config, context.work_dir, own_file="airbyte-destination-config.json")
        root = Path(config.journal).expanduser() if config.journal else load_settings().home / "journals" / "airbyte"
        self._journal = Journal(root)
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
        self._journal.ensure_same_place(self._connection, self._said())
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
        manifest = read_manifest(self._journal.store, connection, stream)
        return None if manifest is None else LedgerEntry(token=manifest.token, checkpoint=manifest.checkpoint)

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        self._journal.ensure_same_place(self._connection, self._said())
        log = self._journal.log(connection, stream)
        now = self._journal.settled(log, log.claim())
        log.prune(above=_LOG_ENTRIES)
        self._logs[stream] = (log, now)
        return LedgerEntry(token=now.token, checkpoint=now.checkpoint)

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        log, now = self._known(target, token)
        ensure_columns_fit(now, target)
        self._journal.sweep(log, now, token)
        return []

    def writer(self, target: StreamTarget, partition: str, token: int) -> StageWriter:
        folder = self._journal.log(target.connection, target.stream).folder
        return StageWriter(self._journal.store, folder, target, partition, token)

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
        with self._journal.alone(log):
            # As it is now, not as we remember it: nothing may be sent once a newer attempt has begun.
            now = log.read()
            ensure_next(now, checkpoint, token, target)
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
            self._journal.forget([f for f in files if f not in now.staged])
            if now.pending or now.superseding:
                now = self._journal.settled(log, now)
            self._logs[target.stream] = (log, now)
        if publish:
            log.prune(above=_LOG_ENTRIES)

    def quarantine(self, connection: str, stream: StreamName) -> Iterator[QuarantineEntry]:
        for file in self._journal.set_aside(connection, stream):
            yield from entries_of(self._journal.store.get(file.key) or b"")

    def forget_quarantined(self, connection: str, stream: StreamName, ids: Sequence[str]) -> int:
        gone, found = set(ids), 0
        for file in self._journal.set_aside(connection, stream):
            lines = (self._journal.store.get(file.key) or b"").splitlines(keepends=True)
            left = [line for line in lines if json.loads(line)["id"] not in gone]
            if len(left) < len(lines):
                self._journal.store.put(file.key, b"".join(left))
                found += len(lines) - len(left)
        return found

    def close(self) -> None:
        self._journal.store.close()

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
            (chunk for f in data for chunk in lines_of(self._journal.store, f)),
            rows=sum(f.rows for f in data),
            mark=mark,
            log=self._journal.store.root / log.folder / "last-delivery.log",
        )

    def _modes(self) -> frozenset[str]:
        """What the connector says that it can do; of a released package it is asked once and kept."""
        if self._able is None:
            of = hashlib.sha256(json.dumps(self._program.command).encode()).hexdigest()[:16]
            name = f"modes-{of}.json"
            kept = self._journal.kept(name) if self._config.package else None
            if kept is None:
                said = self._program.ask("spec", "spec", configured=False).get("supported_destination_sync_modes")
                kept = json.dumps(said or []).encode()
                if self._config.package:
                    self._journal.keep(name, kept)
            able = frozenset(json.loads(kept))
            self._able = able | {"overwrite"} if self._config.supports_refreshes and "append" in able else able
        return self._able

    def _said(self) -> dict[str, Any]:
        """What tells this destination from another; its secrets may change."""
        return {
            "connector": self._config.package or self._config.executable or list(self._config.command or ()),
            "config": without_secrets(self._config.config),
        }

    def _known(self, target: StreamTarget, token: int) -> tuple[ManifestLog, Manifest]:
        known = self._logs.get(target.stream)
        if known is None or known[1].token != token:
            log = self._journal.log(target.connection, target.stream)
            known = self._logs[target.stream] = (log, log.read())
        return known
