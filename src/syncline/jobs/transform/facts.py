"""What a step may know of the run that it follows, under names that are the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult
from syncline.jobs.transform.step import step_error

__all__ = ["as_environment", "facts_of", "filled", "filled_sql"]

_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def facts_of(spec: AttemptSpec, result: AttemptResult) -> dict[str, str | int]:
    """Names as they stand in ``{{ }}``, and in upper case after ``SYNCLINE_RUN_`` in a program's environment."""
    return {
        "connection": spec.connection,
        "sync_id": spec.sync_id,
        "sync_date": spec.sync_date.isoformat(),
        "started_at": spec.started_at.isoformat(),
        "attempt": spec.attempt,
        "source_type": spec.source.type,
        "destination_type": spec.destination.type,
        "streams": ",".join(str(s.stream) for s in result.streams),
        "rows_read": sum(s.rows_read for s in result.streams),
        "rows_written": sum(s.rows_written for s in result.streams),
        "rows_quarantined": sum(s.rows_quarantined for s in result.streams),
    }


def as_environment(facts: Mapping[str, str | int]) -> dict[str, str]:
    return {f"SYNCLINE_RUN_{name.upper()}": str(value) for name, value in facts.items()}


def filled(value: Any, facts: Mapping[str, str | int]) -> Any:
    """Texts in ``value``, however deep, with each ``{{ name }}`` replaced. Raises ``config`` for an unknown name."""
    if isinstance(value, str):
        return _replaced(value, facts, str)
    if isinstance(value, Mapping):
        return {k: filled(v, facts) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [filled(v, facts) for v in value]
    return value


def filled_sql(script: str, facts: Mapping[str, str | int]) -> str:
    """The script with each ``{{ name }}`` as a literal: a name of a table at the source can hold anything."""
    return _replaced(script, facts, _literal)


def _replaced(text: str, facts: Mapping[str, str | int], form: Callable[[str | int], str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in facts:
            raise step_error(f"a run has no {found[0]}", hint=f"it has: {', '.join(facts)}")
        return form(facts[found[1]])

    return _PLACE.sub(value, text)


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
