"""A suite made with the real Great Expectations library is read by Syncline and gives the library's verdicts on the
same data: the common expectations by rules of our own, the others through the library."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.clients.prepare import interpreter, is_ready

from syncline.core.errors import SynclineError
from syncline.quality.suite import NATIVE, gates_of_suite

ROOT = Path(__file__).resolve().parents[2]
NAME = "great_expectations"
#: Syncline from its sources: without an installation nobody names its connectors.
SYNCLINE = (
    "from syncline.cli.main import main; from syncline.connectors import duckdb, files; "
    "from syncline.sdk.connector import register; register(duckdb.DESTINATION); register(files.SOURCE); main()"
)


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """In the library's own environment, with Syncline's sources beside it."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    return subprocess.run(
        [str(interpreter(NAME)), *map(str, arguments)],
        cwd=folder,
        env={**kept, "HOME": str(folder), "SYNCLINE_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=600,
    )


def synced(folder: Path, file: Path) -> Any:
    done = run(folder, "-c", SYNCLINE, "sync", file, "--json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    shown = run(folder, "-c", SYNCLINE, "quality", "show", file, "--json")
    assert shown.returncode == 0, shown.stderr
    (stream,) = json.loads(shown.stdout)["p"]
    return stream["results"]


def _project(tmp_path: Path, gate: dict[str, str]) -> dict[str, object]:
    return {
        "source": {
            "type": "files",
            "config": {
                "path": str(tmp_path / "data"),
                "streams": [{"name": "customers", "globs": ["customers/*.parquet"], "format": "parquet"}],
            },
        },
        "destination": {"type": "duckdb", "config": {"destination_path": str(tmp_path / "w.duckdb")}},
        "sync": {"streams": [{"name": "customers", "gates": [gate]}]},
    }


@pytest.mark.clients
def test_a_suite_gives_the_verdicts_of_the_library(tmp_path: Path) -> None:
    if not is_ready(NAME):
        pytest.skip(f"no environment for {NAME}: python tests/clients/prepare.py {NAME}")
    made = run(tmp_path, ROOT / "tests" / "clients" / "scripts" / "make_suite.py", tmp_path)
    assert made.returncode == 0, made.stderr[-4000:]
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(_project(tmp_path, {"suite": "erp_quality.json", "severity": "warn"})))
    results = synced(tmp_path, file)
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())
    ours = [r["status"] in ("passed", "empty") for r in results]
    assert len(ours) == len(verdicts) > 40
    differing = [
        (kind, "library says", theirs, "ours", result)
        for (kind, theirs), mine, result in zip(verdicts, ours, results, strict=True)
        if mine != theirs
    ]
    assert differing == []
    assert set(ours) == {True, False}
    by_library = [kind for (kind, _), r in zip(verdicts, results, strict=True) if r["rule"] == "expectation"]
    assert {"expect_column_median_to_be_between", "expect_column_values_to_match_regex"} < set(by_library)
    assert len(by_library) == 5  # everything else by rules of our own


@pytest.mark.clients
def test_a_pattern_that_only_the_library_takes_and_that_explodes_is_ended(tmp_path: Path) -> None:
    if not is_ready(NAME):
        pytest.skip(f"no environment for {NAME}: python tests/clients/prepare.py {NAME}")
    (tmp_path / "data" / "customers").mkdir(parents=True)
    pq.write_table(pa.table({"cid": [1], "email": ["a" * 60 + "b"]}), tmp_path / "data" / "customers" / "1.parquet")
    pattern = {"column": "email", "regex": "^(?=a)(a+)+$"}
    suite = {"name": "s", "expectations": [{"type": "expect_column_values_to_match_regex", "kwargs": pattern}]}
    (tmp_path / "s.json").write_text(json.dumps(suite))
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(_project(tmp_path, {"suite": "s.json", "timeout": "20s"})))
    done = run(tmp_path, "-c", SYNCLINE, "sync", tmp_path / "p.yaml", "--json")
    assert done.returncode != 0
    assert "took longer than 20 s" in done.stdout


def test_what_a_suite_cannot_be() -> None:
    with pytest.raises(SynclineError, match="no expectations"):
        gates_of_suite({"expectations": []}, "s.json")
    with pytest.raises(SynclineError, match="'be_nice' is no expectation") as caught:
        gates_of_suite({"expectations": [{"type": "be_nice", "kwargs": {}}]}, "s.json")
    assert all(name in caught.value.hint for name in NATIVE)


def test_the_older_form_of_a_suite_is_read_too() -> None:
    item = {"expectation_type": "expect_column_values_to_not_be_null", "kwargs": {"column": "cid"}, "meta": {}}
    (gate,) = gates_of_suite({"expectation_suite_name": "old", "expectations": [item]}, "s.json")
    assert (gate.rule, gate.columns) == ("not_null", ("cid",))
