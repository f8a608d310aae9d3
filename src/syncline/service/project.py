"""The project file: sources, destinations and connections in one YAML file, in its long and its short form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from syncline.alerts.config import AlertRules
from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.engine.evolution.policy import Contract, SchemaPolicy, SchemaUpdates
from syncline.engine.selection import StreamChoice
from syncline.sdk.mapping import checked_blocks
from syncline.sdk.metadata import MetadataColumns
from syncline.sdk.reference import ConnectorReference
from syncline.service.gates import gates_json, quality_of
from syncline.service.server_keys import AfterBlock, ServerKeys
from syncline.service.telling import AlertsBlock
from syncline.service.transforms import steps_json
from syncline.service.yaml_text import YAMLError, load_yaml

__all__ = ["Connection", "Project", "load_project", "mapper_blocks", "project_json_schema"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConnectorBlock(_Model):
    """``type`` names the connector, ``config`` is its own configuration (``syncline connectors spec TYPE``)."""

    type: str = Field(description="connector name, as in: syncline connectors list")
    config: dict[str, Any] = Field(default_factory=dict, description="the connector's own settings")


class QuarantineBlock(_Model):
    """How many rows may be set aside before a run fails; without either, 1,000 or 0.1 %, whichever is more."""

    max_rows: int | None = Field(default=None, ge=0, description="more rows than these fail the run")
    max_percent: float | None = Field(
        default=None, ge=0, le=100, description="a greater part of the rows fails the run"
    )


class StreamBlock(_Model):
    """One stream of a connection."""

    name: str = Field(description="table or schema.table")
    mode: str | None = Field(default=None, description="full_refresh, incremental, or one of Airbyte's five modes")
    cursor_field: str | None = Field(default=None, description="column that grows with every change")
    primary_key: tuple[str, ...] | None = Field(default=None, description="columns that name a row")
    columns: tuple[str, ...] | None = Field(default=None, description="columns to take (default: all)")
    gates: tuple[dict[str, Any], ...] = Field(default=(), description="rules that its rows must keep to be published")
    quarantine: QuarantineBlock | None = Field(default=None, description="limits of what may be set aside")
    mappers: tuple[dict[str, Any], ...] = Field(default=(), description="Airbyte's mapper objects")

    @field_validator("primary_key", "columns", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class SchemaChangesBlock(_Model):
    """What is done when tables of the source change, see docs/schema-changes.md."""

    policy: SchemaUpdates = Field(
        default=SchemaUpdates.PROPAGATE_FULLY,
        description="ignore, disable_connection, propagate_columns or propagate_fully",
    )
    contracts: dict[str, Contract] = Field(
        default_factory=dict, description="column, stream.column or * -> evolve, freeze, quarantine or fail"
    )
    backfill: bool = Field(default=False, description="fill a new column in the rows that are there, after the run")


class SyncBlock(ServerKeys):
    """How a connection is synced, and when a server does it."""

    mode: str = Field(default="full_refresh", description="default mode of its streams")
    cursor_field: str | None = Field(default=None, description="default cursor column")
    streams: tuple[StreamBlock, ...] | None = Field(default=None, description="streams to take (default: all)")
    concurrency: int = Field(default=2, ge=1, le=64, description="partitions read at once")
    deletes: Literal["hard", "soft"] = Field(
        default="hard",
        description="what a deletion in the source's log does in deduped modes: the row goes, or stays and is marked",
    )
    metadata_columns: MetadataColumns = Field(
        default=MetadataColumns.SYNCLINE, description="columns we add: syncline, airbyte or none"
    )
    gates: tuple[dict[str, Any], ...] = Field(default=(), description="gates of every stream, before their own")
    transforms: tuple[dict[str, Any], ...] = Field(default=(), description="steps that follow a successful sync")
    quarantine: QuarantineBlock | None = Field(default=None, description="limits of streams that set none")
    mappings: tuple[dict[str, Any], ...] | str = Field(
        default=(), description="what becomes of streams and columns on their way, or a JSON or YAML file that says it"
    )

    schema_changes: SchemaChangesBlock = Field(
        default_factory=SchemaChangesBlock, description="a policy, or policy, contracts and backfill"
    )

    @field_validator("schema_changes", mode="before")
    @classmethod
    def _policy_or_block(cls, value: Any) -> Any:
        return {"policy": value} if isinstance(value, str) else value

    @field_validator("mappings", mode="before")
    @classmethod
    def _list_or_document(cls, value: Any) -> Any:
        return value["mappings"] if isinstance(value, dict) and set(value) == {"mappings"} else value

    @field_validator("streams", mode="before")
    @classmethod
    def _names_or_blocks(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value


class FanOutBlock(_Model):
    """Which of several destinations a connection is for, and the name of them all."""

    connection: str
    destination: str
    when_behind: Literal["leave", "wait"] = "leave"


class ConnectionBlock(SyncBlock):
    """One connection in the long form, with one destination. ``fan_out``: it reads its source with others."""

    source: str = Field(description="name under sources")
    destination: str = Field(description="name under destinations")
    fan_out: FanOutBlock | None = None


class FannedBlock(SyncBlock):
    """One connection of the file: to one destination, or to several from one reading of the source."""

    source: str = Field(description="name under sources")
    destination: str | None = Field(default=None, description="name under destinations")
    destinations: tuple[str, ...] | None = Field(
        default=None, description="names under destinations: the source is read once for all of them"
    )
    when_behind: Literal["leave", "wait"] = Field(
        default="leave",
        description="what becomes of a destination that alone holds a full spool: leave it behind, to be copied anew, "
        "or let all wait for it",
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> FannedBlock:
        if (self.destination is None) == (self.destinations is None):
            raise ValueError("give destination, or destinations with a list of names")
        if self.destinations is not None and len(set(self.destinations)) != len(self.destinations):
            raise ValueError("destinations names one twice")
        if self.destinations is not None and not self.destinations:
            raise ValueError("destinations names nothing")
        if self.destinations is None and "when_behind" in self.model_fields_set:
            raise ValueError("when_behind is for connections with several destinations")
        return self

    def to(self, destination: str) -> ConnectionBlock:
        """The block of one destination."""
        own = {name: getattr(self, name) for name in ConnectionBlock.model_fields if name in self.model_fields_set}
        return ConnectionBlock.model_construct(
            _fields_set={*own, "source", "destination"}, **{**own, "destination": destination}
        )


class EncryptionBlock(_Model):
    """Server-side encryption of files at the destination."""

    type: Literal["KMS", "AES256"] = "KMS"
    key_arn: str | None = None


class SecurityBlock(_Model):
    """Transport and storage security for the connections of this file; becomes settings of the connectors."""

    source_tls: bool = False
    destination_tls: bool = False
    encryption: EncryptionBlock | None = None


class ProjectFile(_Model):
    """The file as written: either ``source`` + ``destination`` (+ ``sync``), or the named maps."""

    name: str | None = Field(default=None, description="name of the single connection (default: the file's name)")
    source: ConnectorBlock | None = None
    destination: ConnectorBlock | None = None
    sync: SyncBlock | None = None
    security: SecurityBlock | None = None
    alerts: AlertsBlock | None = Field(default=None, description="who is told when something needs a person")
    sources: dict[str, ConnectorBlock] = Field(default_factory=dict)
    destinations: dict[str, ConnectorBlock] = Field(default_factory=dict)
    connections: dict[str, FannedBlock] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_form(self) -> ProjectFile:
        short = self.source is not None or self.destination is not None
        if short and (self.sources or self.destinations or self.connections):
            raise ValueError("use either source + destination or sources + destinations + connections, not both")
        if short and (self.source is None or self.destination is None):
            raise ValueError(f"{'source' if self.source is None else 'destination'} is missing")
        if not short and not self.connections:
            raise ValueError("nothing to sync: give source and destination, or connections")
        return self


class Connection(BaseModel):
    """One connection ready to run; of one with several destinations, the part of one of them: ``destination_name`` is
    its name then, and ``siblings`` are the names of all. ``name`` is what the source and the ledger know it by, which
    the parts share."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    source: ConnectorReference
    destination: ConnectorReference
    sync: SyncBlock
    destination_name: str | None = None
    siblings: tuple[str, ...] = ()
    when_behind: Literal["leave", "wait"] = "leave"

    @property
    def label(self) -> str:
        """What people call it: ``name``, or ``name/destination``."""
        return self.name if self.destination_name is None else f"{self.name}/{self.destination_name}"

    @property
    def folder_name(self) -> str:
        """Whose local files are not those of the other destinations."""
        return self.name if self.destination_name is None else f"{self.name} to {self.destination_name}"

    def choices(self) -> tuple[StreamChoice, ...] | None:
        if self.sync.streams is None:
            return None
        return tuple(
            StreamChoice(
                name=s.name,
                mode=s.mode,
                cursor_field=s.cursor_field,
                primary_key=s.primary_key,
                columns=s.columns,
                quality=quality_of(s.gates, s.quarantine.model_dump() if s.quarantine else None),
            )
            for s in self.sync.streams
        )

    def evolution(self) -> SchemaPolicy:
        """What is done when the source changes."""
        block = self.sync.schema_changes
        return SchemaPolicy(updates=block.policy, contracts=block.contracts, backfill=block.backfill)

    def default_choice(self) -> StreamChoice:
        sync = self.sync
        limits = sync.quarantine.model_dump() if sync.quarantine else None
        return StreamChoice(mode=sync.mode, cursor_field=sync.cursor_field, quality=quality_of(sync.gates, limits))


class Project(BaseModel):
    """All connections of a file, by label, in file order."""

    model_config = ConfigDict(frozen=True)

    path: Path
    connections: dict[str, Connection]
    alerts: AlertsBlock | None = None

    def only(self, name: str | None) -> list[Connection]:
        """The named connection (``name/destination``: one destination of it), or all of them; ``config`` error for an
        unknown name."""
        found = [each for each in self.connections.values() if name in (None, each.name, each.label)]
        if found:
            return [_without_server(each) for each in found]
        known = list(dict.fromkeys([*(each.name for each in self.connections.values()), *self.connections]))
        near = nearest(str(name), known)
        raise SynclineError(
            ErrorKind.CONFIG,
            f"{self.path.name} has no connection {name!r}",
            hint=f"did you mean {near!r}?" if near else f"it has: {', '.join(known)}",
        )


def _without_server(connection: Connection) -> Connection:
    """Raises ``config`` for keys that would change where data goes, and that only a server follows."""
    sync = connection.sync
    if sync.prefix or sync.namespace_definition != "destination":
        raise SynclineError(
            ErrorKind.CONFIG,
            f"connection {connection.name!r} has a prefix or namespace_definition, which only a server follows",
            hint="set the destination's own keys (table_prefix, schema), or syncline apply",
        )
    return connection


def load_project(path: Path) -> Project:
    """Read and check the file. References to secrets stay references. Raises ``config`` naming key and place."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"{path} cannot be read: {error.strerror}", hint="syncline init writes a first one"
        ) from error
    except UnicodeDecodeError as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"{path} is not UTF-8 text: byte {error.start} is wrong", hint="save it again as UTF-8"
        ) from error
    try:
        data = load_yaml(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SynclineError(
            ErrorKind.CONFIG,
            f"{path} is not valid YAML{place}: {getattr(error, 'problem', None) or 'cannot be parsed'}",
            hint="check the indentation and quotes there",
        ) from error
    if not isinstance(data, dict):
        raise SynclineError(ErrorKind.CONFIG, f"{path} holds no mapping", hint="start with source: and destination:")
    try:
        file = ProjectFile.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(_problem(item) for item in error.errors(include_url=False))
        raise SynclineError(ErrorKind.CONFIG, f"{path}: {problems}", hint="see docs/configuration.md") from None
    return Project(path=path, connections=_connections(file, path), alerts=file.alerts)


def project_json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    schema = ProjectFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Syncline project", **schema}


def _problem(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        near = nearest(str(item["loc"][-1]), _keys_at(item["loc"][:-1]))
        return f"unknown key {path!r}" + (f" (did you mean {near!r}?)" if near else "")
    if item["type"] == "missing":
        return f"{path!r} is required"
    message = item["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    return f"{path!r}: {message}" if path else str(message)


def _keys_at(place: tuple[Any, ...]) -> list[str]:
    """The keys known at a place of the file."""
    models: dict[str, type[BaseModel]] = {
        "source": ConnectorBlock,
        "destination": ConnectorBlock,
        "sources": ConnectorBlock,
        "destinations": ConnectorBlock,
        "connections": FannedBlock,
        "sync": SyncBlock,
        "streams": StreamBlock,
        "security": SecurityBlock,
        "encryption": EncryptionBlock,
        "quarantine": QuarantineBlock,
        "after": AfterBlock,
        "alerts": AlertsBlock,
        "rules": AlertRules,
    }
    for part in reversed(place):
        if part in models:
            return list(models[part].model_fields)
    return list(ProjectFile.model_fields)


def _connections(file: ProjectFile, path: Path) -> dict[str, Connection]:
    if file.source is not None and file.destination is not None:
        name = file.name or path.stem
        sync = file.sync or SyncBlock()
        return {name: _connection(name, file.source, file.destination, sync, file.security, path.parent)}
    found: dict[str, Connection] = {}
    for name, block in file.connections.items():
        _ensure_known(name, "source", block.source, file.sources)
        for destination in block.destinations or (str(block.destination),):
            _ensure_known(name, "destination", destination, file.destinations)
            made = _connection(
                name,
                file.sources[block.source],
                file.destinations[destination],
                block.to(destination),
                file.security,
                path.parent,
            )
            if block.destinations is not None:
                parts = {"destination_name": destination, "siblings": block.destinations}
                made = made.model_copy(update={**parts, "when_behind": block.when_behind})
                _ensure_another_place(made, [each for each in found.values() if each.name == name])
            if made.label in found:
                raise SynclineError(
                    ErrorKind.CONFIG, f"two connections are called {made.label!r}", hint="give one of them another name"
                )
            found[made.label] = made
    return found


def _ensure_known(name: str, role: str, wanted: str, known: Mapping[str, Any]) -> None:
    if wanted not in known:
        near = nearest(wanted, list(known))
        raise SynclineError(
            ErrorKind.CONFIG,
            f"connection {name!r} names {role} {wanted!r}, which is not under {role}s",
            hint=f"did you mean {near!r}?" if near else f"{role}s has: {', '.join(known) or 'nothing'}",
        )


def _ensure_another_place(made: Connection, others: Sequence[Connection]) -> None:
    for other in others:
        if other.destination == made.destination:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"connection {made.name!r}: destinations {other.destination_name!r} and {made.destination_name!r} are "
                "one place",
                hint="name it once, or give each a place of its own (schema, path, database)",
            )


def _connection(
    name: str,
    source: ConnectorBlock,
    destination: ConnectorBlock,
    sync: SyncBlock,
    security: SecurityBlock | None,
    folder: Path,
) -> Connection:
    from_config, to_config = dict(source.config), dict(destination.config)
    if security is not None:
        if security.source_tls and source.type == "postgres":
            from_config.setdefault("ssl_mode", "require")
        if security.destination_tls and destination.type == "postgres":
            to_config.setdefault("ssl_mode", "require")
        if security.encryption is not None:
            if destination.type != "s3":
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"security.encryption applies to files in S3, not to destination type {destination.type!r}",
                    hint="remove security.encryption, or encrypt the destination's own storage",
                )
            to_config.setdefault("encryption", security.encryption.model_dump(exclude_none=True))
    return Connection(
        name=name,
        source=ConnectorReference(type=source.type, config=from_config, mappings=_mappings(name, sync, folder)),
        destination=ConnectorReference(type=destination.type, config=to_config),
        sync=_with_gates_and_steps(name, sync, folder),
    )


def _with_gates_and_steps(name: str, sync: SyncBlock, folder: Path) -> SyncBlock:
    """The blocks with their gates and steps in the engine's words; suites and SQL files are read."""
    where = f"connection {name!r}"
    changes: dict[str, Any] = {"gates": gates_json(sync.gates, folder, where)} if sync.gates else {}
    if sync.transforms:
        changes["transforms"] = steps_json(sync.transforms, folder, where)
    if sync.streams is not None and any(s.gates for s in sync.streams):
        changes["streams"] = tuple(
            s.model_copy(update={"gates": gates_json(s.gates, folder, f"{where}, stream {s.name}")})
            for s in sync.streams
        )
    return sync.model_copy(update=changes) if changes else sync


def _mappings(name: str, sync: SyncBlock, folder: Path) -> tuple[Mapping[str, Any], ...]:
    """The connection's mappings, checked: its own list or file, then the mappers that stand on its streams."""
    written: Any = sync.mappings
    if isinstance(written, str):
        file = folder / written
        try:
            written = load_yaml(file.read_text(encoding="utf-8"))  # JSON is YAML too
        except (OSError, UnicodeDecodeError, YAMLError) as error:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"mappings of {name!r}: {file} cannot be read: {error}",
                hint="name a JSON or YAML file",
            ) from error
    return (*checked_blocks(written), *mapper_blocks(sync.streams or ()))


def mapper_blocks(streams: Sequence[StreamBlock]) -> tuple[Mapping[str, Any], ...]:
    """The mappers of streams as mappings. Raises ``config`` for what is not done."""
    return checked_blocks([{"from": s.name, "mappers": list(s.mappers)} for s in streams if s.mappers])
