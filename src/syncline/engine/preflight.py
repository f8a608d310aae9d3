"""Before a first sync: look before any data is touched.

Streams that the destination's ledger does not know yet are checked at both ends. What concerns one stream fails that
stream only; what concerns an end as a whole fails the attempt. Later runs skip it: they have worked before.
"""

from __future__ import annotations

from collections.abc import Sequence

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.events import Log
from syncline.engine.log_stream import has_log
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import target_for
from syncline.sdk.destination import Destination
from syncline.sdk.findings import Finding, Severity, ensure_no_errors
from syncline.sdk.source import Source

__all__ = ["look_first"]


def look_first(
    spec: AttemptSpec, selection: Sequence[SelectedStream], source: Source, destination: Destination, emit: EventSink
) -> dict[str, SynclineError]:
    """Errors by name of the streams that must not start; warnings become log lines. Raises what concerns all."""
    new = [s for s in selection if destination.committed(spec.connection, s.name) is None]
    if not new:
        return {}
    names = {str(s.name) for s in new}
    logged = has_log(source)
    targets = [
        target_for(spec, s, write=WriteMode.REPLACE, generation=1, sync_id=spec.sync_id, logged=logged)
        for s in selection  # all of them: two streams may want one table
    ]
    findings = [*source.check(new), *destination.check(targets)]
    for finding in findings:
        if finding.severity is Severity.WARNING:
            told = finding.stream is not None and finding.stream in finding.message
            emit(Log(level="WARN", stream=None if told else finding.stream, message=_words(finding)))
    # What stands in the way of a stream that has run before is its own matter: it will say so, and the others go on.
    known = {str(s.name) for s in selection}
    ensure_no_errors(f for f in findings if f.stream not in known)
    errors: dict[str, SynclineError] = {}
    for f in findings:
        if f.severity is Severity.ERROR and f.stream in names:
            kind = f.kind or ErrorKind.CONFIG
            errors.setdefault(str(f.stream), SynclineError(kind, f.message, hint=f.hint, where={"stream": f.stream}))
    return errors


def _words(finding: Finding) -> str:
    return f"{finding.message} -> {finding.hint}" if finding.hint else finding.message
