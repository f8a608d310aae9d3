"""Appending changes to a destination that knows nothing of them: each flush is a stage of each of its streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch
from syncline.core.checkpoint import Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName
from syncline.sdk.change_log import Applied, StreamCommit
from syncline.sdk.destination import Destination, Writer
from syncline.sdk.metadata import change_rows

__all__ = ["AppendSession"]


@dataclass
class _Open:
    """What lies staged of one stream in the open flush."""

    target: StreamTarget
    writer: Writer | None = None
    staged: list[Staged] = field(default_factory=list)
    count: int = 0
    rows: int = 0


class AppendSession:
    """A :class:`~syncline.sdk.change_log.ChangeSession` for append modes over :class:`Destination`'s plain writers.

    ``owners`` gives each stream's token and last checkpoint, which writers and ``prepare`` need. Streams are committed
    one after the other, each with its own position, so that a replay after a crash in between skips what is there.
    """

    def __init__(self, destination: Destination, owners: Callable[[StreamName], tuple[int, StreamCheckpoint]]) -> None:
        self._destination, self._owners = destination, owners
        self._prepared: dict[StreamName, StreamTarget] = {}
        self._open: dict[StreamName, _Open] = {}

    def apply(self, target: StreamTarget, batch: ChangeBatch) -> Applied:
        token, checkpoint = self._owners(target.stream)
        flush = self._open.get(target.stream)
        if flush is None:
            flush = self._open[target.stream] = _Open(target=target)
        if self._prepared.get(target.stream) != target:
            self._destination.prepare(target, checkpoint, token)
            self._prepared[target.stream] = target
        if flush.target != target:
            self._seal(flush)
            flush.target = target
        if batch.rows == 0:
            return Applied(rows=0)
        if flush.writer is None:
            flush.count += 1
            name = f"log-{checkpoint.sequence + 1}-{flush.count}"
            flush.writer = self._destination.writer(target, name, token)
        data = change_rows(
            target.schema,
            batch,
            extracted_at=datetime.now(UTC),
            sync_id=target.sync_id,
            generation=target.generation,
        )
        flush.rows += batch.rows
        flush.writer.write(Batch(data=data, misfits=batch.misfits))
        return Applied(rows=batch.rows)

    def commit(self, commits: Sequence[StreamCommit]) -> None:
        for flush in self._open.values():
            self._seal(flush)
        failpoint("apply.inside")
        for each in commits:
            lying = self._open.get(each.target.stream)
            staged = lying.staged if lying is not None else []
            self._destination.commit(each.target, staged, each.checkpoint, each.token)
        self._open = {}

    def rollback(self) -> None:
        opened, self._open = self._open, {}
        self._prepared.clear()
        for flush in opened.values():
            if flush.writer is not None:
                flush.writer.abort()

    def close(self) -> None:
        self.rollback()

    def _seal(self, flush: _Open) -> None:
        if flush.writer is not None:
            writer, flush.writer = flush.writer, None
            staged = writer.seal()
            if staged.rows + staged.quarantined != flush.rows:
                raise SynclineError(
                    ErrorKind.INTERNAL,
                    f"{flush.rows} changes were written but {staged.rows + staged.quarantined} laid down",
                    hint="nothing of this flush was committed; please report this",
                    where={"stream": str(flush.target.stream)},
                )
            flush.rows = 0
            flush.staged.append(staged)
