"""Use case: can this connection sync? Looks at both ends and changes neither."""

from __future__ import annotations

from dataclasses import dataclass

from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.audit import Audit
from syncline.engine.flush_audit import ensure_decidable
from syncline.engine.log_stream import has_log
from syncline.sdk.findings import Finding, Severity
from syncline.service.opened import Opened, opened
from syncline.service.project import Connection
from syncline.settings import Settings

__all__ = ["CheckReport", "check_connection"]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Findings of both ends in the order they were looked at."""

    connection: str
    source: tuple[Finding, ...]
    destination: tuple[Finding, ...]
    error: SynclineError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None and all(f.severity is not Severity.ERROR for f in (*self.source, *self.destination))


def _ensure_gates(ends: Opened, selected: SelectedStream) -> None:
    audit = Audit(selected, ends.destination, lambda _: None)
    audit.ensure_possible(ends.target(selected).schema)
    if selected.sync_mode.incremental and has_log(ends.source):
        write = WriteMode.MERGE if selected.sync_mode.deduped else WriteMode.APPEND
        ensure_decidable(audit.gates, ends.destination, write)


def check_connection(connection: Connection, settings: Settings) -> CheckReport:
    """Check source, selection and destination. What stops the look altogether is the report's ``error``."""
    source: tuple[Finding, ...] = ()
    destination: tuple[Finding, ...] = ()
    try:
        with opened(connection, settings) as ends:
            source = tuple(ends.source.check())
            destination = tuple(ends.destination.check())
            if all(f.severity is not Severity.ERROR for f in source):
                selection = ends.select()
                for selected in selection:
                    _ensure_gates(ends, selected)
                source = tuple(ends.source.check(selection))
                destination = tuple(ends.destination.check([ends.target(s) for s in selection]))
    except SynclineError as error:
        return CheckReport(connection=connection.label, source=source, destination=destination, error=error)
    return CheckReport(connection=connection.label, source=source, destination=destination)
