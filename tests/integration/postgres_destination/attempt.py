"""Whole attempts, each in a process of its own, to be killed at a fail point.

Reads one attempt per line of JSON, forks for it (the imports are paid for once), and answers with its wait status.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from tests.integration.postgres_destination.harness import Run, destination, orders, target

from syncline.core.stream import WriteMode

MODES: dict[str, dict[str, Any]] = {
    "replace": {"write": WriteMode.REPLACE},
    "deduped": {"write": WriteMode.REPLACE, "dedupe": True, "primary_key": ("id",), "cursor_field": "changed"},
    "append": {"write": WriteMode.APPEND},
    "merge": {"write": WriteMode.MERGE, "primary_key": ("id",), "cursor_field": "changed"},
}


def attempt(dsn: dict[str, Any], mode: str, round_number: int) -> None:
    """Three partitions; one row of them cannot be held, keys repeat across them."""
    base = round_number * 100
    parts = {
        "a": [orders((base + 1, f"a{round_number}", None, 1), (base + 2, "b"))],
        "b": [orders((base + 1, f"c{round_number}", None, 2), (base + 3, "nul\0"))],
        "c": [orders((base + 4, "d"))],
    }
    aim = target(generation=round_number, sync_id=f"s{round_number}", **MODES[mode])
    with destination(dsn) as made:
        Run(made, aim, parts, f"plan{round_number}").all()


def main() -> None:
    for line in sys.stdin:
        spec = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                if point := spec.pop("point"):
                    os.environ["SYNCLINE_FAILPOINT"] = point
                attempt(**spec)
                os._exit(0)
            except BaseException:  # noqa: BLE001  (a forked child must not go on with the loop)
                traceback.print_exc()
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
