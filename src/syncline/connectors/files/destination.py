"""Files as a destination: stages are uploads not yet completed, a commit is an entry in the log of manifests.

    fence     take the next token; complete what a dead attempt had decided; delete what it had replaced
    commit    put the entry (files and checkpoint, one act) -> complete the uploads -> mark -> delete the replaced files

Until the entry is put nothing of a commit exists; after it everything that follows can be repeated by anybody, and
is, by the next ``fence``. Readers of the manifest see each commit at its mark; readers of the bare folder see files
appear.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from syncline.connectors.files.check import check_destination
from syncline.connectors.files.config import FilesDestinationConfig, S3DestinationConfig
from syncline.connectors.files.folders import FolderSplit, ensure_partitionable
from syncline.connectors.files.layout import NAMESPACE_HINT, owned_token, owner, stream_folder_format, stream_prefix
from syncline.connectors.files.lifecycle import apply_lifecycle
from syncline.connectors.files.quarantine import entries_of, without
from syncline.connectors.files.types import file_type
from syncline.connectors.files.widening import fits
from syncline.connectors.files.writer import FilesWriter
from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.schema import arrow_type_from_text, arrow_type_to_text
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.log import ManifestLog, new_entry_id, read_manifest, stream_folder
from syncline.sdk.files.manifest import EntryKind, FileKind, LogEntry, Manifest, ManifestFile
from syncline.sdk.files.s3 import S3Store
from syncline.sdk.files.staged_view import StagedFilesView, ViewFile, ViewTable, staged_files_view
from syncline.sdk.files.store import ObjectStore, PendingUpload
from syncline.sdk.findings import Finding
from syncline.sdk.quarantine import QuarantineEntry

__all__ = ["FilesDestination", "LiveFiles"]

_NO_MERGE = (
    "plain files cannot replace single rows; the destinations duckdb and postgres can, and so will the table formats "
    "Delta and Iceberg"
)
#: Uploads completed at once. Each is one request that waits for the server.
_COMPLETERS = 8
#: A log of fewer entries is not worth pruning.
_LOG_ENTRIES = 50


@dataclass(frozen=True, kw_only=True)
class LiveFiles:
    """What readers of a stream's manifest see: the files of its rows, the checkpoint they hold it up to, and their
    addresses in the order of ``files``."""

    files: tuple[ManifestFile, ...]
    urls: tuple[str, ...]
    checkpoint: StreamCheckpoint


@dataclass
class _Log:
    """A stream's log as this process last knew it. ``completed`` and ``cleaned``: that the pending files are complete
    and the trash is deleted is so far known to this process only; it rides on the next entry."""

    log: ManifestLog
    now: Manifest
    completed: bool = False
    cleaned: bool = False


class FilesDestination:
    """Parquet, CSV or JSON lines in a folder or bucket. See :class:`syncline.sdk.destination.Destination`."""

    def __init__(self, config: FilesDestinationConfig, context: ConnectorContext) -> None:
        self._config, self._context = config, context
        self._store: ObjectStore = config.open_store()
        self._logs: dict[tuple[str, StreamName], _Log] = {}
        self._lifecycle_applied = False
        self._folders: dict[str, StreamName] = {}

    @property
    def traits(self) -> DestinationTraits:
        modes = frozenset(m for m in SyncMode if not m.deduped)
        remote = isinstance(self._config, S3DestinationConfig)
        return DestinationTraits(
            modes=modes,
            refusals={m: _NO_MERGE for m in SyncMode if m.deduped},
            remote_stage=remote,
            linger_seconds=5.0 if remote else 1.0,
        )

    def check(self, targets: Sequence[StreamTarget] = ()) -> list[Finding]:
        return check_destination(self._store, self._config, targets)

    def committed(self, connection: str, stream: StreamName) -> LedgerEntry | None:
        manifest = read_manifest(self._store, connection, stream)
        return None if manifest is None else LedgerEntry(token=manifest.token, checkpoint=manifest.checkpoint)

    def live_files(self, connection: str, stream: StreamName) -> LiveFiles | None:
        """The files that hold the stream's rows, as readers of the manifest see them; None when it was never
        written."""
        manifest = read_manifest(self._store, connection, stream)
        if manifest is None:
            return None
        files = tuple(f for f in manifest.live if f.kind is FileKind.DATA)
        urls = tuple(self._store.url_of(f.key) for f in files)
        return LiveFiles(files=files, urls=urls, checkpoint=manifest.checkpoint)

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        log = ManifestLog(self._store, connection, stream)
        # The token first: a zombie may go on completing what was decided, which is harmless, but decides nothing more.
        known = self._logs[connection, stream] = _Log(log=log, now=log.claim())
        self._settle(known)
        log.prune(above=_LOG_ENTRIES)
        return LedgerEntry(token=known.now.token, checkpoint=known.now.checkpoint)

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        known = self._known(target, token)
        ensure_partitionable(self._config, target.schema)
        self._ensure_own_folder(target.stream)
        self._ensure_columns_fit(known.now, target)
        self._apply_lifecycle()
        self._store.tidy()
        needed = {f.staged.upload for f in known.now.staged if f.staged is not None}
        mine = owner(target.connection, target.stream)
        garbage, found = [], set()
        for upload in self._uploads(target, known.log):
            written_by = owned_token(upload.name, mine)
            if upload.upload in needed:
                found.add(upload.upload)
            elif written_by is not None and written_by < token:
                garbage.append(upload)
        self._store.abort(garbage)
        self._ensure_stages(known.now.hidden, found, target)
        return []

    def writer(self, target: StreamTarget, partition: str, token: int) -> FilesWriter:
        return FilesWriter(self._store, self._config, target, partition, token, self._context.work_dir)

    def commit(
        self,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
        *,
        publish: bool = False,
    ) -> None:
        known = self._known(target, token)
        self._ensure_next(known.now, checkpoint, token, target)
        if known.now.pending and not known.completed:
            self._settle(known)  # an earlier commit of this process was put and then failed
        replacing = target.write is WriteMode.REPLACE
        if publish and replacing and known.now.hidden:
            found = {u.upload for u in self._uploads(target, known.log)}
            self._ensure_stages(known.now.hidden, found, target)
        files = tuple(ManifestFile.from_json(f) for s in staged for f in s.payload["files"])
        failpoint("commit.inside")
        self._put(
            known,
            LogEntry(
                kind=EntryKind.COMMIT,
                id=new_entry_id(),
                token=token,
                checkpoint=checkpoint,
                write=target.write,
                publish=publish,
                added=files,
                columns=self._columns(target) if files or publish else {},
            ),
        )
        # From here on the commit stands: what follows can be repeated by anybody.
        self._complete(known)
        if publish:
            self._settle(known)
            known.log.prune(above=_LOG_ENTRIES)

    def unreadable_stage(self, options: Mapping[str, Any]) -> str:
        kind = self._config.format.format_type
        if kind != "Parquet":
            return f"staged files of format {kind} are not read, only Parquet is"
        if isinstance(self._store, LocalStore) or options.get("readable_stage"):
            return ""
        return "parts of an upload to a bucket are no object before it is completed"

    @contextmanager
    def staged_view(self, target: StreamTarget, held: Sequence[Staged], token: int) -> Iterator[StagedFilesView]:
        files = self._known(target, token).now.hidden
        if target.write is not WriteMode.REPLACE:
            files = tuple(ManifestFile.from_json(f) for s in held for f in s.payload["files"])
        staged = [f for f in files if f.kind is FileKind.DATA and f.staged is not None]
        kept = FolderSplit(self._config, target).file_schema.names
        fields = [f for f in target.schema.fields if f.name in kept or any(f.name in file.values for file in staged)]
        schema = pa.schema([pa.field(f.name, file_type(f.type, "Parquet")) for f in fields])
        table = ViewTable(
            files=[ViewFile(open=partial(self._open_staged, f), values=f.values) for f in staged], schema=schema
        )
        place = self._store.url_of(stream_folder(target.connection, target.stream) + "stage")

        def visible(namespace: str | None, name: str) -> ViewTable | None:
            known = (target.stream.namespace, None) if namespace is None else (namespace,)
            found = (self._visible(target.connection, StreamName(name=name, namespace=n)) for n in known)
            return next((t for t in found if t is not None), None)

        with staged_files_view(table, place, visible, self._context.work_dir, stream=str(target.stream)) as view:
            yield view

    def _open_staged(self, file: ManifestFile) -> pa.NativeFile:
        assert file.staged is not None
        opened = self._store.open_staged(file.staged)
        if opened is None:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the upload of {self._store.url_of(file.key)} cannot be read before it is completed",
                hint="it began before there were gates: sync again, and it is read anew",
                where={"key": file.key},
            )
        return opened

    def _visible(self, connection: str, stream: StreamName) -> ViewTable | None:
        """Another stream's rows, as readers of its manifest see them."""
        manifest = read_manifest(self._store, connection, stream)
        if manifest is None:
            return None
        files = [f for f in manifest.live if f.kind is FileKind.DATA]
        fields = {n: arrow_type_from_text(t) for n, t in manifest.columns.items()}
        for file in files:
            fields |= {n: pa.string() for n in file.values if n not in fields}
        return ViewTable(
            files=[ViewFile(open=partial(self._store.open_input, f.key), values=f.values) for f in files],
            schema=pa.schema(list(fields.items())),
        )

    def quarantine(self, connection: str, stream: StreamName) -> Iterator[QuarantineEntry]:
        for file in self._quarantine_files(connection, stream):
            yield from entries_of(self._store.get(file.key) or b"")

    def forget_quarantined(self, connection: str, stream: StreamName, ids: Sequence[str]) -> int:
        gone = set(ids)
        found = 0
        for file in self._quarantine_files(connection, stream):
            data = self._store.get(file.key) or b""
            left, count = without(data, gone)
            if count:
                self._store.put(file.key, left)
                found += count
        return found

    def _quarantine_files(self, connection: str, stream: StreamName) -> list[ManifestFile]:
        manifest = read_manifest(self._store, connection, stream)
        return [] if manifest is None else [f for f in manifest.live if f.kind is FileKind.QUARANTINE]

    def close(self) -> None:
        self._store.close()

    def _known(self, target: StreamTarget, token: int) -> _Log:
        key = (target.connection, target.stream)
        known = self._logs.get(key)
        if known is None or known.now.token != token:
            log = ManifestLog(self._store, target.connection, target.stream)
            known = self._logs[key] = _Log(log=log, now=log.read())
        return known

    def _ensure_next(self, now: Manifest, checkpoint: StreamCheckpoint, token: int, target: StreamTarget) -> None:
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

    def _put(self, known: _Log, entry: LogEntry) -> None:
        entry = replace(entry, published=known.completed, cleaned=known.cleaned)
        known.now = known.log.append(known.now, entry)
        known.completed = known.cleaned = False

    def _settle(self, known: _Log) -> None:
        """Carry out what has been decided: uploads completed, that marked, the replaced files deleted."""
        if not known.completed:
            self._complete(known)
        if known.now.pending or known.now.superseding:
            self._put(known, LogEntry(kind=EntryKind.MARK, id=new_entry_id(), token=known.now.token))
        if known.now.trash and not known.cleaned:
            self._store.delete(known.now.trash)
            known.cleaned = True

    def _complete(self, known: _Log) -> None:
        stages = [f.staged for f in known.now.pending if f.staged is not None]
        if stages:
            self._store.complete(stages[0])
            failpoint("publish.inside")
        if len(stages) > 1:
            with ThreadPoolExecutor(min(_COMPLETERS, len(stages) - 1), thread_name_prefix="complete") as pool:
                for _ in pool.map(self._store.complete, stages[1:]):
                    pass
        known.completed = True

    def _uploads(self, target: StreamTarget, log: ManifestLog) -> Iterable[PendingUpload]:
        """Uploads of this stream's data, and of its quarantine: they lie below different prefixes."""
        seen = set()
        for prefix in (stream_prefix(self._config, target.stream), log.folder):
            for upload in self._store.uploads(prefix, stage=log.stage):
                if upload.upload not in seen:
                    seen.add(upload.upload)
                    yield upload

    def _ensure_stages(self, files: Iterable[ManifestFile], found: set[str], target: StreamTarget) -> None:
        lost = [f.key for f in files if f.staged is not None and f.staged.upload not in found]
        if lost:
            raise SynclineError(
                ErrorKind.DATA,
                f"{len(lost)} staged files of the unfinished copy are gone, among them {lost[0]}",
                hint="a bucket rule that aborts multipart uploads, or somebody, removed them; the published data is "
                f"whole. Copy the stream anew: syncline state reset --stream {target.stream}",
                where={"stream": str(target.stream)},
            )

    def _columns(self, target: StreamTarget) -> Mapping[str, str]:
        split = FolderSplit(self._config, target)
        return {
            f.name: arrow_type_to_text(file_type(f.type, self._config.format.format_type)) for f in split.file_schema
        }

    def _ensure_columns_fit(self, now: Manifest, target: StreamTarget) -> None:
        """Files that stay must be readable together with the new ones."""
        if target.write is WriteMode.REPLACE:
            return
        for name, new in self._columns(target).items():
            old = now.columns.get(name)
            if old is not None and not fits(old, new):
                raise SynclineError(
                    ErrorKind.SCHEMA,
                    f"column {name!r} was {old} in the files written so far and is {new} now",
                    hint="copy the stream anew (syncline state reset, or once with full_refresh_overwrite), "
                    "or leave the column out",
                    where={"stream": str(target.stream)},
                )

    def _ensure_own_folder(self, stream: StreamName) -> None:
        folder = stream_folder_format(self._config, stream)
        other = self._folders.setdefault(folder, stream)
        if other != stream:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the streams {other} and {stream} would share the folder {folder}",
                hint=NAMESPACE_HINT,
                where={"stream": str(stream)},
            )

    def _apply_lifecycle(self) -> None:
        """Once per attempt, and only when the configuration speaks of it: an empty list removes our rules."""
        if self._lifecycle_applied or "lifecycle" not in self._config.model_fields_set:
            return
        assert isinstance(self._config, S3DestinationConfig)
        assert isinstance(self._store, S3Store)
        apply_lifecycle(self._store, self._config.lifecycle, self._context.connection)
        self._lifecycle_applied = True
