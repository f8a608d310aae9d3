"""Use case: try whether a configured source keeps the contracts, whatever it is: ours, yours, or one of Airbyte's.

Only what can be tried without writing anything at the source; the whole suite, which makes and changes rows, is
:mod:`syncline.testing.conformance`, and runs as the connector's own tests.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import SelectedStream, Stream, StreamName, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.feed import FedBatch, FedDone, FedState, ReadsFeed
from syncline.sdk.findings import Severity
from syncline.sdk.reference import ConnectorReference, open_source
from syncline.sdk.source import Source
from syncline.service.yaml_text import YAMLError, load_yaml

__all__ = ["Tried", "probe", "source_in"]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One promise: what it is, of which stream (None: of the source), and how it was broken."""

    what: str
    stream: str | None = None
    problem: str = ""

    @property
    def good(self) -> bool:
        return not self.problem

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "stream": self.stream, "good": self.good, "problem": self.problem}


def source_in(path: Path) -> ConnectorReference:
    """The source of a YAML file: a project's, or ``type`` and ``config`` alone. Raises ``config``."""
    try:
        data = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise SynclineError(ErrorKind.CONFIG, f"{path} cannot be read: {error}", hint="check the file") from None
    block = data.get("source", data) if isinstance(data, Mapping) else None
    if not isinstance(block, Mapping) or not isinstance(block.get("type"), str):
        raise SynclineError(
            ErrorKind.CONFIG, f"{path} names no source", hint="write source: {type: …, config: {…}}, or these two alone"
        )
    return ConnectorReference(type=block["type"], config=block.get("config") or {})


def probe(reference: ConnectorReference, *, streams: int) -> Iterator[Tried]:
    """Try the source and its first ``streams`` streams, one finding after the other. An error that ends everything is
    a finding too."""
    with tempfile.TemporaryDirectory(prefix="syncline-conformance-") as folder:
        context = ConnectorContext(connection="conformance", work_dir=Path(folder))
        try:
            with closing(open_source(reference, context)) as source:
                yield from _source(source, streams)
        except SynclineError as error:
            yield Tried(what="no error ends the run", problem=str(error))


def _source(source: Source, streams: int) -> Iterator[Tried]:
    errors = [f.message for f in source.check() if f.severity is Severity.ERROR]
    yield Tried(what="check finds no error", problem="; ".join(errors))
    catalog = source.discover()
    again = source.discover()
    yield Tried(what="discover is stable", problem="" if catalog == again else "two answers differ")
    names = [s.name for s in catalog.streams]
    yield Tried(what="streams come in the order of their names", problem="" if names == sorted(names) else f"{names}")
    unlike = [str(s.name) for s in catalog.streams if Stream.from_json(s.to_json()) != s]
    yield Tried(what="streams are plain data", problem=", ".join(unlike))
    chosen = [_selected(s) for s in catalog.streams[:streams]]
    if isinstance(source, ReadsFeed):
        yield from _fed(source, chosen)
        return
    for selected in chosen:
        try:
            yield from _planned(source, selected)
        except SynclineError as error:
            yield Tried(what="it can be read", stream=str(selected.name), problem=str(error))


def _selected(stream: Stream, mode: SyncMode = SyncMode.FULL_REFRESH_OVERWRITE) -> SelectedStream:
    cursor = None if stream.source_defined_cursor or not stream.cursor_fields else stream.cursor_fields[0]
    return SelectedStream(
        stream=stream,
        sync_mode=mode,
        cursor_field=cursor if mode.incremental else None,
        primary_key=stream.primary_key,
    )


# -- sources with plans ---------------------------------------------------------------------------------------------


def _planned(source: Source, selected: SelectedStream) -> Iterator[Tried]:
    name = str(selected.name)
    plan = source.snapshot(selected)
    like = ReadPlan.from_json(plan.to_json()) == plan
    yield Tried(what="a plan is plain data", stream=name, problem="" if like else "JSON does not keep it")
    rows: Counter[bytes] = Counter()
    problem = ""
    for partition in plan.partitions:
        found, wrong = _read(source, selected, partition)
        rows += found
        problem = problem or wrong
    yield Tried(what=f"{sum(rows.values())} rows have the agreed columns", stream=name, problem=problem)
    if plan.partitions:
        first, _ = _read(source, selected, plan.partitions[0])
        again, _ = _read(source, selected, plan.partitions[0])
        yield Tried(
            what="a partition gives the same rows again",
            stream=name,
            problem="" if first == again else f"{sum(first.values())} rows, then {sum(again.values())}, not the same",
        )
        batches = cast(Any, source.read(selected, plan.partitions[0]))
        next(batches, None)
        batches.close()
        yield Tried(what="a reader can stop early", stream=name)
    if key := selected.primary_key:
        yield _keyed(source, selected, plan, key)
    if selected.stream.incremental and (selected.stream.cursor_fields or selected.stream.source_defined_cursor):
        yield from _continued(source, _selected(selected.stream, SyncMode.INCREMENTAL_APPEND))


def _continued(source: Source, selected: SelectedStream) -> Iterator[Tried]:
    name = str(selected.name)
    plan = source.snapshot(selected)
    if "lsn" in plan.end:
        return  # continued by a log, which is tried by its own suite
    since = source.read_since(selected, plan.end)
    rows = sum(sum(_read(source, selected, p)[0].values()) for p in since.partitions)
    yield Tried(what=f"an increment follows the copy ({rows} rows are new)", stream=name)


def _keyed(source: Source, selected: SelectedStream, plan: ReadPlan, key: Sequence[str]) -> Tried:
    keys: Counter[bytes] = Counter()
    for partition in plan.partitions:
        for batch in source.read(selected, partition):
            keys += _rows(batch.data.select(list(key)))
    double = sum(1 for count in keys.values() if count > 1)
    return Tried(
        what="the primary key names each row once",
        stream=str(selected.name),
        problem=f"{double} keys come more than once" if double else "",
    )


def _read(source: Source, selected: SelectedStream, partition: Partition) -> tuple[Counter[bytes], str]:
    rows: Counter[bytes] = Counter()
    problem = ""
    for batch in source.read(selected, partition):
        problem = problem or _wrong(batch.data, selected)
        rows += _rows(batch.data)
    return rows, problem


def _wrong(data: pa.RecordBatch, selected: SelectedStream) -> str:
    wanted = selected.stream.schema.arrow()
    if not data.schema.equals(wanted):
        return f"a batch has {data.schema.names} with {data.schema.types}; discover said {wanted}"
    try:
        data.validate(full=True)
    except pa.ArrowInvalid as error:
        return f"a batch is not valid Arrow: {error}"
    return ""


def _rows(data: pa.RecordBatch) -> Counter[bytes]:
    """Rows as digests, so that many fit into memory."""
    return Counter(hashlib.blake2b(repr(row).encode(), digest_size=12).digest() for row in data.to_pylist())


# -- fed sources ------------------------------------------------------------------------------------------------------


def _fed(source: ReadsFeed, chosen: Sequence[SelectedStream]) -> Iterator[Tried]:
    modes = [SyncMode.INCREMENTAL_APPEND if s.stream.incremental else s.sync_mode for s in chosen]
    selection = [_selected(s.stream, mode) for s, mode in zip(chosen, modes, strict=True)]
    states: dict[StreamName, Any] = {}
    shared: Any = None
    counts: Counter[StreamName] = Counter()
    wrong: dict[StreamName, str] = {}
    ended: dict[StreamName, str] = {}
    by_name = {s.name: s for s in selection}
    with closing(source.feed(selection, {}, None)) as feed:
        for message in feed:
            if isinstance(message, FedBatch):
                counts[message.stream] += message.batch.rows
                if problem := _wrong(message.batch.data, by_name[message.stream]):
                    wrong.setdefault(message.stream, problem)
            elif isinstance(message, FedState):
                if message.stream is None:
                    shared, states = message.position, {**states, **message.streams}
                else:
                    states[message.stream] = message.position
            elif isinstance(message, FedDone):
                ended[message.stream] = str(message.error or "")
    for name in by_name:
        text = str(name)
        yield Tried(what=f"{counts[name]} rows have the agreed columns", stream=text, problem=wrong.get(name, ""))
        problem = ended.get(name, "nothing was said of its end")
        yield Tried(what="it is read to its end", stream=text, problem=problem)
    if states or shared is not None:
        yield from _fed_again(source, selection, states, shared)
    with closing(source.feed(selection, {}, None)) as feed:
        next(iter(feed), None)
    yield Tried(what="a reader can stop early")


def _fed_again(
    source: ReadsFeed, selection: Sequence[SelectedStream], states: Mapping[StreamName, Any], shared: Any
) -> Iterator[Tried]:
    counts: Counter[StreamName] = Counter()
    ended: dict[StreamName, str] = {}
    with closing(source.feed(selection, states, shared)) as feed:
        for message in feed:
            if isinstance(message, FedBatch):
                counts[message.stream] += message.batch.rows
            elif isinstance(message, FedDone):
                ended[message.stream] = str(message.error or "")
    for name in states:
        what = f"it goes on from its state ({counts[name]} rows)"
        yield Tried(what=what, stream=str(name), problem=ended.get(name, "nothing was said of its end"))
