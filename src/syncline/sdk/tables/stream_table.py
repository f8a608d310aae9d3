"""One stream's table together with its ledger: fencing, commits by compare-and-set, and what dead attempts left.

The ledger's truth is the pointer in the table's own newest commit. Before there is a table (and for a stream that has
no columns, as the log's own entry) a log of manifests holds it; the first commit of the table takes over from there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from syncline.core.checkpoint import LedgerEntry, StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.files.log import ManifestLog, new_entry_id, stream_folder
from syncline.sdk.files.manifest import EntryKind, LogEntry
from syncline.sdk.files.store import ObjectStore, StagedObject
from syncline.sdk.tables.files_out import Naming, NewFile, complete_all
from syncline.sdk.tables.records import Record, Records
from syncline.sdk.tables.table import Pointer, Table, TableChange, TableFile, TableMoved, TableState

__all__ = ["Draft", "StreamTable", "owner_of"]

_log = logging.getLogger("syncline.tables")

#: Others may commit between our look and our commit; each time it is tried again on their version.
_ATTEMPTS = 20
#: A log of fewer entries is not worth pruning.
_LOG_ENTRIES = 50


def owner_of(connection: str, stream: StreamName) -> str:
    """Ten hexadecimal digits for connection and stream."""
    text = "\0".join((connection, stream.namespace or "", stream.name))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a commit is to do, made from the newest state. ``added`` become part of the table (``hide``: of the hidden
    generation); ``early`` are those of them that are visible under their keys already, ``present`` are files from
    before. ``scrap`` are keys to delete once the commit stands."""

    added: Sequence[NewFile] = ()
    present: Sequence[TableFile] = ()
    early: frozenset[str] = frozenset()
    removed: Sequence[TableFile] = ()
    schema: pa.Schema | None = None
    hide: bool = False
    publish: bool = False
    rearranged: bool = False
    quarantine: Sequence[StagedObject] = ()
    scrap: Sequence[str] = ()
    note: dict[str, Any] = field(default_factory=dict)


class StreamTable:
    """Used by one thread."""

    def __init__(self, store: ObjectStore, table: Table, connection: str, stream: StreamName) -> None:
        self.table, self.stream = table, stream
        self.owner = owner_of(connection, stream)
        self.folder = stream_folder(connection, stream)
        self._store = store
        self._records = Records(store, f"{self.folder}records/")
        self._claims = ManifestLog(store, connection, stream)
        self._known: Record | None = None

    def naming(self, token: int, *, scratch: bool = False) -> Naming:
        """Names for a writer's files; ``scratch``: such as never become part of the table."""
        prefix = f"{self.folder}scratch/" if scratch else self.table.data_prefix
        return Naming(prefix=prefix, stage=f"{self.folder}stage/", owner=self.owner, token=token)

    # -- the ledger ----------------------------------------------------------------------------------------------------

    def entry(self) -> LedgerEntry | None:
        """What the ledger says; None when this stream was never written. Changes nothing."""
        state = self._ours(self.table.load())
        if state is not None:
            return self._record(state).entry
        manifest = self._claims.read()
        return LedgerEntry(token=manifest.token, checkpoint=manifest.checkpoint) if manifest.number else None

    def fence(self) -> LedgerEntry:
        """Take the next token, and carry out what the newest commit had decided."""
        for _ in range(_ATTEMPTS):
            state = self._ours(self.table.load())
            if state is None:
                manifest = self._claims.claim()
                return LedgerEntry(token=manifest.token, checkpoint=manifest.checkpoint)
            record = self._record(state)
            complete_all(self._store, record.quarantine)
            pointer = Pointer(token=record.pointer.token + 1, sequence=record.pointer.sequence)
            following = replace(
                record,
                pointer=pointer,
                plan_at=self._plan_at(record),
                previous=record.pointer.name,
                added=(),
                quarantine=(),
            )
            self._records.put(following)
            try:
                self.table.commit(state, TableChange(pointer=pointer, note=_note(following)))
            except TableMoved:
                continue
            self._known = following
            return following.entry
        raise self._hurried()

    def ensure_next(self, checkpoint: StreamCheckpoint, token: int) -> None:
        """Raise what a commit with this checkpoint and token would raise now: ``conflict`` when another attempt has
        taken over, ``data`` when the table was taken back to before our last commit."""
        state = self._ours(self.table.load())
        before = self._before(state, checkpoint, token)
        self._ensure_whole(state, before, checkpoint)

    def commit(
        self,
        checkpoint: StreamCheckpoint,
        token: int,
        make: Callable[[TableState | None], Draft],
        *,
        columns: pa.Schema | None = None,
    ) -> TableState | None:
        """Make what ``make`` drafts part of the table, and ``checkpoint`` the ledger's entry, in one act. ``make`` is
        called again when somebody else has committed in between. ``columns``: of a table that is not there yet; without
        them nothing but the ledger moves then."""
        last: Draft | None = None
        for _ in range(_ATTEMPTS):
            state = self._ours(self.table.load())
            if state is None and not columns:
                self._claim(checkpoint, token)
                return None
            before = self._before(state, checkpoint, token)
            self._ensure_whole(state, before, checkpoint)
            draft = make(state)
            self._forget_files(last, draft)
            last = draft
            record = self._following(before, checkpoint, token, draft)
            self._records.put(record)
            # Files are under their keys before the commit that names them; until then nobody looks for them.
            complete_all(self._store, [f.staged for f in draft.added if f.file.key not in draft.early])
            failpoint("commit.inside")
            if draft.publish:
                failpoint("publish.inside")
            change = self._change(record, draft)
            change = replace(change, accepts_loss=draft.publish or _forgets(checkpoint))
            try:
                if state is None:
                    assert columns is not None
                    after = self.table.create(columns, change)
                else:
                    after = self.table.commit(state, change)
            except TableMoved as moved:
                _log.warning("%s: %s; the commit is made again on the newer version", self.stream, moved.message)
                continue
            # From here on the commit stands: what follows can be repeated by anybody.
            self._known = record
            complete_all(self._store, record.quarantine)
            self._forget_records(before, record, publish=draft.publish)
            if draft.scrap:
                self._store.delete(list(draft.scrap))
            return after
        raise self._hurried()

    def alter(self, token: int, make: Callable[[TableState], Draft | None]) -> TableState:
        """Change the table and leave the ledger's entry as it is: columns, compaction. None from ``make``: nothing to
        do."""
        for _ in range(_ATTEMPTS):
            state = self.state()
            if state.pointer is None or state.pointer.token != token:
                raise self._taken_over(state.pointer, token)
            record = self._record(state)
            draft = make(state)
            if draft is None:
                return state
            staged = [f.staged for f in draft.added if f.file.key not in draft.early]
            intent = self.intend(token, [f.file.key for f in draft.added]) if staged else None
            complete_all(self._store, staged)
            try:
                after = self.table.commit(state, self._change(record, draft))
            except TableMoved:
                self._store.delete([f.file.key for f in draft.added])
                continue
            if intent is not None:
                self._store.delete([intent])
            if draft.scrap:
                self._store.delete(list(draft.scrap))
            return after
        raise self._hurried()

    def state(self) -> TableState:
        """The newest state; ``conflict`` when the table is gone."""
        state = self._ours(self.table.load())
        if state is None:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the table {self.table.place} is gone",
                hint="reset the stream's state, so that it is copied anew",
                where={"stream": str(self.stream), "table": self.table.place},
            )
        return state

    def ensure_whole(self, state: TableState) -> None:
        """Raise ``data`` when somebody went back to a version from before our last commit: the source was told that
        those rows are here, and would not give them again."""
        if state.lost is not None:
            raise SynclineError(
                ErrorKind.DATA,
                f"{state.lost.what}: rows that the source was told are here are gone",
                hint=f"{state.lost.undone}, or copy the stream anew: syncline state reset --stream {self.stream}, then "
                "sync; nothing was changed",
                where={"stream": str(self.stream), "table": self.table.place},
            )

    def hidden(self, state: TableState) -> list[TableFile]:
        """The files of the generation that is not whole yet."""
        return self._records.added(self._record(state).hidden)

    # -- what is left behind -------------------------------------------------------------------------------------------

    def intend(self, token: int, keys: Sequence[str]) -> str:
        """Note files that become visible under their keys before any commit names them; gives the note's own key."""
        key = f"{self.folder}intents/{token:08}-{secrets.token_hex(8)}.json"
        self._store.put(key, json.dumps(list(keys)).encode())
        return key

    def forget_intents(self, token: int) -> None:
        """The files of this attempt's notes are committed, or gone."""
        self._store.delete([i.key for i in self._store.list(f"{self.folder}intents/{token:08}-")])

    def sweep(self, token: int) -> None:
        """Remove what dead attempts left: uploads, records that no commit names, and the files that only they name."""
        self._store.tidy()
        naming = self.naming(token)
        for prefix in (self.table.data_prefix, self.folder):
            self._store.abort([u for u in self._store.uploads(prefix, stage=naming.stage) if naming.older(u.name)])
        scratch = [i.key for i in self._store.list(f"{self.folder}scratch/") if naming.older(i.key)]
        self._store.delete(scratch)
        state = self._ours(self.table.load())
        if state is None:
            return
        now = self._record(state)
        stray = [n for n in self._records.names() if n not in now.needed and int(n.rpartition("-")[2]) <= token]
        # What the record before this one had added was committed: it is the table's business, not ours.
        lost = self._records.added([n for n in stray if n != now.previous])
        intents = [i.key for i in self._store.list(f"{self.folder}intents/") if _token_in(i.key) < token]
        keys = [f.key for f in lost] + [k for i in intents for k in json.loads(self._store.get(i) or b"[]")]
        if keys:
            kept = {f.key for f in state.files} | self.table.retired(state)
            kept |= {f.key for f in self._records.added(now.hidden)}
            self._store.delete([key for key in keys if key not in kept])
        self._store.delete(intents)
        self._records.delete(stray)

    # -- within --------------------------------------------------------------------------------------------------------

    def _ensure_whole(self, state: TableState | None, before: Record | None, checkpoint: StreamCheckpoint) -> None:
        """Whoever copies anew, or forgets how far the copy came, does not miss what is lost."""
        anew = checkpoint.write is WriteMode.REPLACE or _forgets(checkpoint)
        publishes = before is not None and before.checkpoint.write is WriteMode.REPLACE
        if state is not None and not anew and not publishes:
            self.ensure_whole(state)

    def _ours(self, state: TableState | None) -> TableState | None:
        if state is not None and state.pointer is None:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"there is a table at {self.table.place} that this stream did not make",
                hint="write to another place (path, prefix, namespace), or move that table away",
                where={"stream": str(self.stream), "table": self.table.place},
            )
        return state

    def _record(self, state: TableState) -> Record:
        assert state.pointer is not None
        if self._known is None or self._known.pointer != state.pointer:
            self._known = self._records.get(state.pointer)
        return self._known

    def _before(self, state: TableState | None, checkpoint: StreamCheckpoint, token: int) -> Record | None:
        """The record that the commit follows; ``conflict`` when it is not ours to follow."""
        if state is None:
            manifest = self._claims.read()
            if manifest.token != token or manifest.checkpoint.sequence + 1 != checkpoint.sequence:
                raise self._taken_over(Pointer(token=manifest.token, sequence=manifest.checkpoint.sequence), token)
            return None
        assert state.pointer is not None
        if state.pointer.token != token or state.pointer.sequence + 1 != checkpoint.sequence:
            raise self._taken_over(state.pointer, token)
        return self._record(state)

    def _following(self, before: Record | None, checkpoint: StreamCheckpoint, token: int, draft: Draft) -> Record:
        pointer = Pointer(token=token, sequence=checkpoint.sequence)
        plan_at, hidden = None, tuple[str, ...]()
        if before is not None:
            if checkpoint.plan is not None and checkpoint.plan == before.checkpoint.plan:
                plan_at = before.plan_at or before.pointer.name
            same = _plan_of(before.checkpoint) is not None and _plan_of(before.checkpoint) == _plan_of(checkpoint)
            hidden = before.hidden if same and checkpoint.write is WriteMode.REPLACE and not draft.publish else ()
        if draft.hide and draft.added:
            hidden = (*hidden, pointer.name)
        return Record(
            pointer=pointer,
            checkpoint=checkpoint,
            plan_at=plan_at,
            hidden=hidden,
            added=tuple(f.file for f in draft.added),
            quarantine=tuple(draft.quarantine),
            previous=None if before is None else before.pointer.name,
        )

    def _plan_at(self, record: Record) -> str | None:
        return record.plan_at or (record.pointer.name if record.checkpoint.plan is not None else None)

    def _change(self, record: Record, draft: Draft) -> TableChange:
        added = () if draft.hide else (*draft.present, *(f.file for f in draft.added))
        return TableChange(
            pointer=record.pointer,
            added=added,
            removed=tuple(draft.removed),
            schema=draft.schema,
            replaces=draft.publish,
            rearranged=draft.rearranged,
            note={**_note(record), **draft.note},
        )

    def _claim(self, checkpoint: StreamCheckpoint, token: int) -> None:
        now = self._claims.read()
        if now.token != token or now.checkpoint.sequence + 1 != checkpoint.sequence:
            raise self._taken_over(Pointer(token=now.token, sequence=now.checkpoint.sequence), token)
        entry = LogEntry(
            kind=EntryKind.COMMIT, id=new_entry_id(), token=token, checkpoint=checkpoint, write=WriteMode.APPEND
        )
        self._claims.append(now, entry)
        self._claims.prune(above=_LOG_ENTRIES)

    def _forget_records(self, before: Record | None, now: Record, *, publish: bool) -> None:
        if before is None:
            return
        gone = before.needed - now.needed
        if not publish and (dropped := [n for n in before.hidden if n not in now.hidden]):
            # A generation that was given up: nothing refers to its files any more.
            self._store.delete([f.key for f in self._records.added(dropped)])
        self._records.delete(sorted(gone))

    def _forget_files(self, last: Draft | None, now: Draft) -> None:
        if last is not None:
            kept = {f.file.key for f in now.added}
            self._store.delete([f.file.key for f in last.added if f.file.key not in kept])

    def _taken_over(self, now: Pointer | None, token: int) -> SynclineError:
        what = "has no ledger" if now is None else f"stands at token {now.token}, sequence {now.sequence}"
        return SynclineError(
            ErrorKind.CONFLICT,
            f"another attempt has taken over: the table {what}; our token is {token}",
            hint="nothing is lost: its commits stand, and this attempt must end",
            where={"stream": str(self.stream), "table": self.table.place},
        )

    def _hurried(self) -> SynclineError:
        return SynclineError(
            ErrorKind.CONFLICT,
            f"others committed to {self.table.place} {_ATTEMPTS} times in a row before we could",
            hint="let other writers of the table pause, then run again: nothing is lost and nothing doubled",
            where={"stream": str(self.stream), "table": self.table.place},
        )


def _forgets(checkpoint: StreamCheckpoint) -> bool:
    """Whether this is the ledger's entry of a stream that is to be copied anew."""
    return checkpoint.position is None and checkpoint.plan is None


def _plan_of(checkpoint: StreamCheckpoint) -> tuple[str, int, str] | None:
    """What tells one plan from the next."""
    return (checkpoint.plan.id, checkpoint.generation, checkpoint.sync_id) if checkpoint.plan else None


def _note(record: Record) -> dict[str, Any]:
    """What the commit says about our ledger, for people."""
    checkpoint = record.checkpoint
    return {
        "sequence": record.pointer.sequence,
        "token": record.pointer.token,
        "generation": checkpoint.generation,
        "position": None if checkpoint.position is None else dict(checkpoint.position),
        "sync_id": checkpoint.sync_id,
    }


def _token_in(key: str) -> int:
    return int(key.rpartition("/")[2].partition("-")[0])
