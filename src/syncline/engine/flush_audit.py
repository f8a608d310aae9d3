"""Write, audit, publish for the changes of a log: rules about a stream as a whole, judged before a flush is committed.

What they judge is the stream's table as the flush would leave it, asked within the flush's own transaction (or over its
files), where nobody else sees it. The changes are not enough: a value that one of them brings may be there already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from syncline.core.errors import SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import WriteMode
from syncline.engine.audit import Audit, Verdict, verdict_error
from syncline.quality.gate import Gate, When
from syncline.quality.judge import Facts, judge
from syncline.quality.record import judged
from syncline.quality.rules import RULES, gate_error
from syncline.sdk.change_log import ChangeSession, ReadsFlush
from syncline.sdk.collapse import DELETED_AT
from syncline.sdk.destination import Destination

if TYPE_CHECKING:
    from syncline.engine.log_stream import LogStream

__all__ = ["FlushAudit", "ensure_decidable"]

_HINT = "let it judge whole copies alone (when: copies)"


def ensure_decidable(gates: Sequence[Gate], destination: Destination, write: WriteMode) -> None:
    """Raise ``config`` for the first rule that cannot be judged on what a log brings: before any data is touched.
    ``write`` is how the log's changes are written."""
    for gate in _about_the_whole(gates):
        why, hint = _undecidable(gate, destination, write)
        if why:
            raise gate_error(f"{gate.name}: {gate.rule} cannot judge the changes of a log: {why}", hint=hint)


def _undecidable(gate: Gate, destination: Destination, write: WriteMode) -> tuple[str, str]:
    if gate.rule == "has_columns":
        return "", ""
    if gate.rule == "freshness":
        return "no change makes a table stale, only time does", f"{_HINT}; the alert `lag` watches the log itself"
    if gate.rule == "expectation":
        return (
            "the library would hold the whole table in memory each time",
            f"write it as sql, or {_HINT}",
        )
    if "change" in gate.options and gate.rule == "row_count":
        return "there is no earlier run to compare one with", f"give min and max, or {_HINT}"
    if write is WriteMode.APPEND:
        return "where changes are appended, the table holds every version of a row", f"{_HINT}, or use a deduped mode"
    if not isinstance(destination, ReadsFlush):
        return "this destination cannot be asked for a table that is not committed yet", _HINT
    return "", ""


def _about_the_whole(gates: Sequence[Gate]) -> list[Gate]:
    return [g for g in gates if not RULES[g.rule].per_row and g.when is When.ALWAYS]


class FlushAudit:
    """Of one stream, used by the log's thread."""

    def __init__(self, audit: Audit) -> None:
        self.gates = _about_the_whole(audit.gates)
        self._audit = audit
        self._asks = any(g.rule != "has_columns" for g in self.gates)

    def judge(self, destination: Destination, session: ChangeSession, stream: LogStream) -> Verdict:
        """What the gates say of the table with the open flush. Nothing of it becomes visible by being asked."""
        # What the source has now; a column that it dropped stays in the table.
        fields = tuple(f for f in stream.columns.fields if not stream.shown or f.name in stream.shown)
        with ExitStack() as stack:
            view, relation, rows = None, "", 0
            if self._asks and isinstance(destination, ReadsFlush):
                view = stack.enter_context(destination.flushed_view(session, stream.target))
                relation = _living(view.relation, stream)
                if any(g.rule == "row_count" for g in self.gates):
                    ((rows,),) = view.rows(f"SELECT count(*) FROM {relation} s")
            facts = Facts(
                rows=rows,
                note={},
                schema=StreamSchema(fields=fields),
                history=(),
                now=datetime.now(UTC),
                view=view,
                relation=relation,
            )
            results = judge(self.gates, facts)
        error = verdict_error(results)
        if error is not None:
            error = SynclineError(error.kind, error.message, hint="the table stays as it was; mend rows or gate")
        return Verdict(results=tuple(results), error=error)

    def record(self, known: Mapping[str, Any], verdict: Verdict, *, sync_id: str) -> dict[str, Any] | None:
        """What the checkpoint remembers with this flush; None when every gate says what it said before."""
        before = {r["gate"]: r["status"] for r in known.get("results", ())}
        if all(before.get(r.gate) == r.status.value for r in verdict.results):
            return None
        return judged(known, verdict.results, sync_id=sync_id, at=datetime.now(UTC))

    def held_back(self, known: Mapping[str, Any], verdict: Verdict, *, sync_id: str) -> dict[str, Any]:
        """What the checkpoint remembers of a flush that was not committed."""
        results = judged(known, verdict.results, sync_id=sync_id, at=datetime.now(UTC))["results"]
        record = self._audit.held_back(known, verdict, sync_id=sync_id, log=True)
        return {**record, "results": results}

    def tell(self, verdict: Verdict, *, sync_id: str, rows: int) -> None:
        self._audit.tell(verdict, sync_id=sync_id, rows=rows)


def _living(relation: str, stream: LogStream) -> str:
    """Without rows that are only marked as deleted."""
    if stream.target.deletes != "soft":
        return relation
    marks = [name for name in DELETED_AT if name in stream.target.schema.names]
    return f'(SELECT * FROM {relation} r WHERE "{marks[0]}" IS NULL)' if marks else relation
