"""Replays captured records through the Airbyte edge: how many a second of CPU time our own process takes.

    python benchmarks/airbyte_replay.py [ROWS] [--to parquet|null]

The records are like source-faker's users (17 fields and a nested address, some 610 bytes). They are written to a file
once; the "connector" is a shell that copies the file to its output, so that all CPU time counted is ours. ``null``
stops at Arrow batches; ``parquet`` goes through the engine into a local folder. Target: 150,000 a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from syncline.connectors.airbyte.config import AirbyteSourceConfig
from syncline.connectors.airbyte.source import AirbyteSource
from syncline.core.stream import SelectedStream, SyncMode
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.engine.sync import run_attempt
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.feed import FedBatch
from syncline.sdk.reference import ConnectorReference

TEXT, WHOLE, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
TIME = {"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"}
PROPERTIES: dict[str, dict[str, Any]] = {
    "id": WHOLE,
    "created_at": TIME,
    "updated_at": TIME,
    "name": TEXT,
    "title": TEXT,
    "age": WHOLE,
    "email": TEXT,
    "telephone": TEXT,
    "gender": TEXT,
    "language": TEXT,
    "academic_degree": TEXT,
    "nationality": TEXT,
    "occupation": TEXT,
    "height": TEXT,
    "blood_type": TEXT,
    "weight": NUMBER,
    "address": {"type": "object"},
}


def record(n: int) -> dict[str, Any]:
    return {
        "id": n,
        "created_at": "2008-08-06T18:37:01+00:00",
        "updated_at": f"2026-11-21T12:{n // 60 % 60:02d}:{n % 60:02d}+00:00",
        "name": f"Reda {n}",
        "title": "M.Sc.Tech.",
        "age": 20 + n % 60,
        "email": f"locations{n}+1@example.com",
        "telephone": "+17604982390",
        "gender": "Other",
        "language": "Portuguese",
        "academic_degree": "Master",
        "nationality": "Italian",
        "occupation": "Word Processing Operator",
        "height": "1.55",
        "blood_type": "B-",
        "weight": 50 + n % 400 / 10,
        "address": {
            "city": "Ontario",
            "country_code": "GM",
            "postal_code": "96818",
            "province": "New Jersey",
            "state": "Tennessee",
            "street_name": "Bartlett",
            "street_number": str(n % 1300),
        },
    }


def capture(folder: Path, rows: int) -> list[str]:
    """Write the output of discover and read; the command that replays them."""
    stream = {
        "name": "users",
        "json_schema": {"type": "object", "properties": PROPERTIES},
        "supported_sync_modes": ["full_refresh", "incremental"],
        "source_defined_cursor": True,
        "default_cursor_field": ["updated_at"],
        "source_defined_primary_key": [["id"]],
    }
    (folder / "discover").write_text(json.dumps({"type": "CATALOG", "catalog": {"streams": [stream]}}) + "\n")
    (folder / "check").write_text('{"type":"CONNECTION_STATUS","connectionStatus":{"status":"SUCCEEDED"}}\n')
    who = {"stream_descriptor": {"name": "users"}}
    with (folder / "read").open("w") as file:
        for n in range(rows):
            said = {"stream": "users", "data": record(n), "emitted_at": 1795260000000}
            file.write(json.dumps({"type": "RECORD", "record": said}, separators=(",", ":")) + "\n")
            if n % 10_000 == 9_999:
                own = {"type": "STREAM", "stream": {**who, "stream_state": {"n": n}}}
                file.write(json.dumps({"type": "STATE", "state": own}) + "\n")
        done = {"type": "STREAM_STATUS", "emitted_at": 1.0, "stream_status": {**who, "status": "COMPLETE"}}
        file.write(json.dumps({"type": "TRACE", "trace": done}) + "\n")
    return ["/bin/sh", "-c", f'exec cat "{folder}/$0"']


def replay_null(command: list[str], folder: Path) -> int:
    config = AirbyteSourceConfig(command=tuple(command))
    source = AirbyteSource(config, ConnectorContext(connection="c", work_dir=folder))
    (stream,) = source.discover().streams
    selected = SelectedStream(stream=stream, sync_mode=SyncMode.FULL_REFRESH_OVERWRITE)
    with closing(source.feed([selected], {}, None)) as feed:
        return sum(m.batch.rows for m in feed if isinstance(m, FedBatch))


def replay_parquet(command: list[str], folder: Path) -> int:
    spec = AttemptSpec(
        connection="c",
        source=ConnectorReference(type="airbyte", config={"command": command}),
        destination=ConnectorReference(type="local", config={"destination_path": str(folder / "lake")}),
        choices=None,
        default=StreamChoice(mode="incremental_append"),
        sync_id=new_sync_id(),
        sync_date=now().date(),
        started_at=now(),
        attempt=1,
        work_dir=str(folder),
    )
    result = run_attempt(spec, lambda event: None, LocalExecutor)
    if result.error is not None:
        raise result.error
    return result.streams[0].rows_written


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--to", choices=["parquet", "null"], default="parquet")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = capture(folder, arguments.rows)
        wall, cpu = time.perf_counter(), time.process_time()
        rows = (replay_null if arguments.to == "null" else replay_parquet)(command, folder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert rows == arguments.rows, f"{rows} of {arguments.rows} rows arrived"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows} records to {arguments.to}: {cpu:.2f} s CPU, {wall:.2f} s wall, {peak:.0f} MB peak")
    print(f"{rows / cpu:,.0f} records per second of CPU, {rows / wall:,.0f} per second of wall")


if __name__ == "__main__":
    main()
