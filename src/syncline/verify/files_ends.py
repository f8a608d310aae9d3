"""Files as source and as destination of a stream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from syncline.connectors.files.config import FilesDestinationConfig, LocalDestinationConfig, S3DestinationConfig
from syncline.connectors.files.source_config import FileFormatConfig, FilesSourceConfig
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import SelectedStream
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.files.log import stream_folder
from syncline.verify.duckdb_side import DuckDbSide, Restriction
from syncline.verify.files_feed import FilesFeed, TextOptions
from syncline.verify.manifest import LakeFile, read_live
from syncline.verify.places import Bucket, Folder, Listed, Place
from syncline.verify.quarantine import Record, records_of_lines
from syncline.verify.side import Latest, Side
from syncline.verify.stream import DestinationEnd, Scope

__all__ = ["open_files_destination", "open_files_source"]

#: Times of files are kept with different precision by file systems, and rounded differently.
_CLOCK_GRAIN = timedelta(milliseconds=1)


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
        work_dir=work_dir,
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
    fields: Sequence[Field],
    position: Mapping[str, Any] | None,
    latest: Latest | None,
    work_dir: Path,
) -> Side:
    """The stream's files, oldest first, as its patterns match them now; those that came after ``position`` are pending.
    With ``latest`` the row of a key in the newest file counts, in Parquet the last of that file."""
    config = cast(FilesSourceConfig, config)
    stream = next((each for each in config.file_streams if each.name == selected.name.name), None)
    if stream is None:
        raise SynclineError(ErrorKind.CONFIG, f"the source has no stream {selected.name.name!r} of files")
    place: Place
    if config.path is not None:
        place = Folder(config.path / config.path_prefix if config.path_prefix else config.path)
    else:
        place = Bucket(config.open_bucket().client, config.s3_bucket_name, config.path_prefix, work_dir)
    try:
        files = _matching(place, stream.globs, position)
    except BaseException:
        place.close()
        raise
    refused = {}
    if stream.filetype == "jsonl":
        reason = "is nested JSON, whose text this reader does not keep as it is written"
        refused = {field.name: reason for field in fields if field.logical == "json"}
    feed = FilesFeed(
        place,
        files,
        fields,
        refused=refused,
        format_type={"csv": "CSV", "jsonl": "JSONL", "parquet": "Parquet"}[stream.filetype],
        work_dir=work_dir,
        whole=latest is not None,
        text=_text_options(stream.format) if stream.filetype != "parquet" else None,
    )
    if latest is not None:
        latest = replace(latest, order=(*latest.order, *feed.order))
    return DuckDbSide(feed, label="source", work_dir=work_dir, restriction=Restriction(latest=latest))


def _matching(place: Place, globs: Sequence[str], position: Mapping[str, Any] | None) -> list[LakeFile]:
    """The files of a stream, pending ones last."""
    patterns = [re.compile(_regex(glob)) for glob in globs]
    files: list[Listed] = []
    for listed in place.listing(_common_prefix(globs)):
        parts = listed.key.split("/")
        if not listed.size or any(part.startswith(".") or part == "_syncline" for part in parts):
            continue
        if any(pattern.fullmatch(listed.key) for pattern in patterns):
            files.append(listed)
    files.sort(key=lambda listed: (listed.modified, listed.key))
    found = [LakeFile(key=f.key, bytes=f.size, pending=_came_after(f, position)) for f in files]
    return sorted(found, key=lambda file: file.pending)


def _came_after(listed: Listed, position: Mapping[str, Any] | None) -> bool:
    """Whether a file came, or changed, after a position, told by its time: a changed file is newer than any known then.
    The position has the time of its newest file, the names of many, and the time before which all are known."""
    if position is None or position.get("kind") != "files":
        return False
    if listed.key in position["keys"]:
        newest = position.get("mtime")
        return newest is None or listed.modified > datetime.fromisoformat(newest) + _CLOCK_GRAIN
    since = position.get("since")
    return since is None or listed.modified >= datetime.fromisoformat(since)


def _common_prefix(globs: Sequence[str]) -> str:
    """The folder that all patterns begin with, to list no more than that."""
    folders = [re.split(r"[*?\[{]", glob, maxsplit=1)[0].split("/")[:-1] for glob in globs]
    common = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "".join(f"{part}/" for part in common)


def _regex(glob: str) -> str:
    """A pattern of keys: ``*`` and ``?`` stay within a folder, ``**`` does not; ``[a-z]``, ``{a,b}``."""
    out, at, depth = [], 0, 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
            continue
        if glob.startswith("**", at):
            out.append(".*")
            at += 2
            continue
        end = glob.find("]", at + 2) if char == "[" else -1
        if end > 0:
            inside = glob[at + 1 : end].replace("\\", "\\\\")
            out.append("[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]")
            at = end + 1
            continue
        if char == "{":
            out.append("(?:")
            depth += 1
        elif char == "}" and depth:
            out.append(")")
            depth -= 1
        elif char == "," and depth:
            out.append("|")
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)))
        at += 1
    return "".join(out)


def _text_options(format_config: FileFormatConfig) -> TextOptions:
    escape = format_config.escape_char or (format_config.quote_char if format_config.double_quote else "")
    return TextOptions(
        delimiter=format_config.delimiter,
        quote=format_config.quote_char or "",
        escape=escape or "",
        header=format_config.header,
        names=format_config.column_names,
        skip=format_config.skip_lines,
        nulls=format_config.null_values,
        encoding=format_config.encoding,
        compression=format_config.compression,
    )


def _destination_place(config: FilesDestinationConfig, work_dir: Path) -> Place:
    if isinstance(config, LocalDestinationConfig):
        return Folder(config.path / config.path_prefix if config.path_prefix else config.path)
    assert isinstance(config, S3DestinationConfig)
    return Bucket(config.open_bucket().client, config.s3_bucket_name, config.s3_bucket_path, work_dir)
