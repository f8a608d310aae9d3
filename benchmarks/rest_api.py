"""Records per second of CPU time through the source `rest_api`, from answers of a local server to Arrow batches.

    python benchmarks/rest_api.py [RECORDS]

The server runs in a process of its own and gives prepared pages, so that what is measured is ours: requests, pages cut
into records, the cursor looked at, Arrow. Prints one JSON line for each kind of reading.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from syncline.core.stream import SelectedStream, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.feed import FedBatch, FedDone
from syncline.sdk.reference import ConnectorReference, open_source
from syncline.testing.saas.api_server import ApiServer, Asked

PAGE = 1000
SCHEMA = {
    "properties": {
        "id": {"type": "integer"},
        "email": {"type": "string"},
        "name": {"type": "string"},
        "amount": {"type": "number"},
        "active": {"type": "boolean"},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"},
        "address": {"type": "object"},
        "tags": {"type": "array"},
    }
}


def record(number: int) -> dict[str, Any]:
    at = f"2026-01-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z"
    return {
        "id": number,
        "email": f"user{number}@example.com",
        "name": f"User Number {number}",
        "amount": number / 7,
        "active": number % 2 == 0,
        "created_at": at,
        "updated_at": at,
        "address": {"street": f"{number} Main Street", "city": "Springfield", "zip": "12345"},
        "tags": ["a", "b", str(number % 10)],
    }


def serve(count: int, ready: Connection) -> None:
    page = json.dumps([record(i) for i in range(PAGE)])[1:-1].encode()

    def answer(asked: Asked) -> bytes:
        start = int(asked.query.get("cursor", 0))
        following = str(start + PAGE) if start + PAGE < count else "null"
        # A number of its own in each page: the same page twice would be taken for a mistake in the paging.
        own = page.replace(b'"id": 0,', f'"id": {start},'.encode(), 1)
        return b'{"next": ' + following.encode() + b', "data": [' + own + b"]}"

    with ApiServer(answer) as api:
        ready.send(api.url)
        ready.recv()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(count, theirs), daemon=True)
    server.start()
    url = ours.recv()
    for kind, more in (
        ("full refresh", {}),
        ("incremental", {"incremental": {"cursor_field": "updated_at", "parameter": "since"}}),
    ):
        config = {
            "url": f"{url}/things",
            "pagination": {"type": "cursor", "cursor_path": "next", "page_size": PAGE},
            "schema": SCHEMA,
            "primary_key": "id",
            **more,
        }
        with tempfile.TemporaryDirectory() as folder:
            context = ConnectorContext(connection="bench", work_dir=Path(folder))
            with closing(open_source(ConnectorReference(type="rest_api", config=config), context)) as source:
                (stream,) = source.discover().streams
                mode = SyncMode.INCREMENTAL_APPEND if more else SyncMode.FULL_REFRESH_OVERWRITE
                selected = SelectedStream(stream=stream, sync_mode=mode, primary_key=("id",))
                begun, cpu, rows = time.perf_counter(), time.process_time(), 0
                with closing(source.feed([selected], {}, None)) as feed:  # type: ignore[attr-defined]
                    for message in feed:
                        if isinstance(message, FedBatch):
                            rows += message.batch.rows
                        elif isinstance(message, FedDone) and message.error is not None:
                            raise message.error
                spent, wall = time.process_time() - cpu, time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        figures = {
            "records": rows,
            "per_cpu_second": round(rows / spent),
            "per_second": round(rows / wall),
            "peak_mb": peak,
        }
        print(json.dumps({"reading": kind, **figures}))
    ours.send("stop")
    server.join(10)


if __name__ == "__main__":
    main()
