"""The ledger's entry for what all streams of a fed source share: one state of all of them together."""

from __future__ import annotations

from typing import Any

from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.engine.spec import AttemptSpec
from syncline.sdk.destination import Destination
from syncline.sdk.feed import FedState

__all__ = ["FEED_STREAM", "SharedState"]

#: It stands under a stream name of its own, so that destinations need nothing new.
FEED_STREAM = StreamName(namespace="_syncline", name="feed")


class SharedState:
    """Its position in the ledger is ``{"feed": STATE}``, with ``"moving": true`` while the streams' own parts of the
    next one are being committed one after the other. Fenced at the first common state: most sources have none."""

    def __init__(self, spec: AttemptSpec, destination: Destination) -> None:
        self._spec, self._destination = spec, destination
        self._target = StreamTarget(
            connection=spec.connection,
            stream=FEED_STREAM,
            schema=StreamSchema(fields=()),
            write=WriteMode.APPEND,
            generation=0,
            sync_id=spec.sync_id,
            sync_date=spec.sync_date,
        )
        self._token: int | None = None
        self._checkpoint = StreamCheckpoint()
        self._next: Any = None
        self.marked = False  #: a common state came that is not committed
        self.position: Any | None = None  #: the committed one, None when there is none
        self.half_moved = False  #: an earlier run ended while it was moving
        self._said = self._counted = 0

    def open(self) -> None:
        entry = self._destination.committed(self._spec.connection, FEED_STREAM)
        if entry is not None and entry.checkpoint.position is not None:
            self.position = entry.checkpoint.position["feed"]
            self.half_moved = bool(entry.checkpoint.position.get("moving"))
            self._fence()

    def arrived(self, rows: int) -> None:
        """Rows of any stream came."""
        self._counted += rows

    def mark(self, state: FedState) -> None:
        """A common state came. Raises ``data`` when the source has given more records than arrived here."""
        if state.records is not None:
            self._said += state.records
            if self._said > self._counted:
                raise SynclineError(
                    ErrorKind.DATA,
                    f"the source says that it gave {self._said} records; {self._counted} arrived",
                    hint="nothing after the last state is committed; run again, or tell the connector's author",
                )
        self._next, self.marked = state.position, True

    def begin_move(self) -> None:
        """Said before the first of several streams that append is committed, so that a crash in between is known."""
        self._advance({"feed": self.position, "moving": True})

    def commit(self) -> None:
        """Every stream's own part is committed: the common one follows."""
        self._advance({"feed": self._next})
        self.position, self.marked = self._next, False

    def _advance(self, position: dict[str, Any]) -> None:
        if self._token is None:
            self._fence()
        if position == self._checkpoint.position:
            return
        assert self._token is not None
        following = self._checkpoint.next(position=position)
        self._destination.commit(self._target, [], following, self._token)
        self._checkpoint = following

    def _fence(self) -> None:
        entry = self._destination.fence(self._spec.connection, FEED_STREAM)
        self._token, self._checkpoint = entry.token, entry.checkpoint
