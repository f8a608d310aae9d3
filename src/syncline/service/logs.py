"""Use cases: read the logs of a job's attempts, at once or as they are written.

Logs lie in the folders of attempts on the machine that ran them; another server on the same store does not have them,
and says so in a line.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.attempt_folder import AttemptFolder
from syncline.jobs.bell import BELL
from syncline.jobs.journal import JournalTail
from syncline.jobs.log_lines import LEVELS, LogLine
from syncline.jobs.supervisor import attempt_path
from syncline.service import jobs
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.store.job_values import Attempt, JobView

__all__ = ["LogLine", "follow", "lines", "of_view"]

#: A stream without a line is silent no longer than this.
_KEEP_ALIVE_SECONDS = 10.0
_POLL_SECONDS = 0.3


def lines(
    control: Control,
    caller: Caller,
    job_id: int,
    *,
    attempt: int | None = None,
    level: str | None = None,
    stream: str | None = None,
    tail: int | None = None,
) -> list[LogLine]:
    """The lines of all attempts, or of one, oldest first: those of ``level`` and above, of one stream (as
    ``schema.table`` or ``table``), the newest ``tail`` of them."""
    wanted = _levels(level)
    return of_view(control, jobs.get(control, caller, job_id), wanted, attempt=attempt, stream=stream, tail=tail)


def of_view(
    control: Control,
    view: JobView,
    levels: Sequence[str] = LEVELS,
    *,
    attempt: int | None = None,
    stream: str | None = None,
    tail: int | None = None,
) -> list[LogLine]:
    """The same of a job that the caller has already got."""
    found: deque[LogLine] = deque(maxlen=tail)
    for each in view.attempts:
        if attempt is not None and each.number != attempt:
            continue
        for line in _read(control, view, each):
            if line.level in levels and (stream is None or _is_of(line, stream)):
                found.append(line)
    return list(found)


def follow(
    control: Control, caller: Caller, job_id: int, *, after: str | None = None
) -> Iterator[tuple[str, LogLine] | None]:
    """Lines as they come, from the first or from behind the one whose cursor is ``after``; each with its cursor. None
    about every ten seconds when there is nothing. Ends when the job has ended and all is told. Blocks between items."""
    number, offset = _cursor(after)
    told_at = time.monotonic()
    while True:
        heard = BELL.count
        view = jobs.get(control, caller, job_id)
        for attempt in view.attempts:
            if attempt.number < number or attempt.id == 0:
                continue
            if attempt.number > number:
                number, offset = attempt.number, 0
            tail = JournalTail(_folder(control, view, attempt).log, offset, required="message")
            while batch := tail.read():
                # A line's cursor is where the next one begins.
                ends = [start for start, _ in batch[1:]] + [tail.offset]
                for (_, data), offset in zip(batch, ends, strict=True):
                    yield f"{number}-{offset}", LogLine.from_json(data)
                told_at = time.monotonic()
        if not view.job.status.active:
            return
        if time.monotonic() - told_at >= _KEEP_ALIVE_SECONDS:
            told_at = time.monotonic()
            yield None
        BELL.wait(heard, _POLL_SECONDS)


def _read(control: Control, view: JobView, attempt: Attempt) -> Iterator[LogLine]:
    if attempt.id == 0:
        return
    path = _folder(control, view, attempt).log
    try:
        with path.open("rb") as file:
            for raw in file:
                if raw.endswith(b"\n"):
                    yield LogLine.from_json(json.loads(raw))
    except FileNotFoundError:
        if not view.job.status.active:
            yield LogLine(
                at=attempt.created_at.isoformat(timespec="milliseconds"),
                level="WARN",
                job=view.job.id,
                attempt=attempt.number,
                message=f"this attempt's log is not here: deleted by age or size, or it lies with {attempt.host}",
            )
    if attempt.error is not None and attempt.ended_at is not None:
        error = attempt.error
        yield LogLine(
            at=attempt.ended_at.isoformat(timespec="milliseconds"),
            level="ERROR",
            job=view.job.id,
            attempt=attempt.number,
            stream=error.where.get("stream"),
            kind=error.kind.value,
            message=f"attempt {attempt.number} {attempt.status.value}: {error.message}"
            + (f" -> {error.hint}" if error.hint else ""),
        )


def _folder(control: Control, view: JobView, attempt: Attempt) -> AttemptFolder:
    home: Path = control.settings.home
    return AttemptFolder(attempt_path(home, view.job, attempt.number))


def _levels(level: str | None) -> tuple[str, ...]:
    if level is None:
        return LEVELS
    if level.upper() not in LEVELS:
        raise SynclineError(ErrorKind.CONFIG, f"there is no level {level!r}", hint=f"known: {', '.join(LEVELS)}")
    return LEVELS[LEVELS.index(level.upper()) :]


def _is_of(line: LogLine, stream: str) -> bool:
    return line.stream is not None and (line.stream == stream or line.stream.rpartition(".")[2] == stream)


def _cursor(after: str | None) -> tuple[int, int]:
    """``attempt-offset``; anything else begins at the beginning."""
    number, dash, offset = (after or "").partition("-")
    if dash and number.isdecimal() and offset.isdecimal() and len(offset) < 19 and len(number) < 10:
        return int(number), int(offset)
    return 0, 0
