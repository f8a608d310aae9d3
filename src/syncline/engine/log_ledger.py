"""The ledger's entry for a log as a whole: whose log it is, and up to where every flowing stream has it.

It stands under a stream name of its own, so that destinations need nothing new. Its position is ``{"lsn": G, "at": T,
"identity": {...}, "held": {stream: error}}``. Streams are committed first and this entry last (or all in one act): a
stream that flows with the others and had no changes lately is at G although its own entry says less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from syncline.core.checkpoint import LedgerEntry, StreamCheckpoint, StreamTarget
from syncline.core.errors import SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.engine.spec import AttemptSpec
from syncline.sdk.change_log import StreamCommit

__all__ = ["LOG_STREAM", "LogLedger"]

LOG_STREAM = StreamName(namespace="_syncline", name="log")


@dataclass(frozen=True, kw_only=True)
class LogLedger:
    """A value: :meth:`commit` gives the next one and what must be committed to make it true.

    ``lsn`` is G, None before the first flush; ``at`` (Unix seconds) a time up to which everything committed at the
    source is applied; ``held`` the streams that stopped, with the error each stopped with."""

    target: StreamTarget
    token: int
    checkpoint: StreamCheckpoint
    identity: Mapping[str, Any] | None = None
    lsn: int | None = None
    at: float | None = None
    held: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: AttemptSpec, entry: LedgerEntry | None) -> LogLedger:
        """What the ledger says (nothing yet when ``entry`` is None)."""
        target = StreamTarget(
            connection=spec.connection,
            stream=LOG_STREAM,
            schema=StreamSchema(fields=()),
            write=WriteMode.APPEND,
            generation=0,
            sync_id=spec.sync_id,
            sync_date=spec.sync_date,
        )
        if entry is None:
            return cls(target=target, token=0, checkpoint=StreamCheckpoint())
        position = entry.checkpoint.position or {}
        return cls(
            target=target,
            token=entry.token,
            checkpoint=entry.checkpoint,
            identity=position.get("identity"),
            lsn=position.get("lsn"),
            at=position.get("at"),
            held=position.get("held", {}),
        )

    def error_of(self, stream: StreamName) -> SynclineError | None:
        """Why the stream was held, None when it was not."""
        found = self.held.get(str(stream))
        return None if found is None else SynclineError.from_json(dict(found))

    def commit(
        self,
        *,
        lsn: int | None,
        identity: Mapping[str, Any],
        at: float | None = None,
        hold: Mapping[StreamName, SynclineError] | None = None,
        release: StreamName | None = None,
    ) -> tuple[LogLedger, StreamCommit]:
        """The entry after this one. ``hold`` adds stopped streams, ``release`` forgets one that is copied anew."""
        held = {name: error for name, error in self.held.items() if release is None or name != str(release)}
        held.update({str(name): error.to_json() for name, error in (hold or {}).items()})
        position = {"lsn": lsn, "at": at or self.at, "identity": dict(identity), "held": held}
        checkpoint = self.checkpoint.next(position=position)
        following = replace(self, checkpoint=checkpoint, lsn=lsn, at=at or self.at, identity=identity, held=held)
        return following, StreamCommit(target=self.target, checkpoint=checkpoint, token=self.token)
