"""Files as source and as destination of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from syncline.connectors.files.config import FilesDestinationConfig, LocalDestinationConfig, S3DestinationConfig
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.files.log import stream_folder
from syncline.verify.duckdb_side import DuckDbSide, Restriction
from syncline.verify.files_feed import FilesFeed
from syncline.verify.manifest import read_live
from syncline.verify.places import Bucket, Folder, Place
from syncline.verify.quarantine import Record, records_of_lines
from syncline.verify.side import Latest, Side
from syncline.verify.stream import DestinationEnd, Scope

__all__ = ["open_files_destination", "open_files_source"]


def open_files_destination(
    config: ConnectorConfig, target: StreamTarget, scope: Scope, work_dir: Path
) -> DestinationEnd:
    """The files that readers of the stream's manifest see."""
    config = cast(FilesDestinationConfig, config)
    place = _destination_place(config, work_dir)
    read_at = datetime.now(UTC).isoformat()
    manifest = read_live(stream_folder(target.connection, target.stream), place.keys, place.content)
    if manifest is None:
        place.close()
        raise SynclineError(
            ErrorKind.CONFIG,
            "the destination has no manifest of this stream",
            hint="run the sync first, or check path and prefix",
        )
    files = [f for f in manifest.data if scope.generation is None or f.generation == scope.generation]
    feed = FilesFeed(
        place,
        files,
        scope.fields,
        format_type=config.format.format_type,
        whole=scope.latest is not None,
        moment={"at": read_at, "manifest": manifest.number},
    )
    side = DuckDbSide(feed, label="destination", work_dir=work_dir, restriction=Restriction(latest=scope.latest))
    if manifest.unfinished:
        side.notes.append(
            f"destination: {manifest.unfinished} files of the last commit are not yet complete; the next sync does that"
        )

    def quarantine() -> list[Record]:
        found: list[Record] = []
        for file in manifest.quarantine:
            found += records_of_lines(place.content(file.key) or b"")
        return found

    return DestinationEnd(side=side, quarantine=quarantine)


def open_files_source(
    config: ConnectorConfig,
    selected: SelectedStream,
    position: Mapping[str, Any] | None,
    latest: Latest | None,
    work_dir: Path,
) -> Side:
    """The stream's files; those that came after ``position`` are pending."""
    raise SynclineError(ErrorKind.CONFIG, "verify cannot read files as a source yet", hint="compare by hand")


def _destination_place(config: FilesDestinationConfig, work_dir: Path) -> Place:
    if isinstance(config, LocalDestinationConfig):
        return Folder(config.path / config.path_prefix if config.path_prefix else config.path)
    assert isinstance(config, S3DestinationConfig)
    return Bucket(config.open_bucket().client, config.s3_bucket_name, config.s3_bucket_path, work_dir)
