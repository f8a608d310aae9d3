"""One flush: slices of the log applied to the destination's open transaction, up to the end of a transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch, ChangeSlice, Op, concat_changes
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName, WriteMode
from syncline.engine.log_lookup import as_inserts, doubtful, filled, left_out
from syncline.engine.log_stream import LogStream
from syncline.quality.limits import Limits
from syncline.quality.screen import Screen
from syncline.sdk.change_log import ChangeLog, ChangeReader, ChangeSession

__all__ = ["Flush"]

#: A flush that waits for more (destinations that like few commits) ends at this size at the latest.
_FLUSH_BYTES = 64 << 20
#: What small slices are put together to before they are applied: each application costs a destination some
#: milliseconds however small it is, and DuckDB also memory until the commit.
_APPLY_BYTES = 16 << 20
#: Who is so far behind gathers for so long before a commit: a log of small pieces (each streamed transaction is one)
#: would otherwise cost a commit for each of them.
_BEHIND_SECONDS, _GATHER_SECONDS = 1.0, 0.5


class Flush:
    """Used once. After :meth:`run`: ``position`` is where the log stands, ``touched`` the streams with changes,
    ``broken`` those that cannot go on. While it runs, ``applying`` names the stream whose changes are being applied, so
    that an error can be laid at its door. Of transactions at or past ``until`` nothing is applied."""

    def __init__(
        self,
        log: ChangeLog,
        session: ChangeSession,
        reader: ChangeReader,
        streams: Mapping[StreamName, LogStream],
        *,
        until: int | None = None,
    ) -> None:
        self.session = session
        self.touched: set[StreamName] = set()
        self.broken: dict[StreamName, SynclineError] = {}
        self.position = 0
        self.committed_at: int | None = None
        self.applying: StreamName | None = None
        #: where the changes end that a gate about rows has stopped
        self.stopped_at: int | None = None
        self.streams = streams
        self._log, self._reader, self._until = log, reader, until
        self._counts: dict[StreamName, list[int]] = {}
        #: Of each stream what is not applied yet: batches that can be one, and those after a change of its columns.
        self._taken: dict[StreamName, list[list[ChangeBatch]]] = {}
        self._taken_bytes = 0

    def run(self, first: ChangeSlice, *, keep_going: bool, abort: threading.Event) -> None:
        """Apply ``first`` and what belongs to its last transaction; with ``keep_going``, or for a while when that was
        committed long ago, also what else is there now. Nothing is visible afterwards: the caller commits, or rolls
        back when this raises."""
        part, size = first, 0
        began = time.monotonic()
        while True:
            part = part if self._until is None else _before(part, self._until)
            size += self._take(part)
            if self._taken_bytes >= _APPLY_BYTES:
                self._apply_taken()
            if not part.whole:
                part = self._rest(abort)
                continue
            self.position = part.position
            following = self._more(size, began, keep_going=keep_going)
            if following is None:
                self._apply_taken()
                following = self._more(size, began, keep_going=keep_going)  # what came meanwhile
            if following is None:
                return
            part = following

    def _more(self, size: int, began: float, *, keep_going: bool) -> ChangeSlice | None:
        wanted = keep_going or (self._is_behind() and time.monotonic() - began < _GATHER_SECONDS)
        return self._reader.read(0.0) if wanted and size < _FLUSH_BYTES else None

    def _is_behind(self) -> bool:
        return self.committed_at is not None and time.time() - self.committed_at / 1e6 > _BEHIND_SECONDS

    def count(self) -> None:
        """The commit stands: add to the streams' counts."""
        for name, (rows, quarantined, size) in self._counts.items():
            stream = self.streams[name]
            stream.rows += rows
            stream.quarantined += quarantined
            stream.bytes += size

    def _rest(self, abort: threading.Event) -> ChangeSlice:
        """The next part of a transaction that is whole at the source, so it will come."""
        while not abort.is_set():
            part = self._reader.read(1.0)
            if part is not None:
                return part
        raise SynclineError(ErrorKind.TRANSIENT, "ended in the middle of a transaction, which will be read again")

    def _take(self, part: ChangeSlice) -> int:
        """Lay a slice's changes by until they are worth an application. Gives their bytes."""
        size = 0
        for name, batch in part.batches:
            if name not in self.streams or name in self.broken:
                continue
            runs = self._taken.setdefault(name, [])
            if runs and batch.evolution is None and batch.schema == runs[-1][-1].schema:
                runs[-1].append(batch)
            else:
                runs.append([batch])
            size += batch.bytes
        self._taken_bytes += size
        self.broken.update(part.broken)
        self.committed_at = part.committed_at or self.committed_at
        return size

    def _apply_taken(self) -> None:
        """The order of streams among each other does not matter: nothing of it is visible before the commit."""
        taken, self._taken, self._taken_bytes = self._taken, {}, 0
        for name, runs in taken.items():
            for batches in runs:
                self._apply(name, concat_changes(batches))

    def _apply(self, name: StreamName, read: ChangeBatch) -> None:
        stream = self.streams[name]
        self.applying = name
        target, batch = stream.fit(read)
        if target.write is WriteMode.APPEND and batch.unchanged and stream.position.snapshot is not None:
            batch = self._completed(stream, batch)
        elif batch.moved is not None and batch.unchanged and stream.position.snapshot is not None:
            batch = self._moved_whole(stream, batch)
        self._one(stream, target, batch)
        self.applying = None

    def _one(self, stream: LogStream, target: StreamTarget, batch: ChangeBatch) -> None:
        name = stream.selected.name
        batch = self._screened(target, batch)
        done = self.session.apply(target, batch)
        if done.rows != batch.rows:
            raise SynclineError(
                ErrorKind.INTERNAL,
                f"{batch.rows} changes were read but {done.rows} applied",
                hint="nothing of this flush was committed; please report this",
            )
        if done.missing is not None and done.missing.num_rows:
            # Updates of rows that the snapshot missed: they left values out, so the whole row is asked for. It may be
            # newer than the log is here; what lies between comes again and is harmless.
            fetched = self._fetch(stream, done.missing)
            if fetched.rows:
                self.session.apply(target, as_inserts(fetched, stream.columns, batch))
        self.touched.add(name)
        counts = self._counts.setdefault(name, [0, 0, 0])
        counts[0] += batch.rows
        counts[1] += done.quarantined
        if done.quarantined:
            limits = Limits.from_json(stream.selected.options.get("quarantine"))
            error = limits.error(stream.rows + counts[0], stream.quarantined + counts[1])
            if error is not None:
                raise error
        counts[2] += batch.bytes

    def _screened(self, target: StreamTarget, batch: ChangeBatch) -> ChangeBatch:
        """The changes with a misfit for each row that a gate sets aside. A deletion has no row to judge, and what an
        update left out was judged when it was said. A gate that blocks stops the stream here, before the flush."""
        screen = Screen.of(target.options, batch.schema) if batch.rows else None
        if screen is None:
            return batch
        said = pc.or_(pc.equal(batch.op, int(Op.INSERT)), pc.equal(batch.op, int(Op.UPDATE)))
        refused = screen.look(batch.data, batch.misfits, only=said, unsaid=batch.unchanged)
        broken = screen.blocking()
        if broken:
            self.stopped_at = int(batch.lsn[batch.rows - 1].as_py()) + 1
            raise SynclineError(
                ErrorKind.DATA,
                f"changes of the log break the gate {broken[0]!r}, which blocks",
                hint="mend the rows at the source, or let the gate warn or set rows aside (severity: quarantine)",
            )
        return replace(batch, misfits=(*batch.misfits, *refused)) if refused else batch

    def _completed(self, stream: LogStream, batch: ChangeBatch) -> ChangeBatch:
        """In a change log, values that an update left out lie in the row's earlier record. While the changes are those
        made during the snapshot there may be none: then the present value is asked for, and the column stays named in
        the record's list of unchanged ones."""
        key = list(stream.target.primary_key)
        if not key:
            return batch
        wanted = every = left_out(batch)
        until = stream.snapshot_until
        if until is not None:
            wanted = pc.and_(every, pc.less(batch.lsn, pa.scalar(until, batch.lsn.type)))
        while wanted.true_count:
            fetched = self._log.fetch(stream.read_as, batch.data.select(key).filter(wanted))
            whole = filled(batch, key, wanted, fetched)
            if until is None or not doubtful(batch, key, wanted, fetched):
                return whole
            # What came may be of another row by now, whose own changes lie further on: those are asked for as well.
            self._put_off_end(stream)
            if wanted.equals(every):
                return whole
            wanted = every
        return batch

    def _moved_whole(self, stream: LogStream, batch: ChangeBatch) -> ChangeBatch:
        """While the log tells again what a copy has seen already, the row under a former key may be another one that
        came later: values that a change of key left out must not be taken from it. They are asked for at the source. A
        row that is gone there, or another one that has its key now, is moved or deleted further on in the log."""
        wanted = pc.and_(batch.moved, left_out(batch))
        if stream.snapshot_until is not None:
            # One that is asked for puts the end off, beyond all that this batch holds: then all of them are.
            early = pc.and_(wanted, pc.less(batch.lsn, pa.scalar(stream.snapshot_until, batch.lsn.type)))
            wanted = wanted if early.true_count else early
        if not wanted.true_count:
            return batch
        key = list(stream.target.primary_key)
        fetched = self._fetch(stream, batch.data.select(key).filter(wanted))
        left = {name: pc.and_not(mask, wanted) for name, mask in batch.unchanged.items()}
        whole = filled(batch, key, wanted, fetched)
        return replace(whole, unchanged={name: mask for name, mask in left.items() if mask.true_count})

    def _fetch(self, stream: LogStream, keys: pa.RecordBatch) -> Batch:
        """The present rows under these keys. They are ahead of the log, and under a key there may be another row by
        now: until the log has come to this moment, a former key is no witness of what a moved row holds."""
        found = self._log.fetch(stream.read_as, keys)
        self._put_off_end(stream)
        return found

    def _put_off_end(self, stream: LogStream) -> None:
        """Until the log has come to this moment, it tells of the stream what a look at its rows has seen already."""
        if stream.snapshot_until is not None:
            applying, self.applying = self.applying, None  # should the log fail here, it is not the stream's fault
            stream.snapshot_until = max(stream.snapshot_until, self._log.end())
            self.applying = applying


def _before(part: ChangeSlice, until: int) -> ChangeSlice:
    """The transactions of a slice that were committed before ``until``."""
    if part.position <= until and part.whole:
        return part
    batches = []
    for name, batch in part.batches:
        rows = int(np.searchsorted(batch.lsn.to_numpy(), until))
        if rows or batch.evolution is not None:
            batches.append((name, batch.slice(0, rows)))
    return replace(part, batches=tuple(batches), position=min(part.position, until))
