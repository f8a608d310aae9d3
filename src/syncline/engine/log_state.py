"""What the rooms of a log's run share: which streams flow, which catch up, and what the ledger says of all."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.engine.flush_shelf import FlushShelf
from syncline.engine.log_ledger import LogLedger
from syncline.engine.log_stream import LogStream
from syncline.engine.ports import EventSink
from syncline.sdk.change_log import ChangeLog, ChangeReader
from syncline.sdk.destination import Destination

__all__ = ["LogReaders", "LogState", "may_pass"]


@dataclass(kw_only=True)
class LogState:
    """Belongs to the log's thread once that runs; the conductor only adds to ``joining`` and ``absent``, counts
    ``copying`` down and sets ``ending``.

    ``absent``: selected streams that have not joined, and what they need of the log. ``copying``: streams whose copy is
    not yet at the destination. ``until``: nothing at or past this LSN is applied. ``ending``: the run goes to a known
    end, so that nothing is waited for. ``destination`` is the one that the log's thread has open, ``shelf`` where its
    gates lay what they hold back. ``linger``: the destination's shortest sensible time between two commits."""

    log: ChangeLog
    emit: EventSink
    abort: threading.Event
    ledger: LogLedger
    until: int | None
    destination: Destination | None = None
    shelf: FlushShelf | None = None
    began_at: int = 0
    linger: float = 0.0
    ending: bool = False
    copying: int = 0
    absent: dict[StreamName, int] = field(default_factory=dict)
    joining: queue.SimpleQueue[LogStream] = field(default_factory=queue.SimpleQueue)
    flowing: dict[StreamName, LogStream] = field(default_factory=dict)
    catching: dict[StreamName, LogStream] = field(default_factory=dict)
    stopped: dict[StreamName, LogStream] = field(default_factory=dict)

    @property
    def joined(self) -> dict[StreamName, LogStream]:
        """Every stream that was handed over, however it fared."""
        return {**self.flowing, **self.catching, **self.stopped}


class LogReaders:
    """The one reader of all streams that flow (``main``, None while none does), and one of each that catches up, opened
    when it is first asked for."""

    def __init__(self, state: LogState) -> None:
        self._state = state
        self._own: dict[StreamName, ChangeReader] = {}
        self.main: ChangeReader | None = None

    def of(self, stream: LogStream) -> ChangeReader:
        name = stream.selected.name
        if name not in self._own:
            self._own[name] = self._state.log.reader({name: (stream.read_as, stream.position)}, stream.position.lsn)
        return self._own[name]

    def join(self, stream: LogStream) -> None:
        """A stream that caught up is read with the others from now on."""
        self._own.pop(stream.selected.name).close()
        if self.main is None:
            self._open_main()
        else:
            self.main.add(stream.read_as, stream.position)

    def reopen(self) -> None:
        """From the last committed positions: at the start, and after a flush that came to nothing."""
        self.close()
        for stream in (*self._state.flowing.values(), *self._state.catching.values()):
            stream.undo()
        if self._state.flowing:
            self._open_main()

    def close(self) -> None:
        if self.main is not None:
            self.main.close()
            self.main = None
        own, self._own = self._own, {}
        for reader in own.values():
            reader.close()

    def _open_main(self) -> None:
        flowing, lsn = self._state.flowing, self._state.ledger.lsn
        positions = {name: (s.read_as, s.position) for name, s in flowing.items()}
        lowest = min(s.position.lsn for s in flowing.values())
        self.main = self._state.log.reader(positions, lowest if lsn is None else lsn)


def may_pass(error: SynclineError) -> bool:
    """Whether the log may go on from the last commit. A conflict is another attempt's token: this one must end."""
    return error.policy.retry and error.kind is not ErrorKind.CONFLICT
