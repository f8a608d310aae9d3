"""DuckDB as a reader of Delta Lake and Iceberg, in an environment of its own: its extensions share no code with the
readers of delta-rs and pyiceberg (the kernel of the Delta project, and DuckDB's own reader of Iceberg)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import load_catalog
from tests.clients.prepare import interpreter, is_ready

__all__ = ["read_by_duckdb"]

_NAME = "duckdb_lakes"
_SCRIPT = Path(__file__).parent / "scripts" / "read_lake.py"


def read_by_duckdb(kind: str, lake: Path, table: str, folder: Path) -> pa.Table:
    """The rows of a table below the local folder ``lake``; skips the test where the environment was not made."""
    if not is_ready(_NAME):
        pytest.skip(f"no environment for DuckDB's extensions: python tests/clients/prepare.py {_NAME}")
    place = str(lake / table)
    if kind == "iceberg":
        catalog = load_catalog("syncline", type="sql", uri=f"sqlite:///{lake}/iceberg-catalog.db")
        place = catalog.load_table(f"default.{table}").metadata_location.removeprefix("file://")
        catalog.close()
    out = folder / f"{kind}-{table}.parquet"
    command = [str(interpreter(_NAME)), str(_SCRIPT), kind, place, str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return pq.read_table(out)
