"""A look at one or both ends in a process of its own: ``python -m syncline.service.probe``, with what to do as JSON on
its standard input and the answer as JSON on its standard output.

The server starts one for each look, so that drivers, secrets that references lead to, and servers that never answer
stay out of its own process. Secrets travel through the pipe only.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.reference import ConnectorReference, open_destination, open_source
from syncline.settings import Settings

__all__ = ["main"]


def main() -> int:
    """Always answers; the exit code is 0 unless the process itself failed."""
    gc.set_threshold(10_000, 20, 20)
    request = json.loads(sys.stdin.buffer.read())
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        answer = {"answer": _answer(request)}
    except SynclineError as error:
        answer = {"error": error.to_json()}
    except Exception as error:  # noqa: BLE001 - a connector's defect is told like any other failure
        defect = SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}", hint="please report this")
        answer = {"error": defect.to_json()}
    # Drivers may have written to it: the answer is the last line.
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0


def _end_with(parent: int) -> None:
    """Nobody waits for the answer once the server is gone, and a comparison could go on for hours."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _answer(request: Mapping[str, Any]) -> Any:
    settings = Settings(home=Path(request["home"]), keep_runs=request["keep_runs"])
    if request["task"] in ("check", "discover"):
        return _look(request, settings)
    # A check and a discovery, for which people and clients wait, do without what these bring: a third of their time.
    from syncline.service.probe_tasks import carry_out
    from syncline.service.project import Connection, SyncBlock

    connection = Connection(
        name=request["connection"]["name"],
        source=ConnectorReference.from_json(request["connection"]["source"]),
        destination=ConnectorReference.from_json(request["connection"]["destination"]),
        sync=SyncBlock.model_validate(request["connection"]["sync"]),
    )
    return carry_out(connection, settings, request)


def _look(request: Mapping[str, Any], settings: Settings) -> Any:
    reference = ConnectorReference.from_json(request["reference"])
    context = ConnectorContext(connection="syncline-check", work_dir=settings.scratch(f"probe-{request['id']}"))
    if request["role"] == "destination":
        with closing(open_destination(reference, context)) as destination:
            return [finding.to_json() for finding in destination.check()]
    with closing(open_source(reference, context)) as source:
        if request["task"] == "discover":
            return source.discover().to_json()
        return [finding.to_json() for finding in source.check()]


if __name__ == "__main__":
    sys.exit(main())
