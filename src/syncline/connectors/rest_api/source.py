"""The source ``rest_api``."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from syncline.connectors.rest_api.auth_config import Auth, OAuth2Auth
from syncline.connectors.rest_api.client import Client
from syncline.connectors.rest_api.columns import KeptColumns, inferred
from syncline.connectors.rest_api.config import RestApiConfig, StreamConfig
from syncline.connectors.rest_api.feed import RestFeed, StreamJob
from syncline.connectors.rest_api.paging import resumes
from syncline.connectors.rest_api.reading import Reading
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import Catalog, SelectedStream, Stream, StreamName
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.feed import FedInto, FedSource
from syncline.sdk.findings import Finding, Severity
from syncline.sdk.own_config import OwnConfig
from syncline.sdk.records.json_schema import WHOLE, schema_of
from syncline.settings import load_settings

__all__ = ["RestApiSource"]

#: A sample is bounded in requests too.
_SAMPLED_PAGES, _SAMPLED_PARENTS = 20, 10


class RestApiSource(FedSource):
    """Discovering costs a few requests per stream whose columns are neither declared nor known from before."""

    def __init__(self, config: RestApiConfig, context: ConnectorContext) -> None:
        self._config, self._context = config, context
        self._streams = {s.name: s for s in config.all_streams()}
        self._own = _tokens(config.auth)
        self._kept = KeptColumns(context.work_dir)
        self._stop = threading.Event()
        self._client = Client(config, self._own, self._stop)  # for looking; a feed has its own
        self._columns: dict[str, StreamSchema] = {}

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        found = []
        for name in [s.name.name for s in selection] or list(self._streams):
            try:
                first = self._sample(self._streams[name], 1)
            except SynclineError as error:
                found.append(
                    Finding(
                        severity=Severity.ERROR, kind=error.kind, message=error.message, hint=error.hint, stream=name
                    )
                )
                if error.kind in (ErrorKind.AUTH, ErrorKind.UNREACHABLE):
                    break  # the others would say the same
                continue
            said = "answers" if first else "answers, and has no records now"
            found.append(Finding(severity=Severity.OK, message=f"the API {said}", stream=name))
        return found

    def discover(self) -> Catalog:
        return Catalog(streams=tuple(self._stream(self._streams[name]) for name in sorted(self._streams)))

    def resumes(self, selected: SelectedStream) -> bool:
        stream = self._streams[selected.name.name]
        return stream.parent is not None or resumes(stream.pagination)

    def feed(
        self,
        selection: Sequence[SelectedStream],
        positions: Mapping[StreamName, Any],
        shared: Any | None,
        into: Mapping[StreamName, FedInto] | None = None,
    ) -> RestFeed:
        stop = threading.Event()
        client = Client(self._config, self._own, stop)
        jobs = []
        for selected in selection:
            stream = self._streams[selected.name.name]
            columns = frozenset(self._schema(stream).names)
            jobs.append(
                StreamJob(
                    name=selected.name,
                    reading=Reading(stream, self._streams, self._config.address(), client),
                    state=positions.get(selected.name),
                    incremental=selected.sync_mode.incremental,
                    schema=selected.stream.schema,
                    columns=columns,
                    extra=self._extra(columns),
                    whole=columns == {WHOLE},
                )
            )
        return RestFeed(jobs, client, stop, side_by_side=self._context.concurrency)

    def close(self) -> None:
        self._stop.set()
        self._client.close()

    def _sample(self, stream: StreamConfig, limit: int) -> list[Any]:
        records: list[Any] = []
        reading = Reading(stream, self._streams, self._config.address(), self._client)
        for pages, chunk in enumerate(reading.read(None, incremental=False, parents=_SAMPLED_PARENTS)):
            records += chunk.records
            if len(records) >= limit or pages >= _SAMPLED_PAGES:
                break
        return records[:limit]

    def _schema(self, stream: StreamConfig) -> StreamSchema:
        if stream.name in self._columns:
            return self._columns[stream.name]
        if stream.json_schema is not None:
            schema = schema_of(stream.json_schema)
        elif (kept := self._kept.get(stream)) is not None:
            schema = kept
        else:
            records = self._sample(stream, self._config.sample_records)
            schema = inferred(records, stream)
            if records:  # an empty stream is looked at again the next time
                self._kept.put(stream, schema)
        self._columns[stream.name] = schema
        return schema

    def _extra(self, columns: frozenset[str]) -> str | None:
        name = self._config.extra_column
        return None if name is None or name in columns or columns == {WHOLE} else name

    def _stream(self, stream: StreamConfig) -> Stream:
        schema = self._schema(stream)
        if missing := [k for k in stream.primary_key if k not in schema.names]:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"primary_key: the records have no field {missing[0]!r}",
                hint=f"they have: {', '.join(schema.names[:20])}",
                where={"stream": stream.name},
            )
        cursor = stream.incremental.cursor_field if stream.incremental is not None else None
        extra = self._extra(frozenset(schema.names))
        return Stream(
            name=StreamName(name=stream.name),
            schema=schema if extra is None else schema.extended(Field(name=extra, type=pa.string(), logical="json")),
            primary_key=stream.primary_key,
            cursor_fields=(cursor,) if cursor in schema.names and cursor is not None else (),
            source_defined_cursor=cursor is not None,
            incremental=cursor is not None,
            kind="stream",
        )


def _tokens(auth: Auth | None) -> OwnConfig:
    """Where a rotated refresh token is kept: one place for all connections and checks with the same configured one,
    since each may use it up."""
    given: dict[str, Any] = {}
    if isinstance(auth, OAuth2Auth) and auth.refresh_token is not None:
        given = {"client_id": auth.client_id, "refresh_token": auth.refresh_token.get_secret_value()}
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:24]
    return OwnConfig(load_settings().home / "tokens", given, name=f"{digest}.json")
