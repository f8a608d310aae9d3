"""Use case: compare both ends of a connection's streams by content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream
from syncline.engine.log_stream import has_log
from syncline.sdk.connector import connector
from syncline.sdk.reference import validated
from syncline.service.moment import common_moment
from syncline.service.opened import Opened, opened
from syncline.service.project import Connection
from syncline.service.selection import named_streams
from syncline.settings import Settings
from syncline.verify import VerifyReport, verify_stream
from syncline.verify.moment import FixedMoment, fixes_moments
from syncline.verify.side import Progress

__all__ = ["StreamVerdict", "verify_connection"]


@dataclass(frozen=True, kw_only=True)
class StreamVerdict:
    """The report of one stream, or the error that kept it from being made."""

    connection: str
    stream: str
    report: VerifyReport | None = None
    error: SynclineError | None = None

    @property
    def equal(self) -> bool:
        return self.report is not None and self.report.equal

    def to_json(self) -> dict[str, Any]:
        return {
            "connection": self.connection,
            "stream": self.stream,
            "equal": self.equal,
            "report": self.report.to_json() if self.report else None,
            "error": self.error.to_json() if self.error else None,
        }


def verify_connection(
    connection: Connection, settings: Settings, streams: list[str] | None = None, progress: Progress | None = None
) -> Iterator[StreamVerdict]:
    """Compare the named streams (all when None), one after the other. Changes nothing at either end, except that
    streams which a log continues are first brought to one moment of their source, and held there while that lasts.

    Raises when an end cannot be opened or a name is unknown; what concerns one stream is in its verdict."""
    with ExitStack() as stack:
        ends = stack.enter_context(opened(connection, settings))
        chosen = named_streams(ends.select(), streams)
        config = validated(connector("source", connection.source.type), connection.source, "source")
        held = has_log(ends.source) and fixes_moments(config)
        logged = [s for s in chosen if s.sync_mode.incremental] if held else []
        moment = stack.enter_context(common_moment(connection, settings)) if logged else None
        for selected in chosen:
            try:
                report = _verify_one(connection, ends, selected, progress, moment if selected in logged else None)
            except SynclineError as error:
                yield StreamVerdict(
                    connection=connection.label, stream=str(selected.name), error=error.at(stream=str(selected.name))
                )
            else:
                yield StreamVerdict(connection=connection.label, stream=str(selected.name), report=report)


def _verify_one(
    connection: Connection,
    ends: Opened,
    selected: SelectedStream,
    progress: Progress | None,
    moment: FixedMoment | None,
) -> VerifyReport:
    entry = ends.destination.committed(connection.name, selected.name)
    checkpoint = entry.checkpoint if entry else None
    return verify_stream(
        validated(connector("source", connection.source.type), connection.source, "source"),
        connection.destination.type,
        validated(connector("destination", connection.destination.type), connection.destination, "destination"),
        selected,
        ends.target(selected, generation=checkpoint.generation if checkpoint else 0),
        checkpoint,
        work_dir=Path(ends.spec.work_dir),
        progress=progress,
        moment=moment,
    )
