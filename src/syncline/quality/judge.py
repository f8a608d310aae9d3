"""The verdict: what was counted, and what the staged rows answer, against each gate. Before anything is published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from syncline.core.schema import StreamSchema
from syncline.quality.gate import Empty, Gate, GateResult, Severity, Status
from syncline.quality.library import LibraryVerdict, judged_by_library
from syncline.quality.rules import RULES, duration_seconds, gate_error
from syncline.sdk.destination import StagedView

__all__ = ["Facts", "judge"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of the rows that are about to be published. ``rows`` are those that would become visible, ``note``
    what the screens counted, ``history`` the rows of earlier publications, newest last. ``view`` is None where no gate
    asks the staged rows; ``relation`` is what stands for them in SQL. ``library``: what the library has said of
    gates, by name."""

    rows: int
    note: Mapping[str, Any]
    schema: StreamSchema
    history: Sequence[int]
    now: datetime
    view: StagedView | None = None
    relation: str = ""
    library: Mapping[str, LibraryVerdict] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """``judged`` is 0 when there was nothing to judge, -1 when the rule is not about rows."""

    kept: bool
    observed: str
    expected: str
    judged: int = -1
    failed: int = -1


def judge(gates: Sequence[Gate], facts: Facts) -> list[GateResult]:
    """A result for every gate, in order. Raises when one cannot be judged: that is never taken for kept."""
    asked = [gate for gate in gates if gate.rule == "expectation"]
    if asked:
        facts = replace(facts, library=judged_by_library(asked, _view(asked[0], facts), facts.relation))
    return [_result(gate, _finding(gate, facts)) for gate in gates]


def _finding(gate: Gate, facts: Facts) -> _Finding:
    if RULES[gate.rule].per_row:
        return _counted(gate, facts)
    return _RULES[gate.rule](gate, facts)


def _result(gate: Gate, found: _Finding) -> GateResult:
    if found.judged == 0 and found.kept:
        status = Status.EMPTY if gate.empty is Empty.PASS else _broken(gate)
    elif found.kept:
        status = Status.PASSED
        if found.failed > 0 and gate.severity is Severity.QUARANTINE:
            status = Status.QUARANTINED
    else:
        status = _broken(gate)
    return GateResult(
        gate=gate.name,
        rule=gate.rule,
        columns=gate.columns,
        severity=gate.severity,
        status=status,
        observed=found.observed,
        expected=found.expected,
        judged=found.judged,
        failed=found.failed,
    )


def _broken(gate: Gate) -> Status:
    return {
        Severity.BLOCK: Status.BLOCKED,
        Severity.WARN: Status.WARNED,
        # The rows are out; only an empty stream gets here without any.
        Severity.QUARANTINE: Status.QUARANTINED,
    }[gate.severity]


def _counted(gate: Gate, facts: Facts) -> _Finding:
    judged, failed = facts.note.get("gates", {}).get(gate.name, [0, 0])
    kept = failed == 0 if gate.mostly == 1.0 else judged - failed >= gate.mostly * judged
    most = "all" if gate.mostly == 1.0 else f"{gate.mostly:.10g} of the"
    return _Finding(
        kept=kept,
        observed=f"{failed:,} of {judged:,} rows break it" if judged else "no rows",
        expected=f"{most} rows keep {gate.rule}",
        judged=judged,
        failed=failed,
    )


def _row_count(gate: Gate, facts: Facts) -> _Finding:
    low, high, change = (gate.options.get(k) for k in ("min", "max", "change"))
    kept = (low is None or facts.rows >= low) and (high is None or facts.rows <= high)
    observed, wanted = f"{facts.rows:,} rows", []
    if low is not None:
        wanted.append(f"at least {low:,}")
    if high is not None:
        wanted.append(f"at most {high:,}")
    if change is not None:
        percent = float(str(change).strip().removesuffix("%"))
        wanted.append(f"within {percent:g}% of the last runs")
        if facts.history:
            usual = sum(facts.history) / len(facts.history)
            differs = abs(facts.rows - usual) / usual * 100 if usual else (0.0 if facts.rows == 0 else float("inf"))
            kept = kept and differs <= percent
            observed += f", {differs:.1f}% from the {usual:,.0f} of the last {len(facts.history)} runs"
        else:
            observed += ", no earlier run to compare with"
    return _Finding(kept=kept, observed=observed, expected=" and ".join(wanted) + " rows")


def _has_columns(gate: Gate, facts: Facts) -> _Finding:
    names = [n for n in facts.schema.names if not n.startswith(("_syncline_", "_airbyte_", "_ab_cdc_"))]
    lacking = [c for c in gate.columns if c not in facts.schema.names]
    more = [n for n in names if n not in gate.columns] if gate.options.get("exactly") else []
    parts = [f"without {', '.join(lacking)}"] if lacking else []
    parts += [f"also {', '.join(more)}"] if more else []
    return _Finding(
        kept=not lacking and not more,
        observed="; ".join(parts) or "they are there",
        expected=f"{'exactly ' if gate.options.get('exactly') else ''}the columns {', '.join(gate.columns)}",
    )


def _freshness(gate: Gate, facts: Facts) -> _Finding:
    most = duration_seconds(gate.options["max_age"])
    micros = facts.note.get("newest", {}).get(gate.name)
    expected = f"not older than {gate.options['max_age']}"
    if micros is None:
        return _Finding(kept=True, observed="no moment in the column", expected=expected, judged=0)
    age = facts.now.timestamp() - micros / 1_000_000
    try:
        newest = datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError):
        newest = "a moment beyond the calendar"
    return _Finding(kept=age <= most, observed=f"the newest is {newest}, {age:,.0f} s ago", expected=expected)


def _unique(gate: Gate, facts: Facts) -> _Finding:
    view, columns = _view(gate, facts), ", ".join(_quoted(c) for c in gate.columns)
    there = " AND ".join(f"{_quoted(c)} IS NOT NULL" for c in gate.columns)
    judged, failed = _numbers(
        gate,
        view,
        f"SELECT coalesce(sum(n), 0), coalesce(sum(CASE WHEN n > 1 THEN n ELSE 0 END), 0) FROM "
        f"(SELECT count(*) AS n FROM {facts.relation} s WHERE {there} GROUP BY {columns}) g",
    )
    return _Finding(
        kept=failed == 0,
        observed=f"{failed:,} of {judged:,} rows share their value with another",
        expected=f"each {', '.join(gate.columns)} once",
        judged=judged,
        failed=failed,
    )


def _statistic(gate: Gate, facts: Facts) -> _Finding:
    view, of, column = _view(gate, facts), gate.options["of"], _quoted(gate.columns[0])
    asked = {"mean": f"avg({column})", "distinct": f"count(DISTINCT {column})"}.get(of, f"{of}({column})")
    ((value,),) = _asked(gate, view, f"SELECT {asked} FROM {facts.relation} s")
    low, high = gate.options.get("min"), gate.options.get("max")
    expected = (
        f"{of} of {gate.columns[0]} between {low if low is not None else '…'} and {high if high is not None else '…'}"
    )
    if value is None:
        return _Finding(kept=True, observed="no value", expected=expected, judged=0)
    try:
        number = float(value)
        kept = (low is None or number >= float(low)) and (high is None or number <= float(high))
    except (TypeError, ValueError):
        text = value.isoformat() if hasattr(value, "isoformat") else str(value)
        kept = (low is None or text >= str(low)) and (high is None or text <= str(high))
        return _Finding(kept=kept, observed=text, expected=expected)
    return _Finding(kept=kept, observed=f"{number:g}", expected=expected)


def _references(gate: Gate, facts: Facts) -> _Finding:
    view = _view(gate, facts)
    to = gate.options.get("to") or list(gate.columns)
    to = [to] if isinstance(to, str) else to
    if len(to) != len(gate.columns):
        raise gate_error(f"{gate.name}: to names {len(to)} columns, not {len(gate.columns)}")
    there = " AND ".join(f"s.{_quoted(c)} IS NOT NULL" for c in gate.columns)
    same = " AND ".join(f"t.{_quoted(b)} = s.{_quoted(a)}" for a, b in zip(gate.columns, to, strict=True))
    table = gate.options["table"]
    judged, failed = _numbers(
        gate,
        view,
        f"SELECT count(*), coalesce(sum(CASE WHEN EXISTS (SELECT 1 FROM {view.table(table)} t WHERE {same}) "
        f"THEN 0 ELSE 1 END), 0) FROM {facts.relation} s WHERE {there}",
    )
    return _Finding(
        kept=failed == 0,
        observed=f"{failed:,} of {judged:,} rows refer to nothing",
        expected=f"each {', '.join(gate.columns)} is in {table}.{', '.join(to)}",
        judged=judged,
        failed=failed,
    )


def _sql(gate: Gate, facts: Facts) -> _Finding:
    view = _view(gate, facts)
    query = str(gate.options["query"]).strip().rstrip(";").replace("{staged}", facts.relation)
    ((count,),) = _asked(gate, view, f"SELECT count(*) FROM ({query}\n) broken")
    return _Finding(kept=count == 0, observed=f"{count:,} rows returned", expected="none", failed=count)


def _expectation(gate: Gate, facts: Facts) -> _Finding:
    verdict = facts.library[gate.name]
    return _Finding(
        kept=verdict.success,
        observed=verdict.observed,
        expected=f"{gate.options['type']} holds",
        judged=verdict.judged,
        failed=verdict.failed,
    )


_RULES: Mapping[str, Callable[[Gate, Facts], _Finding]] = {
    "row_count": _row_count,
    "has_columns": _has_columns,
    "freshness": _freshness,
    "unique": _unique,
    "statistic": _statistic,
    "references": _references,
    "sql": _sql,
    "expectation": _expectation,
}


def _view(gate: Gate, facts: Facts) -> StagedView:
    if facts.view is None:
        raise gate_error(f"{gate.name}: the staged rows cannot be asked")
    return facts.view


def _numbers(gate: Gate, view: StagedView, query: str) -> tuple[int, int]:
    ((one, other),) = _asked(gate, view, query)
    return int(one), int(other)


def _asked(gate: Gate, view: StagedView, query: str) -> list[tuple[Any, ...]]:
    return view.rows(query) if gate.timeout is None else view.rows(query, seconds=gate.timeout)


def _quoted(name: str) -> str:
    """An identifier in standard SQL."""
    return '"' + name.replace('"', '""') + '"'
