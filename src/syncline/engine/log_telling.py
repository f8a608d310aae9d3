"""What a log's run says while it goes: where it stands, what the source keeps for it, how tables changed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from syncline.engine.events import LogProgress, RetainedWal
from syncline.engine.log_stream import LogStream
from syncline.engine.ports import EventSink
from syncline.sdk.change_log import ChangeLog, LogStatus

__all__ = ["LogTeller"]

_PROGRESS_SECONDS = 1.0
_LEVELS = ("within", "half", "over")


class LogTeller:
    """Made once for an attempt, used by the log's thread."""

    def __init__(self, log: ChangeLog, emit: EventSink) -> None:
        self._log, self._emit = log, emit
        self._told = 0.0
        self._rows_told = 0
        self._level = 0
        self._applied_at: float | None = None  # Unix time of the last source transaction applied

    def applied(self, committed_at: int | None) -> None:
        """A flush stands; its last transaction was committed at the source then (microseconds, None: it had none)."""
        if committed_at is not None:
            self._applied_at = committed_at / 1e6

    def changed(self, streams: Iterable[LogStream]) -> None:
        """Tell of tables that changed in what was committed just now."""
        for stream in streams:
            told, stream.told = stream.told, []
            for event in told:
                self._emit(event)

    def tell(self, position: int | None, streams: Iterable[LogStream], catching: Sequence[str]) -> None:
        """About once a second: ``position`` is where the log of all flowing streams stands, None while none flows."""
        now = time.monotonic()
        if now - self._told < _PROGRESS_SECONDS:
            return
        self._told = now
        status = self._log.status()
        self._weigh(status)
        if position is None:
            return
        rows = sum(s.rows for s in streams)
        behind = max(0, status.end - position)
        self._emit(
            LogProgress(
                rows=rows - self._rows_told,
                position=position,
                end=status.end,
                lag_bytes=behind,
                lag_seconds=self._lag_seconds(behind),
                retained_bytes=status.retained_bytes,
                spool_bytes=status.spool_bytes,
                slot=status.state,
                catching_up=list(catching),
            )
        )
        self._rows_told = rows

    def _weigh(self, status: LogStatus) -> None:
        if status.budget is None:
            return
        size, budget = status.retained_bytes, status.budget
        level = 2 if size >= budget else 1 if size >= budget // 2 else 0
        if level != self._level:
            self._level = level
            self._emit(
                RetainedWal(
                    level=_LEVELS[level],
                    slot=status.slot,
                    bytes=size,
                    budget=budget,
                    seconds_left=status.seconds_left,
                )
            )

    def _lag_seconds(self, behind: int) -> float:
        """Age of the last commit applied, while something newer waits."""
        return 0.0 if behind == 0 or self._applied_at is None else max(0.0, time.time() - self._applied_at)
