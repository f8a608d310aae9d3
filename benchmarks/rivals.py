"""The same work by dlt (its fastest backend), Sling and ingestr, each at its own best documented setting, with the
content checked by the same counts and sums that the source gives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg

if TYPE_CHECKING:
    from run import Bench, Case

__all__ = ["rival_cases"]

_SUMS = "count(*), sum(l_orderkey), sum(l_extendedprice), min(l_shipdate), max(l_receiptdate), sum(length(l_comment))"

_DLT = """
import sys, os, dlt
from dlt.sources.sql_database import sql_table
dsn, kind, place = sys.argv[1:]
os.environ["NORMALIZE__WORKERS"] = "2"
os.environ["DATA_WRITER__DISABLE_COMPRESSION"] = "true"
if kind == "filesystem":
    destination = dlt.destinations.filesystem(bucket_url="file://" + place)
elif kind == "duckdb":
    destination = dlt.destinations.duckdb(place)
else:
    destination = dlt.destinations.postgres(place)
pipeline = dlt.pipeline("bench", destination=destination, dataset_name="bench", pipelines_dir=os.environ["DLT_HOME"])
table = sql_table(dsn, table="lineitem", schema="public", backend="connectorx", reflection_level="full_with_precision",
                  chunk_size=200000, backend_kwargs={"return_type": "arrow_stream"})
form = None if kind == "duckdb" else ("parquet" if kind == "filesystem" else "csv")
print(pipeline.run(table, write_disposition="replace", **({"loader_file_format": form} if form else {})))
"""


def rival_cases(bench: Bench, read_limit: str, load_limit: str) -> list[Case]:
    """Cases for the rivals that are installed."""
    from run import Case

    home = Path(os.environ["SYNCLINE_RIVALS"]).resolve()
    params = bench.server.params(bench.source)
    source = f"postgresql://{params['user']}:{params['password']}@127.0.0.1:{params['port']}/{bench.source}"
    sink = f"postgresql://{params['user']}:{params['password']}@127.0.0.1:{params['port']}/{bench.sink}"
    script = bench.folder / "dlt_job.py"
    script.write_text(_DLT, encoding="utf-8")
    environment = {"DLT_HOME": str(bench.folder / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}

    def clean() -> None:
        for name in ("dlt", "dlt-lake"):
            shutil.rmtree(bench.folder / name, ignore_errors=True)
        (bench.folder / "dlt.duckdb").unlink(missing_ok=True)
        bench.reset_sink("DROP SCHEMA IF EXISTS bench CASCADE")

    def dlt(name: str, kind: str, place: str, limit: str, read: Callable[[], Any]) -> Case:
        return Case(
            name=name,
            command=[str(home / "bin" / "python"), str(script), source, kind, place],
            limit=limit,
            before=clean,
            after=lambda: _equal(bench, name, read()),
            environment=environment,
        )

    lake, warehouse = bench.folder / "dlt-lake", bench.folder / "dlt.duckdb"
    found = [
        dlt(
            "dlt (connectorx): lineitem -> Parquet",
            "filesystem",
            str(lake),
            read_limit,
            lambda: _duckdb("", f"read_parquet('{lake}/bench/lineitem/*.parquet')"),
        ),
        dlt(
            "dlt (connectorx): lineitem -> DuckDB",
            "duckdb",
            str(warehouse),
            read_limit,
            lambda: _duckdb(str(warehouse), "bench.lineitem"),
        ),
        dlt(
            "dlt (connectorx, csv): lineitem -> Postgres",
            "postgres",
            sink,
            load_limit,
            lambda: _postgres(bench, "bench.lineitem"),
        ),
    ]
    binary = next(iter(home.glob("lib/python*/site-packages/sling_*/bin/sling-*")), None) or shutil.which("sling")
    if binary:
        found.append(
            Case(
                name="Sling: lineitem -> Postgres",
                command=[
                    str(binary),
                    *("run", "--src-conn", f"{source}?sslmode=disable", "--src-stream", "public.lineitem"),
                    *("--tgt-conn", f"{sink}?sslmode=disable", "--tgt-object", "public.lineitem"),
                    *("--mode", "full-refresh"),
                ],
                limit=load_limit,
                before=clean,
                after=lambda: _equal(bench, "sling", _postgres(bench, "public.lineitem")),
                environment={"SLING_HOME_DIR": str(bench.folder / "sling"), "SLING_DISABLE_TELEMETRY": "true"},
            )
        )
    if os.environ.get("SYNCLINE_RIVALS_INGESTR"):
        ingestr = Path(os.environ["SYNCLINE_RIVALS_INGESTR"]).resolve() / "bin" / "ingestr"
        found.append(
            Case(
                name="ingestr: lineitem -> Postgres",
                command=[
                    str(ingestr),
                    *("ingest", "--yes", "--source-uri", f"{source}?sslmode=disable"),
                    *("--source-table", "public.lineitem", "--dest-uri", f"{sink}?sslmode=disable"),
                    *("--dest-table", "public.lineitem"),
                ],
                limit=load_limit,
                before=clean,
                after=lambda: _equal(bench, "ingestr", _postgres(bench, "public.lineitem")),
                environment={"TELEMETRY_DISABLED": "true", "INGESTR_DISABLE_TELEMETRY": "true"},
            )
        )
    return found


def _duckdb(path: str, table: str) -> Any:
    with duckdb.connect(path, read_only=bool(path)) as connection:
        return connection.execute(f"SELECT {_SUMS} FROM {table}").fetchone()


def _postgres(bench: Bench, table: str) -> Any:
    with psycopg.connect(bench.server.dsn(bench.sink)) as connection:
        return connection.execute(f"SELECT {_SUMS} FROM {table}").fetchone()


def _equal(bench: Bench, name: str, found: Any) -> None:
    with psycopg.connect(bench.server.dsn(bench.source)) as connection:
        wanted = connection.execute(f"SELECT {_SUMS} FROM lineitem").fetchone()
    assert wanted is not None
    if [Decimal(v) if isinstance(v, int) else v for v in found] != list(wanted):
        raise RuntimeError(f"{name}: content differs: {found} instead of {wanted}")
