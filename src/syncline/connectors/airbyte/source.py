"""The source ``airbyte``: a connector's commands ``check``, ``discover`` and ``read``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from syncline.connectors.airbyte.config import AirbyteSourceConfig
from syncline.connectors.airbyte.declared import sync_number
from syncline.connectors.airbyte.discovered import Discovered
from syncline.connectors.airbyte.feed import ConnectorFeed
from syncline.connectors.airbyte.manifest import load_manifest
from syncline.connectors.airbyte.program import Program
from syncline.core.stream import Catalog, SelectedStream, Stream, StreamName, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.feed import FedInto, FedSource
from syncline.sdk.findings import Finding
from syncline.sdk.low_code import check_against, manifest_spec, runnable, secret_values
from syncline.sdk.records.json_schema import schema_of
from syncline.sdk.records.reader import RecordReader

__all__ = ["AirbyteSource"]

_DESTINATION_MODES = {
    SyncMode.FULL_REFRESH_OVERWRITE: "overwrite",
    SyncMode.FULL_REFRESH_OVERWRITE_DEDUPED: "overwrite",
    SyncMode.FULL_REFRESH_APPEND: "append",
    SyncMode.INCREMENTAL_APPEND: "append",
    SyncMode.INCREMENTAL_DEDUPED_HISTORY: "append_dedup",
}


class AirbyteSource(FedSource):
    """Every question is a process of its own, a few seconds each; what was discovered is kept for the object's life."""

    def __init__(self, config: AirbyteSourceConfig, context: ConnectorContext) -> None:
        self._manifest = None if config.manifest is None else load_manifest(config.manifest)
        if self._manifest is None:
            self._program = Program(config, context.work_dir)
        else:
            check_against(self._manifest, config.config)
            always = {"manifest": _json(runnable(self._manifest))}
            further = ["--manifest-path", "manifest"]
            self._program = Program(config, context.work_dir, always=always, further=further)
            self._program.redact.learn({"secret": secret_values(self._manifest, config.config)})
        # Programs under development change what they say from one run to the next; released packages do not.
        seconds = config.discover_cache_seconds if config.package is not None else 0.0
        self._discovered = Discovered(context.work_dir, self._program.command, config.config, seconds)
        self._raw: dict[StreamName, dict[str, Any]] | None = None

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        return [self._program.reach("source")]

    def discover(self) -> Catalog:
        return Catalog(streams=tuple(_stream(name, raw) for name, raw in sorted(self._streams().items(), key=_by_name)))

    def specification(self) -> Mapping[str, Any]:
        if self._manifest is not None:
            return {"connectionSpecification": manifest_spec(self._manifest)}
        return self._program.ask("spec", "spec", configured=False)

    def resumes(self, selected: SelectedStream) -> bool:
        return bool(self._streams()[selected.name].get("is_resumable"))

    def feed(
        self,
        selection: Sequence[SelectedStream],
        positions: Mapping[StreamName, Any],
        shared: Any | None,
        into: Mapping[StreamName, FedInto] | None = None,
    ) -> ConnectorFeed:
        files = {"catalog": _json({"streams": [self._configured(s, (into or {}).get(s.name)) for s in selection]})}
        arguments = ["read", "--config", "config", "--catalog", "catalog"]
        state = _state(selection, positions, shared)
        if state is not None:
            files["state"] = _json(state)
            arguments += ["--state", "state"]
        readers, declared = {}, {}
        for s in selection:
            names = tuple((self._streams()[s.name].get("json_schema") or {}).get("properties") or ())
            declared[s.name] = names
            readers[s.name] = RecordReader(s.stream.schema, whole=not names)
        program = self._program
        return ConnectorFeed(
            program.start(arguments, files), readers, declared, save=program.save, redact=program.redact
        )

    def _configured(self, selected: SelectedStream, into: FedInto | None) -> dict[str, Any]:
        raw = self._streams()[selected.name]
        default = [selected.cursor_field] if selected.cursor_field else raw.get("default_cursor_field") or []
        return {
            "stream": raw,
            "sync_mode": "incremental" if selected.sync_mode.incremental else "full_refresh",
            "destination_sync_mode": _DESTINATION_MODES[selected.sync_mode],
            "cursor_field": raw.get("default_cursor_field") or [] if raw.get("source_defined_cursor") else default,
            "primary_key": [[column] for column in selected.primary_key],
            **({} if into is None else _refresh(into)),
        }

    def _streams(self) -> dict[StreamName, dict[str, Any]]:
        if self._raw is None:
            found = self._discovered.load()
            if found is None:
                found = self._program.ask("discover", "catalog").get("streams") or []
                self._discovered.save(found)
            self._raw = {StreamName(namespace=s.get("namespace"), name=s["name"]): s for s in found}
        return self._raw


def _by_name(item: tuple[StreamName, Any]) -> str:
    return str(item[0])


def _refresh(into: FedInto) -> dict[str, int]:
    """Of the protocol's refreshes: what is older than the minimum goes."""
    return {
        "generation_id": into.generation,
        "minimum_generation_id": into.generation if into.replaces else 0,
        "sync_id": sync_number(into.sync_id),
    }


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _stream(name: StreamName, raw: Mapping[str, Any]) -> Stream:
    schema = schema_of(raw.get("json_schema") or {})
    key = [path[0] for path in raw.get("source_defined_primary_key") or () if len(path) == 1]
    whole_key = len(key) == len(raw.get("source_defined_primary_key") or ())
    cursor = raw.get("default_cursor_field") or []
    return Stream(
        name=name,
        schema=schema,
        primary_key=tuple(key) if whole_key and set(key) <= set(schema.names) else (),
        cursor_fields=tuple(cursor) if len(cursor) == 1 and cursor[0] in schema.names else (),
        source_defined_cursor=bool(raw.get("source_defined_cursor")),
        incremental="incremental" in (raw.get("supported_sync_modes") or ()),
        kind="stream",
    )


def _state(selection: Sequence[SelectedStream], positions: Mapping[StreamName, Any], shared: Any | None) -> Any:
    """The content of the state file, None when there is nothing to go on from."""
    if shared is not None and shared["type"] == "LEGACY":
        blob = shared["data"]
        if isinstance(blob, dict):  # by stream's name, by custom: those to be read anew are left out
            anew = {s.name.name for s in selection if s.name not in positions}
            blob = {name: part for name, part in blob.items() if name not in anew}
        return blob if positions else None
    own = [
        {"stream_descriptor": _descriptor(name), "stream_state": state}
        for name, state in positions.items()
        if state is not None
    ]
    if shared is not None:
        if not positions:
            return None
        return [{"type": "GLOBAL", "global": {"shared_state": shared["shared_state"], "stream_states": own}}]
    return [{"type": "STREAM", "stream": part} for part in own] or None


def _descriptor(name: StreamName) -> dict[str, Any]:
    return {"name": name.name, **({} if name.namespace is None else {"namespace": name.namespace})}
