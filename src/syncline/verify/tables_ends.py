"""Delta Lake and Iceberg tables as destination of a stream: delta-rs and pyiceberg say which files are the table,
DuckDB reads them. Nothing of it is shared with the code that writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from syncline.connectors.delta.config import DeltaDestinationConfig
from syncline.connectors.iceberg.config import IcebergDestinationConfig
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.files.log import stream_folder
from syncline.verify.duckdb_cells import identifier
from syncline.verify.duckdb_side import DuckDbSide, Restriction
from syncline.verify.files_feed import FilesFeed
from syncline.verify.manifest import LakeFile
from syncline.verify.places import Bucket, Folder, Place
from syncline.verify.quarantine import Record, records_of_lines
from syncline.verify.stream import DestinationEnd, Scope

if TYPE_CHECKING:
    from syncline.sdk.tables.config import TablesConfig

__all__ = ["open_delta_destination", "open_iceberg_destination"]


def open_delta_destination(
    config: ConnectorConfig, target: StreamTarget, scope: Scope, work_dir: Path
) -> DestinationEnd:
    """The newest version of the stream's Delta table."""
    config = cast(DeltaDestinationConfig, config)
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError
    except ImportError as error:
        raise SynclineError(
            ErrorKind.CONFIG,
            "verify reads Delta tables with the Python module deltalake",
            hint="pip install 'syncline[delta]'",
        ) from error
    place = _place(config, work_dir)
    folder = _folder(config, target)
    options = _s3_options(config) if config.remote else None
    address = _address(config, folder)
    try:
        table = DeltaTable(address, storage_options=options)
    except TableNotFoundError as error:
        place.close()
        raise SynclineError(
            ErrorKind.CONFIG,
            f"there is no Delta table at {address}",
            hint="run the sync first, or check path and prefix",
        ) from error
    actions = table.get_add_actions(flatten=True)
    paths = [str(each) for each in actions.column("path").to_pylist()]
    sizes = [int(each) for each in actions.column("size_bytes").to_pylist()]
    rows = [-1 if each is None else int(each) for each in actions.column("num_records").to_pylist()]
    files = [
        LakeFile(key=folder + unquote(path), bytes=size, rows=count)
        for path, size, count in zip(paths, sizes, rows, strict=True)
    ]
    names = [field.name for field in table.schema().fields]
    return _end(place, files, names, target, scope, work_dir, {"version": table.version()})


def open_iceberg_destination(
    config: ConnectorConfig, target: StreamTarget, scope: Scope, work_dir: Path
) -> DestinationEnd:
    """The newest snapshot of the stream's Iceberg table."""
    from pyiceberg.catalog import load_catalog
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    config = cast(IcebergDestinationConfig, config)
    namespace, name = config.identifier(target.stream)
    properties = {**config.catalog_properties(), **(_iceberg_s3(config) if config.remote else {})}
    place = _place(config, work_dir)
    try:
        with _closed(load_catalog(config.catalog.name, **properties)) as catalog:
            table = catalog.load_table((namespace, name))
        planned = list(table.scan().plan_files())
    except (NoSuchTableError, NoSuchNamespaceError) as error:
        place.close()
        raise SynclineError(
            ErrorKind.CONFIG,
            f"there is no Iceberg table {namespace}.{name} in the catalog",
            hint="run the sync first, or check catalog, schema and prefix",
        ) from error
    if any(each.delete_files for each in planned):
        place.close()
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the Iceberg table {namespace}.{name} has delete files, which verify does not read",
            hint="let the engine that wrote them rewrite the data files",
        )
    root = config.root_url()
    files = [
        LakeFile(
            key=each.file.file_path.removeprefix(root),
            bytes=each.file.file_size_in_bytes,
            rows=each.file.record_count,
        )
        for each in planned
    ]
    snapshot = table.current_snapshot()
    moment = {"snapshot": None if snapshot is None else str(snapshot.snapshot_id)}
    return _end(place, files, [f.name for f in table.schema().fields], target, scope, work_dir, moment)


@contextmanager
def _closed(catalog: Any) -> Iterator[Any]:
    try:
        yield catalog
    finally:
        catalog.close()


def _iceberg_s3(config: TablesConfig) -> dict[str, str]:
    names = {
        "AWS_REGION": "s3.region",
        "AWS_ENDPOINT_URL": "s3.endpoint",
        "AWS_ACCESS_KEY_ID": "s3.access-key-id",
        "AWS_SECRET_ACCESS_KEY": "s3.secret-access-key",
        "AWS_SESSION_TOKEN": "s3.session-token",
    }
    options = _s3_options(config)
    found = {name: options[key] for key, name in names.items() if key in options}
    return found | {f"client.{name.removeprefix('s3.')}": v for name, v in found.items() if name != "s3.endpoint"}


def _end(
    place: Place,
    files: Sequence[LakeFile],
    names: Sequence[str],
    target: StreamTarget,
    scope: Scope,
    work_dir: Path,
    moment: dict[str, Any],
) -> DestinationEnd:
    feed = FilesFeed(
        place,
        sorted(files, key=lambda f: f.key),
        [f for f in scope.fields if f.name in names],
        format_type="Parquet",
        work_dir=work_dir,
        whole=scope.latest is not None,
        moment={"at": datetime.now(UTC).isoformat(), **moment},
    )
    where = scope.where
    if scope.generation is not None and scope.generation_column is not None and files:
        where = f"{identifier(scope.generation_column)} = {scope.generation}"
    restriction = Restriction(where=where, latest=scope.latest)
    side = DuckDbSide(feed, label="destination", work_dir=work_dir, restriction=restriction)
    if scope.generation is not None and scope.generation_column is None:
        side.notes.append("destination: without metadata columns all generations are compared")

    def quarantine() -> list[Record]:
        found: list[Record] = []
        for key in place.keys(f"{stream_folder(target.connection, target.stream)}quarantine/"):
            found += records_of_lines(place.content(key) or b"")
        return found

    return DestinationEnd(side=side, quarantine=quarantine)


def _place(config: TablesConfig, work_dir: Path) -> Place:
    if config.path is not None:
        return Folder(config.path / config.s3_bucket_path if config.s3_bucket_path else config.path)
    return Bucket(config.open_bucket().client, config.s3_bucket_name or "", config.s3_bucket_path, work_dir)


def _address(config: TablesConfig, folder: str) -> str:
    if config.path is not None:
        return str(config.path / config.s3_bucket_path / folder)
    return f"s3://{config.s3_bucket_name}/{config.s3_bucket_path}{folder}"


def _folder(config: TablesConfig, target: StreamTarget) -> str:
    """The table's place, from the documentation: namespace when asked for, then prefix and name."""
    parts = [config.table_prefix + target.stream.name]
    if config.namespace == "source" and target.stream.namespace:
        parts.insert(0, target.stream.namespace)
    return "".join(f"{_part(part)}/" for part in parts)


def _part(text: str) -> str:
    safe = quote(text, safe=" ()+,=@&$!;'~-_.")
    return {"_syncline": "%5Fsyncline"}.get(safe, f"%2E{safe[1:]}" if safe.startswith(".") else safe)


def _s3_options(config: TablesConfig) -> dict[str, str]:
    """For delta-rs, from the same credentials that our own client found."""
    client = config.open_bucket().client
    options = {"AWS_REGION": str(client.meta.region_name), "AWS_ENDPOINT_URL": str(client.meta.endpoint_url)}
    if options["AWS_ENDPOINT_URL"].startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    credentials = client._request_signer._credentials
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        options |= {"AWS_ACCESS_KEY_ID": frozen.access_key, "AWS_SECRET_ACCESS_KEY": frozen.secret_key}
        if frozen.token:
            options["AWS_SESSION_TOKEN"] = frozen.token
    return options
