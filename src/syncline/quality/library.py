"""Great Expectations' own library, for expectations that have no form of ours. An extra; nothing else imports it.

The library works on a pandas frame, so the staged rows have to fit into memory for it: more than :data:`MOST_ROWS` are
refused, not sampled."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.quality.gate import Gate
from syncline.quality.rules import gate_error
from syncline.quality.suite import NATIVE
from syncline.sdk.destination import StagedView

__all__ = ["MOST_ROWS", "LibraryVerdict", "ensure_library", "judged_by_library"]

MOST_ROWS = 2_000_000


@dataclass(frozen=True, kw_only=True)
class LibraryVerdict:
    """What the library says. ``judged`` and ``failed`` are -1 for expectations that count no rows."""

    success: bool
    observed: str
    judged: int = -1
    failed: int = -1


def ensure_library(gate: Gate) -> None:
    """Raise ``config`` when the library, or the expectation in it, is not there."""
    if importlib.util.find_spec("great_expectations") is None:
        raise gate_error(
            f"{gate.name}: the expectation {gate.options['type']!r} is judged by Great Expectations, which is not "
            "installed",
            hint=f"{_near(gate, NATIVE)}pip install 'syncline[great-expectations]', or use one that needs no library: "
            + ", ".join(NATIVE),
        )
    _expectation_class(gate)


def judged_by_library(gate: Gate, view: StagedView, relation: str) -> LibraryVerdict:
    """The verdict on all staged rows."""
    ensure_library(gate)
    import great_expectations
    import pandas as pd

    ((count,),) = view.rows(f"SELECT count(*) FROM {relation} s")
    if count > MOST_ROWS:
        raise SynclineError(
            ErrorKind.RESOURCE,
            f"gate {gate.name!r}: {count:,} rows are more than the library takes at once ({MOST_ROWS:,})",
            hint="write the rule as one of ours, or as sql: …",
        )
    columns = view.columns()
    frame = pd.DataFrame(view.rows(f"SELECT * FROM {relation} s"), columns=columns)  # at most MOST_ROWS
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("staged").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    outcome = batch.validate(_expectation_class(gate)(**gate.options["kwargs"]))
    raised = [e for e in _exceptions(outcome.exception_info or {}) if e.get("raised_exception")]
    if raised:
        raise gate_error(f"{gate.name}: the library cannot judge it: {raised[0]['exception_message']}")
    result = outcome.result or {}
    failed = result.get("unexpected_count")
    observed = f"{failed:,} rows break it" if failed is not None else str(result.get("observed_value", "no"))
    return LibraryVerdict(
        success=bool(outcome.success),
        observed=observed,
        judged=int(result.get("element_count", -1)),
        failed=-1 if failed is None else int(failed),
    )


def _exceptions(info: Any) -> list[dict[str, Any]]:
    return [info] if "raised_exception" in info else [e for e in info.values() if isinstance(e, dict)]


def _expectation_class(gate: Gate) -> Any:
    from great_expectations import expectations

    name = "".join(word.capitalize() for word in gate.options["type"].split("_"))
    found = getattr(expectations, name, None)
    if found is None:
        known = sorted(_snake(each) for each in dir(expectations) if each.startswith("Expect"))
        raise gate_error(
            f"{gate.name}: Great Expectations knows no expectation {gate.options['type']!r}",
            hint=f"{_near(gate, known)}there are: {', '.join(known)}",
        )
    return found


def _near(gate: Gate, known: Iterable[str]) -> str:
    near = nearest(str(gate.options["type"]), list(known))
    return f"did you mean {near!r}? " if near else ""


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
