"""The Airbyte edge against PyAirbyte, and against the bare connector, in one run.

    python tests/clients/prepare.py pyairbyte          # once: PyAirbyte in an environment of its own
    python benchmarks/airbyte_rival.py replay [ROWS]   # the same captured records, end to end into DuckDB
    python benchmarks/airbyte_rival.py overhead [ROWS] # source-faker to nothing: bare, and through us

``replay``: both are given the same "connector", a shell that copies a file, so that what is compared is the edge and
the destination. Wall seconds are of one machine, one after the other; CPU seconds include children.
Both must end with the same number of rows and the same sum of ids. Targets: 10 times PyAirbyte's rate; overhead at most
10 %.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import yaml
from airbyte_replay import capture

ROOT = Path(__file__).resolve().parents[1]
PYAIRBYTE = ROOT / "build" / "clients" / "pyairbyte" / "bin" / "python"
SCRIPT = """
import sys, time
from pathlib import Path
import airbyte as ab
executable, folder = sys.argv[1:3]
source = ab.get_source("source-faker", local_executable=Path(executable), config={}, install_if_missing=False)
source.select_all_streams()
cache = ab.caches.DuckDBCache(db_path=Path(folder) / "rival.duckdb")
source.read(cache=cache, force_full_refresh=True)
"""


def timed(command: Sequence[str], **options: Any) -> tuple[float, float]:
    """Wall and CPU seconds of a command and everything that it starts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, **options)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{command[:3]} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def project(folder: Path, source: dict[str, Any], destination: dict[str, Any], streams: list[str]) -> Path:
    path = folder / "p.yaml"
    sync = {"mode": "full_refresh", "streams": streams}
    path.write_text(yaml.safe_dump({"source": source, "destination": destination, "sync": sync}))
    return path


def replay(folder: Path, rows: int) -> None:
    if not PYAIRBYTE.exists():
        raise SystemExit("first: python tests/clients/prepare.py pyairbyte")
    command = capture(folder, rows)
    spec = {"connectionSpecification": {"type": "object", "properties": {}}}
    (folder / "spec").write_text(json.dumps({"type": "SPEC", "spec": spec}) + "\n")
    # PyAirbyte wants one executable.
    executable = folder / "source-faker"
    executable.write_text("#!/bin/sh\nexec " + " ".join(map(_quoted, command)) + ' "$@"\n')
    executable.chmod(0o755)
    environment = {
        **os.environ,
        "SYNCLINE_HOME": str(folder / "home"),
        "AIRBYTE_OFFLINE_MODE": "1",
        "DO_NOT_TRACK": "1",
    }
    source = {"type": "airbyte", "config": {"executable": str(executable), "config": {}}}
    destination = {"type": "duckdb", "config": {"destination_path": str(folder / "ours.duckdb")}}
    path = project(folder, source, destination, ["users"])
    ours = timed([sys.executable, "-m", "syncline", "sync", str(path), "--json"], env=environment)
    theirs = timed([str(PYAIRBYTE), "-c", SCRIPT, str(executable), str(folder)], env=environment)
    found = [_sum(folder / name) for name in ("ours.duckdb", "rival.duckdb")]
    for name, (wall, cpu) in (("syncline", ours), ("pyairbyte", theirs)):
        print(f"{name:10} {rows / wall:12,.0f} rows/s wall  {rows / cpu:12,.0f} rows per CPU second")
    print(f"ratio {theirs[0] / ours[0]:.1f} (wall), {theirs[1] / ours[1]:.1f} (CPU); contents {found}")
    if found[0] != found[1]:
        raise SystemExit("the two ends differ")


def _sum(file: Path) -> tuple[int, int]:
    with duckdb.connect(str(file), read_only=True) as con:
        tables = con.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name = 'users'"
        ).fetchall()
        schema, table = tables[0]
        found = con.execute(f'SELECT count(*), sum(id) FROM "{schema}"."{table}"').fetchone()
    assert found is not None
    return int(found[0]), int(found[1])


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def overhead(folder: Path, rows: int) -> None:
    """The connector must be installed: syncline connectors install faker."""
    told = subprocess.run(
        [sys.executable, "-m", "syncline", "connectors", "install", "faker", "--json"], capture_output=True, text=True
    )
    executable = json.loads(told.stdout)["executable"]
    config = {"count": rows, "seed": 1, "parallelism": 1, "always_updated": False}
    (folder / "config.json").write_text(json.dumps(config))
    asked = subprocess.run(
        [executable, "discover", "--config", str(folder / "config.json")], capture_output=True, text=True
    )
    catalog = next(m["catalog"] for line in asked.stdout.splitlines() if (m := json.loads(line))["type"] == "CATALOG")
    users = next(s for s in catalog["streams"] if s["name"] == "users")
    (folder / "catalog.json").write_text(
        json.dumps({"streams": [{"stream": users, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]})
    )
    read = [executable, "read", "--config", str(folder / "config.json"), "--catalog", str(folder / "catalog.json")]
    bare = timed(["sh", "-c", " ".join(map(_quoted, read)) + " > /dev/null"])
    ours = timed([sys.executable, __file__, "drain", executable, json.dumps(config)])
    print(f"bare {bare[0]:.1f} s wall, {bare[1]:.1f} s CPU; through us {ours[0]:.1f} s wall, {ours[1]:.1f} s CPU")
    print(f"overhead {100 * (ours[0] / bare[0] - 1):.1f} % of wall, {100 * (ours[1] / bare[1] - 1):.1f} % of CPU")


def drain(executable: str, config: dict[str, Any]) -> None:
    """Read as the engine does, and throw the Arrow batches away. Discover is paid for too."""
    from contextlib import closing

    from syncline.connectors.airbyte.config import AirbyteSourceConfig
    from syncline.connectors.airbyte.source import AirbyteSource
    from syncline.core.stream import SelectedStream, SyncMode
    from syncline.sdk.connector import ConnectorContext
    from syncline.sdk.feed import FedBatch

    with tempfile.TemporaryDirectory() as folder:
        context = ConnectorContext(connection="drain", work_dir=Path(folder))
        source = AirbyteSource(AirbyteSourceConfig(executable=executable, config=config), context)
        stream = next(s for s in source.discover().streams if s.name.name == "users")
        selected = SelectedStream(
            stream=stream, sync_mode=SyncMode.FULL_REFRESH_OVERWRITE, primary_key=stream.primary_key
        )
        with closing(source.feed([selected], {}, None)) as feed:
            rows = sum(m.batch.rows for m in feed if isinstance(m, FedBatch))
    print(rows)


def main() -> None:
    if sys.argv[1:2] == ["drain"]:
        drain(sys.argv[2], json.loads(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("replay", "overhead"))
    parser.add_argument("rows", nargs="?", type=int, default=200_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (replay if given.what == "replay" else overhead)(Path(folder), given.rows)


if __name__ == "__main__":
    main()
