"""The source as the run of one destination sees it: like any other, and behind it the hub."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from syncline.core.batch import Batch, Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import Catalog, SelectedStream, StreamName, SyncMode
from syncline.engine.fanout.recording import Item
from syncline.sdk.change_log import ChangeLog
from syncline.sdk.feed import FedBatch, FedDone, FedInto, FedLog, FedMessage, FedState, Feed, ReadsFeed
from syncline.sdk.findings import Finding
from syncline.sdk.mapping import mapped_source
from syncline.sdk.reference import ConnectorReference
from syncline.sdk.source import Source

if TYPE_CHECKING:
    from syncline.engine.fanout.hub import Hub

__all__ = ["source_for"]


def source_for(
    hub: Hub, destination: str, reference: ConnectorReference, stop: threading.Event | None = None
) -> Source:
    """With the abilities of the hub's source that can be shared; undecoded bytes suit one destination alone. ``stop``
    ends what is read."""
    stop = stop or threading.Event()
    made: _Shared
    if isinstance(hub.source, ReadsFeed):
        made = _SharedFeed(hub, destination, stop)
    elif hub.log is not None:
        made = _SharedChanges(hub, destination, stop)
    else:
        made = _Shared(hub, destination, stop)
    return mapped_source(made, reference.mappings) if reference.mappings else made


class _Shared:
    def __init__(self, hub: Hub, destination: str, stop: threading.Event) -> None:
        self._hub, self._destination, self._stop = hub, destination, stop

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        names = ",".join(sorted(str(s.name) for s in selection))
        return self._hub.once(self._destination, f"check {names}", lambda: self._hub.source.check(selection))

    def discover(self) -> Catalog:
        return self._hub.discover(self._destination)

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        return self._hub.plan(self._destination, selected, "copy", lambda source: source.snapshot(selected))

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        since = f"since {json.dumps(position, sort_keys=True)}"
        return self._hub.plan(self._destination, selected, since, lambda source: source.read_since(selected, position))

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        def read() -> Iterator[Item]:
            with closing(cast(Any, self._hub.source.read(selected, partition))) as batches:
                for batch in batches:
                    yield _batch_item(batch)

        recording = self._hub.partition(self._destination, selected, partition, read)
        if recording is None:
            with closing(cast(Any, self._hub.source.read(selected, partition))) as batches:
                for batch in batches:
                    _ensure_wanted(self._stop)
                    yield batch
            return
        with closing(cast(Any, recording.items())) as items:
            for item in items:
                _ensure_wanted(self._stop)
                yield _item_batch(item)
        self._hub.swept()

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        self._hub.acknowledge(self._destination, selected, position)

    def close(self) -> None:
        """The hub's source is the hub's."""


class _SharedChanges(_Shared):
    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        """One copy for all. Where one destination takes changes as rows, the copy must leave out what the log brings
        (each change is there once); who merges them gets the same rows from the log, or asks for them by key."""
        if not selected.sync_mode.incremental:
            return super().snapshot(selected)
        exact = replace(selected, sync_mode=SyncMode.INCREMENTAL_APPEND)
        return self._hub.plan(self._destination, exact, "copy", lambda source: source.snapshot(exact))

    def change_log(self, selection: Sequence[SelectedStream]) -> ChangeLog | None:
        return self._hub.change_log(self._destination, selection)


class _SharedFeed(_Shared):
    def feed(
        self,
        selection: Sequence[SelectedStream],
        positions: Mapping[StreamName, Any],
        shared: Any | None,
        into: Mapping[StreamName, FedInto] | None = None,
    ) -> Feed:
        source = cast(ReadsFeed, self._hub.source)
        states = {str(name): position for name, position in positions.items()}
        what = json.dumps([[s.to_json() for s in selection], states, shared], sort_keys=True)

        def read() -> Iterator[Item]:
            with closing(source.feed(selection, positions, shared, into)) as feed:
                for message in feed:
                    yield _message_item(message)

        recording = self._hub.feed(self._destination, what, read)
        if recording is None:
            return source.feed(selection, positions, shared, into)
        return _RecordedFeed(recording.items(), self._hub, self._stop)

    def resumes(self, selected: SelectedStream) -> bool:
        return cast(ReadsFeed, self._hub.source).resumes(selected)


class _RecordedFeed:
    """A :class:`~syncline.sdk.feed.Feed`."""

    def __init__(self, items: Iterator[Item], hub: Hub, stop: threading.Event) -> None:
        self._items, self._hub, self._stop = items, hub, stop

    def __iter__(self) -> Iterator[FedMessage]:
        for item in self._items:
            _ensure_wanted(self._stop)
            yield _item_message(item)
        self._hub.swept()

    def close(self) -> None:
        cast(Any, self._items).close()


def _ensure_wanted(stop: threading.Event) -> None:
    if stop.is_set():
        raise SynclineError(
            ErrorKind.TRANSIENT, "the attempt was told to end", hint="run it again: it goes on where it was"
        )


def _batch_item(batch: Batch) -> Item:
    misfits = [[m.row, m.column, m.text, m.reason, m.rule] for m in batch.misfits]
    return {"misfits": misfits} if misfits else {}, batch.data


def _item_batch(item: Item) -> Batch:
    header, data = item
    assert data is not None
    misfits = tuple(
        Misfit(row=row, column=column, text=text, reason=reason, rule=rule)
        for row, column, text, reason, rule in header.get("misfits", ())
    )
    return Batch(data=data, misfits=misfits)


def _message_item(message: FedMessage) -> Item:
    name = None if message.stream is None else message.stream.to_json()
    match message:
        case FedBatch():
            header, data = _batch_item(message.batch)
            return {**header, "fed": "batch", "stream": name}, data
        case FedState():
            streams = [[n.to_json(), state] for n, state in message.streams.items()]
            said = {"position": message.position, "streams": streams, "records": message.records}
            return {"fed": "state", "stream": name, **said}, None
        case FedDone():
            return {"fed": "done", "stream": name, "error": message.error.to_json() if message.error else None}, None
        case FedLog():
            return {"fed": "log", "stream": name, "level": message.level, "message": message.message}, None


def _item_message(item: Item) -> FedMessage:
    header, _ = item
    name = None if header["stream"] is None else StreamName.from_json(header["stream"])
    match header["fed"]:
        case "batch":
            return FedBatch(stream=cast(StreamName, name), batch=_item_batch(item))
        case "state":
            return FedState(
                stream=name,
                position=header["position"],
                streams={StreamName.from_json(n): state for n, state in header["streams"]},
                records=header["records"],
            )
        case "done":
            error = SynclineError.from_json(header["error"]) if header["error"] else None
            return FedDone(stream=cast(StreamName, name), error=error)
    return FedLog(stream=name, level=header["level"], message=header["message"])
