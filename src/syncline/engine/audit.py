"""Write, audit, publish: the moment between the last seal and the publication at which quality gates are judged.

Row rules are counted by screens as the rows go by (in the tasks); here their counts are summed up, the staged rows are
asked what only they can answer, and the verdict decides: publish, or hold back. What is held back stays where it lies,
invisible, and can be looked at, judged again and published without reading the source again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from syncline.core.checkpoint import Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.schema import StreamSchema
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.events import Log, QualityJudged
from syncline.engine.ports import EventSink
from syncline.quality.gate import Gate, GateResult, Severity, Status, fingerprint
from syncline.quality.judge import Facts, judge
from syncline.quality.library import ensure_library
from syncline.quality.limits import Limits
from syncline.quality.record import begun, held_back, published, with_stages
from syncline.quality.rules import RULES, gate_error
from syncline.quality.screen import OPTION, Screen, screened
from syncline.sdk.destination import Destination, ReadsStage

__all__ = ["Audit", "Verdict", "verdict_error"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``error`` is set when nothing may be published; ``place`` is where people find the rows."""

    results: tuple[GateResult, ...]
    error: SynclineError | None = None
    place: str = ""


class Audit:
    """The gates of one stream during one attempt. Used by the coordinator's thread."""

    def __init__(self, selected: SelectedStream, destination: Destination, emit: EventSink) -> None:
        self.gates = [Gate.from_json(g) for g in selected.options.get("gates", ())]
        self.fingerprint = fingerprint(self.gates) if self.gates else ""
        #: an increment must wait for the verdict, so it is committed in one act
        self.holds = any(g.severity is Severity.BLOCK for g in self.gates)
        self._limits = Limits.from_json(selected.options.get("quarantine"))
        self._name, self._destination, self._emit = str(selected.name), destination, emit

    @property
    def options(self) -> dict[str, Any]:
        """What a target carries to where its rows go by; such rows cannot travel undecoded."""
        gates = screened(self.gates)
        screening = {OPTION: [g.to_json() for g in gates], "raw": False} if gates else {}
        # What any gate holds back is to be looked at, so that it must be readable though it is not visible.
        return {**screening, "readable_stage": True} if self.gates else {}

    def ensure_possible(self, schema: StreamSchema) -> None:
        """Raise ``config`` for gates that this stream, or this destination, cannot have. Before any data is touched."""
        for gate in self.gates:
            if gate.rule != "has_columns":
                for column in gate.columns:
                    if column not in schema.names:
                        near = nearest(column, list(schema.names))
                        hint = f"did you mean {near!r}?" if near else f"it has: {', '.join(schema.names)}"
                        raise gate_error(f"{gate.name}: the stream has no column {column!r}", hint=hint)
            if gate.rule == "expectation":
                ensure_library(gate)
            if RULES[gate.rule].reads_stage and (reason := self._unreadable()):
                raise gate_error(
                    f"{gate.name}: {gate.rule} asks the staged rows, and {reason}",
                    hint="use a rule about rows or row_count here; databases, tables and Parquet files can be asked",
                )
        Screen(self.gates, schema)

    def _unreadable(self) -> str:
        if isinstance(self._destination, ReadsStage):
            return self._destination.unreadable_stage(self.options)
        return "this destination cannot read them before they are published"

    def begun(self, known: Mapping[str, Any]) -> dict[str, Any]:
        return begun(known, self.fingerprint)

    def with_stages(self, known: Mapping[str, Any], staged: Sequence[Staged]) -> dict[str, Any]:
        return with_stages(known, staged)

    def too_many(self, rows: int, aside: int) -> bool:
        """Whether so many rows were set aside that nothing more should become visible for now."""
        return self._limits.broken(rows + aside, aside)

    def say_unjudged(self) -> None:
        """Stretches of a feed, which must become visible as they come, pass by the rules about a stream as a whole:
        never in silence."""
        names = [g.name for g in self.gates if not RULES[g.rule].per_row]
        if names:
            message = f"these gates judge whole copies; what flows after them passes by: {', '.join(names)}"
            self._emit(Log(level="WARN", stream=self._name, message=message))

    def verdict(
        self,
        target: StreamTarget,
        checkpoint: StreamCheckpoint,
        held: Sequence[Staged],
        token: int,
        *,
        gates: Sequence[Gate] | None = None,
        note: Mapping[str, Any] | None = None,
    ) -> Verdict:
        """Judge what is about to be published: everything committed of a generation, or the ``held`` stages of an
        increment. ``gates`` and ``note`` are given where only some are judged, or rows were counted anew."""
        gates = self.gates if gates is None else gates
        quality = with_stages(checkpoint.quality, held)
        rows = checkpoint.rows + sum(s.rows for s in held)
        aside = int(quality.get("aside", 0))
        with ExitStack() as stack:
            view = None
            if any(RULES[g.rule].reads_stage for g in gates) and isinstance(self._destination, ReadsStage):
                view = stack.enter_context(self._destination.staged_view(target, held, token))
            facts = Facts(
                rows=rows,
                note=quality.get("note", {}) if note is None else note,
                schema=target.schema,
                history=quality.get("history", ()),
                now=_now(),
                view=view,
                relation="" if view is None else _last_of_each(view.relation, target),
            )
            results = judge(gates, facts)
        error = self._limits.error(rows + aside, aside) or verdict_error(results)
        place = "" if error is None else self._place(target, held, token)
        return Verdict(results=tuple(results), error=error, place=place)

    def _place(self, target: StreamTarget, held: Sequence[Staged], token: int) -> str:
        if not isinstance(self._destination, ReadsStage) or self._destination.unreadable_stage(target.options):
            return ""
        with self._destination.staged_view(target, held, token) as view:
            return view.place

    def verdict_of_nothing(self, checkpoint: StreamCheckpoint) -> Verdict:
        """For an increment that brings no rows: rules about rows have nothing to say, counts have."""
        gates = [g for g in self.gates if g.rule == "row_count" or g.empty == "fail"]
        facts = Facts(
            rows=0, note={}, schema=StreamSchema(fields=()), history=checkpoint.quality.get("history", ()), now=_now()
        )
        results = judge([g for g in gates if not RULES[g.rule].reads_stage and g.rule != "has_columns"], facts)
        blocking = [r for r in results if r.blocks]
        if not blocking:
            return Verdict(results=tuple(results))
        reason = "; ".join(str(r) for r in blocking)
        error = SynclineError(
            ErrorKind.DATA, f"nothing new came: {reason}", hint="look at the source, or mend the gates"
        )
        return Verdict(results=tuple(results), error=error)

    def verdict_of_rows(self, checkpoint: StreamCheckpoint, staged: Sequence[Staged]) -> Verdict:
        """For rows that must become visible before the stream is read to its end: what was counted, and no more."""
        quality = with_stages(checkpoint.quality, staged)
        rows = checkpoint.rows + sum(s.rows for s in staged)
        gates = [g for g in self.gates if RULES[g.rule].per_row]
        facts = Facts(rows=rows, note=quality.get("note", {}), schema=StreamSchema(fields=()), history=(), now=_now())
        results = judge(gates, facts)
        aside = int(quality.get("aside", 0))
        return Verdict(results=tuple(results), error=self._limits.error(rows + aside, aside) or verdict_error(results))

    def passed(self, known: Mapping[str, Any], verdict: Verdict, *, rows: int, sync_id: str) -> dict[str, Any]:
        """The record to commit together with the publication."""
        gated = bool(self.gates)
        return published(known, verdict.results, rows=rows, sync_id=sync_id, at=_now(), gated=gated)

    def held_back(self, known: Mapping[str, Any], verdict: Verdict, *, sync_id: str, **more: Any) -> dict[str, Any]:
        """The record that says why nothing was published."""
        assert verdict.error is not None
        record = held_back(
            known, verdict.results, place=verdict.place, sync_id=sync_id, at=_now(), reason=verdict.error.message
        )
        record["blocked"] = {**record["blocked"], **more}
        return record

    def tell(self, verdict: Verdict, *, sync_id: str, rows: int) -> None:
        """Say the verdict, once it stands in the ledger."""
        for result in verdict.results:
            if result.status in (Status.WARNED, Status.QUARANTINED, Status.BLOCKED):
                self._emit(Log(level="WARN", stream=self._name, message=f"gate {result}"))
            elif result.status is Status.EMPTY:
                message = f"gate {result.gate} had nothing to judge"
                self._emit(Log(level="INFO", stream=self._name, message=message))
        if verdict.results or verdict.error is not None:
            self._emit(
                QualityJudged(
                    stream=self._name,
                    sync_id=sync_id,
                    rows=rows,
                    published=verdict.error is None,
                    place=verdict.place,
                    results=[r.to_json() for r in verdict.results],
                )
            )


def verdict_error(results: Sequence[GateResult]) -> SynclineError | None:
    """What stands in the way of a publication; None when nothing does."""
    blocking = [r for r in results if r.blocks]
    if not blocking:
        return None
    return SynclineError(
        ErrorKind.DATA,
        f"not published: {'; '.join(str(r) for r in blocking)}",
        hint="what was there stays visible. Look at it: syncline quality show; mend the source and sync again, "
        "or mend the gates or the staged rows and run: syncline quality replay",
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _last_of_each(relation: str, target: StreamTarget) -> str:
    """What stays of the rows once duplicates of a key have gone, which happens with the publication."""
    if not (target.dedupe or target.write is WriteMode.MERGE) or not target.primary_key:
        return relation
    key = ", ".join(_quoted(k) for k in target.primary_key)
    newest = f"{_quoted(target.cursor_field)} DESC NULLS LAST" if target.cursor_field else key
    return (
        f"(SELECT * FROM (SELECT r.*, row_number() OVER (PARTITION BY {key} ORDER BY {newest}) AS _syncline_place "
        f"FROM {relation} r) q WHERE _syncline_place = 1)"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
