"""One run of a destination's ``write``: messages in, and the state that it gives back once they are durable there.

    records of one stream -> a state of ours -> COMPLETE -> end of input        (to the connector)
    our state again, exit code 0                                                 (from the connector)

Only when both have come is what was sent taken for written. Everything else is an error, and then it is not known how
much of it the destination holds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncline.connectors.airbyte.messages import failure, whole
from syncline.connectors.airbyte.process import ConnectorProcess
from syncline.connectors.airbyte.program import Program
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["deliver"]

_LOG_BYTES = 4 << 20


@dataclass
class _Heard:
    """What the connector said so far."""

    echo: Mapping[str, Any] | None = None
    error: SynclineError | None = None
    rejected: int = 0
    kept: float | None = None
    lines: list[str] = field(default_factory=list)
    size: int = 0


def deliver(
    program: Program,
    configured: Mapping[str, Any],
    records: Iterable[bytes],
    *,
    rows: int,
    mark: Mapping[str, Any],
    log: Path,
) -> None:
    """Give the stream ``configured`` these records and wait until they are durable. ``mark`` tells this delivery from
    any other; what the connector says besides is written to the file ``log``. Raises the connector's own error, else
    ``transient``; ``data`` when it refuses records."""
    stream = configured["stream"]
    own = {"name": stream["name"], **({"namespace": stream["namespace"]} if "namespace" in stream else {})}
    files = {"catalog": json.dumps({"streams": [configured]}).encode()}
    heard = _Heard()
    given = _messages(records, own, rows, mark)
    process = program.start(["write", "--config", "config", "--catalog", "catalog"], files, given)
    try:
        with closing(process):
            for lines in process.lines():
                for line in lines:
                    _hear(program, heard, line, own, mark)
                _keep_errors(program, heard, process)
            _keep_errors(program, heard, process)
            code = process.exit_code
    finally:
        log.write_text("".join(line + "\n" for line in heard.lines), encoding="utf-8")
    _judge(heard, code, rows, log)


def _messages(records: Iterable[bytes], own: Mapping[str, Any], rows: int, mark: Mapping[str, Any]) -> Iterator[bytes]:
    yield from records
    state = {
        "type": "STREAM",
        "stream": {"stream_descriptor": dict(own), "stream_state": dict(mark)},
        "sourceStats": {"recordCount": float(rows)},
    }
    status = {"stream_descriptor": dict(own), "status": "COMPLETE"}
    trace = {"type": "STREAM_STATUS", "emitted_at": time.time() * 1000, "stream_status": status}
    for message in ({"type": "STATE", "state": state}, {"type": "TRACE", "trace": trace}):
        yield json.dumps(message).encode() + b"\n"


def _hear(program: Program, heard: _Heard, line: bytes, own: Mapping[str, Any], mark: Mapping[str, Any]) -> None:
    message = whole(line) if line else {}
    if message is None:
        _keep(heard, program.redact(line[:2000].decode(errors="replace").strip()))
        return
    match message.get("type"):
        case "STATE":
            state = message.get("state") or {}
            if (state.get("stream") or {}).get("stream_state") == dict(mark):
                heard.echo = state
                stats = state.get("destinationStats") or {}
                heard.rejected += int(stats.get("rejectedRecordCount") or 0)
                heard.kept = stats.get("recordCount")
        case "TRACE":
            trace = message.get("trace") or {}
            if trace.get("type") == "ERROR":
                said = trace.get("error") or {}
                heard.error = heard.error or failure(said, program.redact)
                _keep(heard, program.redact(str(said.get("stack_trace") or said.get("message"))[:8000]))
        case "LOG":
            said = message.get("log") or {}
            _keep(heard, program.redact(f"{said.get('level')} {said.get('message')}"[:4000]))
        case "CONTROL":
            config = ((message.get("control") or {}).get("connectorConfig") or {}).get("config")
            if isinstance(config, dict):
                program.save(config)
        case _:
            pass  # nothing else has a meaning here


def _keep_errors(program: Program, heard: _Heard, process: ConnectorProcess) -> None:
    for line in process.errors():
        if line:
            _keep(heard, program.redact(line[:4000]))


def _keep(heard: _Heard, line: str) -> None:
    heard.lines.append(line)
    heard.size += len(line)
    while heard.size > _LOG_BYTES:
        heard.size -= len(heard.lines.pop(0))


def _judge(heard: _Heard, code: int | None, rows: int, log: Path) -> None:
    see = f"what it said is in {log}"
    if heard.error is not None:
        raise SynclineError(heard.error.kind, heard.error.message, hint=f"{heard.error.hint}; {see}")
    if code != 0:
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        raise SynclineError(ErrorKind.TRANSIENT, f"the destination's connector {how}", hint=see)
    if heard.echo is None:
        raise SynclineError(
            ErrorKind.TRANSIENT,
            "the destination's connector ended well but never said that the rows are durable",
            hint=f"it must give back the state that follows them; {see}",
        )
    if heard.rejected:
        raise SynclineError(
            ErrorKind.DATA, f"the destination refused {heard.rejected} of {rows} rows", hint=f"for the reasons {see}"
        )
    if heard.kept is not None and int(heard.kept) != rows:
        raise SynclineError(
            ErrorKind.DATA,
            f"the destination says that it keeps {int(heard.kept)} rows of {rows} that it was given",
            hint=f"nothing is taken for written; {see}",
        )
