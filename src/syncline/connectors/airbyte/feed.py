"""One run of a connector's ``read``: its messages as the engine wants them.

Records are gathered per stream as bytes and become Arrow batches when there are many, when they have waited for long,
and before each state that covers them, so that the order of a stream's records and states stays what it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from syncline.connectors.airbyte.messages import Record, envelope, envelopes, failure, whole
from syncline.connectors.airbyte.process import ConnectorProcess
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.sdk.feed import FedBatch, FedDone, FedLog, FedMessage, FedState
from syncline.sdk.records.reader import RecordReader

__all__ = ["ConnectorFeed"]

_ROWS, _BYTES, _SECONDS = 50_000, 16 << 20, 5.0
_LEVELS = {"FATAL": "ERROR", "ERROR": "ERROR", "WARN": "WARN", "INFO": "INFO"}


class _Gathered:
    """Records of one stream that wait."""

    def __init__(self, name: StreamName, reader: RecordReader) -> None:
        self.name, self.reader = name, reader
        self.records: list[Any] = []
        self.bytes = 0
        self.since = 0.0

    def empty(self) -> FedBatch:
        records, self.records, self.bytes = self.records, [], 0
        return FedBatch(stream=self.name, batch=self.reader.batch(records))


class ConnectorFeed:
    """Made with a started process, which it ends. ``save`` keeps a configuration that the connector has changed."""

    def __init__(
        self,
        process: ConnectorProcess,
        readers: Mapping[StreamName, RecordReader],
        declared: Mapping[StreamName, Sequence[str]],
        *,
        save: Callable[[Mapping[str, Any]], None],
        redact: Callable[[str], str],
    ) -> None:
        self._process, self._save, self._redact = process, save, redact
        self._streams = {(n.namespace, n.name): _Gathered(n, r) for n, r in readers.items()}
        self._declared = {n: set(names) for n, names in declared.items()}
        self._status: dict[StreamName, str] = {}
        self._errors: dict[StreamName | None, SynclineError] = {}
        self._unknown: dict[str, int] = {}
        self._noticed: set[tuple[StreamName, str]] = set()

    def close(self) -> None:
        self._process.close()

    def __iter__(self) -> Iterator[FedMessage]:
        for block in self._process.blocks():
            yield from self._block(block)
            now = time.monotonic()
            for gathered in self._streams.values():
                if gathered.records and now - gathered.since > _SECONDS:
                    yield from self._emit(gathered)
            yield from self._stderr()
        for gathered in self._streams.values():
            yield from self._emit(gathered)
        yield from self._stderr()
        yield from self._last_words()

    def _block(self, block: bytes) -> Iterator[FedMessage]:
        """Nearly always all lines are messages, and nearly all of these records: they are decoded at one go."""
        found = envelopes(block)
        if found is None:
            yield from self._lines(block.split(b"\n"))
            return
        size = len(block) // len(found) + 1
        lines: list[bytes] | None = None
        for number, each in enumerate(found):
            if each.record is not None and each.type == "RECORD":
                if due := self._gather(each.record, size):
                    yield from due
                continue
            lines = block.split(b"\n") if lines is None else lines
            yield from self._other(lines[number])

    def _lines(self, lines: list[bytes]) -> Iterator[FedMessage]:
        for line in lines:
            if not line or line.isspace():
                continue
            try:
                found = envelope(line)
            except msgspec.MsgspecError:
                found = None
            if found is None or found.type != "RECORD" or found.record is None:
                yield from self._other(line)
            else:
                yield from self._gather(found.record, len(line))

    def _other(self, line: bytes) -> Iterator[FedMessage]:
        message = whole(line)
        if message is None:
            yield FedLog(level="INFO", message=self._redact(line[:2000].decode(errors="replace").strip()))
        else:
            yield from self._message(message)

    def _gather(self, record: Record, size: int) -> Iterable[FedMessage]:
        """Put a record to the others of its stream; gives what is due with it, usually nothing."""
        gathered = self._streams.get((record.namespace, record.stream))
        if gathered is None:
            return self._stranger(record.namespace, record.stream)
        if not gathered.records:
            gathered.since = time.monotonic()
        gathered.records.append(record.data)
        gathered.bytes += size
        if gathered.bytes >= _BYTES or len(gathered.records) >= _ROWS:
            return self._emit(gathered)
        return ()

    def _emit(self, gathered: _Gathered) -> Iterator[FedMessage]:
        if gathered.records:
            yield from self._notice(gathered)
            yield gathered.empty()

    def _message(self, message: Mapping[str, Any]) -> Iterator[FedMessage]:
        match message["type"]:
            case "STATE":
                yield from self._state(message.get("state") or {})
            case "TRACE":
                yield from self._trace(message.get("trace") or {})
            case "LOG":
                log = message.get("log") or {}
                level = _LEVELS.get(str(log.get("level")), "DEBUG")
                yield FedLog(level=level, message=self._redact(str(log.get("message"))[:4000]))
            case "CONTROL":
                config = ((message.get("control") or {}).get("connectorConfig") or {}).get("config")
                if isinstance(config, dict):
                    self._save(config)
                    yield FedLog(level="INFO", message="the connector has changed its configuration; it is saved")
            case _:
                pass  # spec, catalog and the like have no meaning in a read

    def _state(self, state: Mapping[str, Any]) -> Iterator[FedMessage]:
        stats = state.get("sourceStats") or {}
        records = stats.get("recordCount")
        count = None if records is None else int(records)
        kind = state.get("type") or "LEGACY"
        if kind == "STREAM":
            part = state.get("stream") or {}
            name = _name(part.get("stream_descriptor") or {})
            gathered = self._streams.get((name.namespace, name.name))
            if gathered is None:
                yield from self._stranger(name.namespace, name.name)
                return
            yield from self._emit(gathered)
            yield FedState(stream=name, position=part.get("stream_state"), records=count)
            return
        for gathered in self._streams.values():
            yield from self._emit(gathered)
        if kind == "GLOBAL":
            common = state.get("global") or {}
            own = {_name(s["stream_descriptor"]): s.get("stream_state") for s in common.get("stream_states") or ()}
            position = {"type": "GLOBAL", "shared_state": common.get("shared_state")}
            yield FedState(stream=None, position=position, streams=own, records=count)
        else:
            yield FedState(stream=None, position={"type": "LEGACY", "data": state.get("data")}, records=count)

    def _trace(self, trace: Mapping[str, Any]) -> Iterator[FedMessage]:
        match trace.get("type"):
            case "ERROR":
                said = trace.get("error") or {}
                descriptor = said.get("stream_descriptor")
                name = _name(descriptor) if descriptor else None
                error = failure(said, self._redact)
                self._errors.setdefault(name, error)
                yield FedLog(level="ERROR", message=str(error), stream=name)
                if said.get("stack_trace"):
                    yield FedLog(level="DEBUG", message=self._redact(str(said["stack_trace"])[:8000]), stream=name)
            case "STREAM_STATUS":
                status = trace.get("stream_status") or {}
                name = _name(status.get("stream_descriptor") or {})
                self._status[name] = str(status.get("status"))
                for reason in status.get("reasons") or ():
                    yield FedLog(level="INFO", message=f"the connector says: {reason.get('type')}", stream=name)
            case "ESTIMATE":
                found = trace.get("estimate") or {}
                text = f"about {found.get('row_estimate')} records of {found.get('name')}"
                yield FedLog(level="DEBUG", message=self._redact(text))
            case _:
                pass  # analytics

    def _stranger(self, namespace: str | None, name: str) -> Iterator[FedMessage]:
        full = str(StreamName(namespace=namespace, name=name))
        self._unknown[full] = self._unknown.get(full, 0) + 1
        if self._unknown[full] == 1:
            yield FedLog(level="WARN", message=f"the connector sends a stream that was not asked for: {full}")

    def _notice(self, gathered: _Gathered) -> Iterator[FedMessage]:
        """Columns that the catalog did not declare, as the first record of a batch shows them."""
        known = self._declared[gathered.name]
        if not known:
            return
        first = msgspec.json.decode(gathered.records[0], type=dict[str, msgspec.Raw])
        for column in sorted(set(first) - known):
            if (gathered.name, column) not in self._noticed:
                self._noticed.add((gathered.name, column))
                message = f"column {column} is not in the connector's catalog and is left out"
                yield FedLog(level="WARN", message=message, stream=gathered.name)

    def _stderr(self) -> Iterator[FedMessage]:
        for line in self._process.errors():
            if line:
                yield FedLog(level="INFO", message=self._redact(line[:4000]))

    def _last_words(self) -> Iterator[FedMessage]:
        for name, count in self._unknown.items():
            yield FedLog(level="WARN", message=f"{count} messages of {name} were left out: it was not asked for")
        for gathered in self._streams.values():
            reader = gathered.reader
            for column in sorted({*reader.turned, *reader.set_aside}):
                turned, aside = reader.turned[column], reader.set_aside[column]
                if turned or aside:
                    message = (
                        f"column {column}: {turned + aside} values were not of their declared type; {turned} were "
                        f"turned into it without loss, {aside} set aside with their rows"
                    )
                    yield FedLog(level="WARN", message=message, stream=gathered.name)
        code = self._process.exit_code
        if code == 0 and not self._status:
            message = "the connector says no stream status: that it ended well counts as complete"
            yield FedLog(level="WARN", message=message)
        for gathered in self._streams.values():
            yield FedDone(stream=gathered.name, error=self._end_of(gathered.name, code))

    def _end_of(self, name: StreamName, code: int | None) -> SynclineError | None:
        known = self._errors.get(name) or self._errors.get(None)
        status = self._status.get(name)
        if code == 0 and (status == "COMPLETE" or not self._status):
            return self._errors.get(name)
        if code == 0:
            said = f"says {status}" if status else "says nothing of its end"
            other = SynclineError(ErrorKind.TRANSIENT, f"the connector ended well but {said} for this stream")
        elif code is not None and code < 0:
            other = SynclineError(
                ErrorKind.TRANSIENT,
                f"the connector was killed by signal {-code}",
                hint="by the system's lack of memory, or by somebody; raise memory_limit_mb if it asks for more",
            )
        else:
            other = SynclineError(ErrorKind.TRANSIENT, f"the connector ended with exit code {code}")
        found = known or next(iter(self._errors.values()), None)
        return other if found is None else SynclineError(found.kind, found.message, hint=found.hint)


def _name(descriptor: Mapping[str, Any]) -> StreamName:
    return StreamName(namespace=descriptor.get("namespace"), name=str(descriptor.get("name")))
