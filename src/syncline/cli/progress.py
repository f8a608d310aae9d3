"""Progress of a sync: bars on a terminal, plain lines off it, nothing when asked to be quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from syncline.cli.output import human_bytes, human_seconds
from syncline.engine.events import (
    Event,
    Log,
    LogProgress,
    Progress,
    RetainedWal,
    SchemaChanged,
    StreamFinished,
    StreamPlanned,
)
from syncline.engine.ports import EventSink

__all__ = ["make_progress", "plain_progress"]

#: Key of the log's own line among the streams' bars.
_LOG = "\0log"


@contextmanager
def make_progress(connection: str, *, quiet: bool, debug: bool, follow: bool = False) -> Iterator[EventSink]:
    """Gives the sink for a run's events; what it draws is gone or complete when the block ends. ``follow``: the run
    goes on without a stream that fails, so that why it failed is said at once."""
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        with _bars(connection, debug, follow) as sink:
            yield sink
    else:
        yield _Lines(connection, debug, follow)


def plain_progress(connection: str, *, quiet: bool, debug: bool, follow: bool = False) -> EventSink:
    """Lines, also on a terminal: for runs beside each other."""
    return (lambda event: None) if quiet else _Lines(connection, debug, follow)


def _finished_line(event: StreamFinished, follow: bool) -> str:
    if event.status == "failed":
        why = f": {event.error['message']}" if event.error and follow else ""
        return f"{event.stream}: failed after {human_seconds(event.seconds)}{why}"
    text = (
        f"{event.stream}: {event.rows_written:,} rows, {human_bytes(event.bytes_read)}, {human_seconds(event.seconds)}"
    )
    return text + (f", {event.rows_quarantined:,} quarantined" if event.rows_quarantined else "")


def _planned_line(event: StreamPlanned) -> str:
    how = "goes on" if event.resumed else event.write
    rows = f", about {event.estimated_rows:,} rows" if event.estimated_rows > 0 else ""
    note = f" ({event.note})" if event.note else ""
    return (
        f"{event.stream}: {how}, {event.partitions - event.done} of {event.partitions} partitions to read{rows}{note}"
    )


def _lag_line(event: LogProgress) -> str:
    behind = f", {human_bytes(event.lag_bytes)} behind" if event.lag_bytes else ""
    spool = f", {human_bytes(event.spool_bytes)} in the spool" if event.spool_bytes > 1 << 20 else ""
    catching = f"; catching up: {', '.join(event.catching_up)}" if event.catching_up else ""
    return (
        f"lag {event.lag_seconds:.1f} s{behind}; {event.rows:,} changes/s; "
        f"the source keeps {human_bytes(event.retained_bytes)} for us{spool}{catching}"
    )


def _is_told(event: Log, debug: bool) -> bool:
    """Errors are not: the command says them once, at its end, with the next step."""
    return event.level in ("INFO", "WARN") or (event.level == "DEBUG" and debug)


class _Lines:
    """Off a terminal: a line when a stream is planned, every ten seconds while it runs, and when it ends."""

    EVERY_SECONDS = 10.0

    def __init__(self, connection: str, debug: bool, follow: bool) -> None:
        self._connection, self._debug, self._follow = connection, debug, follow
        self._rows: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._last = self._lag_told = time.monotonic()
        self._changes = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StreamPlanned):
            self._say("INFO", _planned_line(event))
        elif isinstance(event, Progress):
            self._rows[event.stream] = self._rows.get(event.stream, 0) + event.rows
            self._bytes[event.stream] = self._bytes.get(event.stream, 0) + event.bytes
            if time.monotonic() - self._last >= self.EVERY_SECONDS:
                self._last = time.monotonic()
                for stream, rows in self._rows.items():
                    self._say("INFO", f"{stream}: {rows:,} rows, {human_bytes(self._bytes[stream])} so far")
        elif isinstance(event, LogProgress):
            self._changes += event.rows
            if (passed := time.monotonic() - self._lag_told) >= self.EVERY_SECONDS:
                self._lag_told = time.monotonic()
                self._say("INFO", _lag_line(replace(event, rows=round(self._changes / passed))))
                self._changes = 0
        elif isinstance(event, StreamFinished):
            self._rows.pop(event.stream, None)
            self._say("ERROR" if event.status == "failed" else "INFO", _finished_line(event, self._follow))
        elif isinstance(event, SchemaChanged):
            self._say("WARN" if event.change == "called" else "INFO", f"{event.stream}: {event.text}")
        elif isinstance(event, RetainedWal):
            self._say("INFO" if event.level == "within" else "WARN", event.text)
        elif isinstance(event, Log) and _is_told(event, self._debug):
            self._say(event.level, f"{event.stream}: {event.message}" if event.stream else event.message)

    def _say(self, level: str, text: str) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(f"{at} {level} {self._connection}: {text}", file=sys.stderr, flush=True)


@contextmanager
def _bars(connection: str, debug: bool, follow: bool) -> Iterator[EventSink]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    ids: dict[str, TaskID] = {}
    sums: dict[str, list[float]] = {}

    def sink(event: Event) -> None:
        if isinstance(event, StreamPlanned):
            total = event.estimated_rows if event.estimated_rows > 0 else None
            ids[event.stream] = bars.add_task(escape(event.stream), total=total, counts="")
            sums[event.stream] = [0, 0, time.monotonic()]
            if event.note:
                console.print(f"[dim]{escape(event.stream)}: {escape(event.note)}[/dim]")
        elif isinstance(event, Progress) and event.stream in ids:
            known = sums[event.stream]
            known[0] += event.rows
            known[1] += event.bytes
            rate = known[1] / max(0.1, time.monotonic() - known[2])
            task = next(t for t in bars.tasks if t.id == ids[event.stream])
            eta = ""
            if task.total and known[0]:
                left = (task.total - known[0]) * (time.monotonic() - known[2]) / known[0]
                eta = f" ETA {human_seconds(left)}" if left > 1 else ""
            counts = f"{int(known[0]):,} rows {human_bytes(known[1])} {human_bytes(rate)}/s{eta}"
            bars.update(ids[event.stream], completed=known[0], counts=counts)
        elif isinstance(event, LogProgress):
            if _LOG not in ids:
                ids[_LOG] = bars.add_task("changes", total=None, counts="")
            bars.update(ids[_LOG], counts=_lag_line(event))
        elif isinstance(event, StreamFinished):
            if event.stream in ids:
                bars.remove_task(ids.pop(event.stream))
            mark = "[red]x[/red]" if event.status == "failed" else "[green]ok[/green]"
            console.print(f"{mark} {escape(_finished_line(event, follow))}", highlight=False)
        elif isinstance(event, SchemaChanged):
            console.print(escape(f"{event.stream}: {event.text}"), highlight=False)
        elif isinstance(event, RetainedWal):
            console.print(escape(event.text), style="yellow", highlight=False)
        elif isinstance(event, Log) and event.level != "INFO" and _is_told(event, debug):
            console.print(escape(f"{event.level} {event.message}"), style="yellow", highlight=False)

    with bars:
        yield sink
