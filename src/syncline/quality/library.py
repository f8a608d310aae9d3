"""Great Expectations' own library, for expectations that have no form of ours. An extra; nothing else imports it.

The library works on a pandas frame, so the staged rows have to fit into memory for it: more than :data:`MOST_ROWS` are
refused, not sampled. It judges in a process of its own, because nothing else ends a pattern of Python's that explodes.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.quality.gate import Gate
from syncline.quality.rules import gate_error
from syncline.quality.suite import NATIVE
from syncline.sdk.destination import StagedView
from syncline.sdk.time_limit import ANSWER_SECONDS, too_long

__all__ = ["MOST_ROWS", "LibraryVerdict", "ensure_library", "judged_by_library"]

MOST_ROWS = 2_000_000
_ROWS, _GATES = "rows.arrow", "gates.json"


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


def judged_by_library(gates: Sequence[Gate], view: StagedView, relation: str) -> dict[str, LibraryVerdict]:
    """The verdicts on all staged rows, by the gates' names."""
    for gate in gates:
        ensure_library(gate)
    ((count,),) = view.rows(f"SELECT count(*) FROM {relation} s")
    if count > MOST_ROWS:
        raise SynclineError(
            ErrorKind.RESOURCE,
            f"gate {gates[0].name!r}: {count:,} rows are more than the library takes at once ({MOST_ROWS:,})",
            hint="write the rule as one of ours, or as sql: …",
        )
    columns, rows = view.columns(), view.rows(f"SELECT * FROM {relation} s")
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    table = pa.table([_column(list(column)) for column in values], names=columns)
    with tempfile.TemporaryDirectory(prefix="syncline-gate-") as folder:
        feather.write_feather(table, str(Path(folder, _ROWS)), compression="uncompressed")
        return _told(list(gates), Path(folder))


def _told(gates: Sequence[Gate], folder: Path) -> dict[str, LibraryVerdict]:
    """What the process says of the rows that lie in the folder."""
    (folder / _GATES).write_text(json.dumps([gate.to_json() for gate in gates]), encoding="utf-8")
    limits = {gate.name: ANSWER_SECONDS if gate.timeout is None else gate.timeout for gate in gates}
    command = [sys.executable, "-m", "syncline.quality.library", str(folder)]
    late, last = False, ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=sum(limits.values()), check=False)
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    except subprocess.TimeoutExpired:
        late = True
    verdicts: dict[str, LibraryVerdict] = {}
    for place, gate in enumerate(gates):
        path = folder / f"{place}.json"
        if not path.exists():
            raise too_long(limits[gate.name]) if late else _cannot(gate, last)
        found = json.loads(path.read_text(encoding="utf-8"))
        if "error" in found:
            raise _cannot(gate, found["error"])
        verdicts[gate.name] = LibraryVerdict(**found)
    return verdicts


def _cannot(gate: Gate, why: str) -> SynclineError:
    return gate_error(f"{gate.name}: the library cannot judge it: {why}")


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else str(v) for v in values], pa.string())  # uuids, networks, documents


def _judge_in(folder: Path) -> None:
    """In the process of its own: a file for each verdict, as soon as it is known."""
    import great_expectations
    import pandas as pd

    table = feather.read_table(str(folder / _ROWS))
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    frame = pd.DataFrame(rows, columns=table.column_names)
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("staged").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    for place, data in enumerate(json.loads((folder / _GATES).read_text(encoding="utf-8"))):
        half = folder / f"{place}.half"
        half.write_text(json.dumps(_verdict(Gate.from_json(data), batch)), encoding="utf-8")
        half.rename(folder / f"{place}.json")


def _verdict(gate: Gate, batch: Any) -> dict[str, Any]:
    outcome = batch.validate(_expectation_class(gate)(**gate.options["kwargs"]))
    raised = [e for e in _exceptions(outcome.exception_info or {}) if e.get("raised_exception")]
    if raised:
        return {"error": str(raised[0]["exception_message"])}
    result = outcome.result or {}
    failed = result.get("unexpected_count")
    observed = f"{failed:,} rows break it" if failed is not None else str(result.get("observed_value", "no"))
    return {
        "success": bool(outcome.success),
        "observed": observed,
        "judged": int(result.get("element_count", -1)),
        "failed": -1 if failed is None else int(failed),
    }


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


if __name__ == "__main__":
    _judge_in(Path(sys.argv[1]))
