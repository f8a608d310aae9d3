"""Verifying one stream of a connection: what its sync mode promises, as a comparison of two ends.

full_refresh_overwrite, …_deduped, incremental_deduped_history
    The destination holds what the source holds.
full_refresh_append
    So does the destination's last generation.
incremental_append
    The newest version of each key at the destination, in the last generation, is the source's row; rows that came twice
    are seen. Without a key every row is compared, which only holds where nothing was changed.

incremental, continued by a log
    The destination is what the source was at one moment (``moment``): deduped, without the rows that are marked as
    deleted; appended, when each key's last change is taken and deletions leave nothing.

Where the ledger holds a position, a row of the source that changed after it is *pending* and no difference. What a mode
cannot see (deletes, without a log) shows as a difference, and the report says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from syncline.core.checkpoint import Phase, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import SelectedStream, SyncMode, WriteMode
from syncline.sdk.config import ConnectorConfig
from syncline.verify.columns import METADATA, ColumnSpec, column_of
from syncline.verify.compare import Comparison, compare
from syncline.verify.mapped import MappedSide, mapped_view
from syncline.verify.moment import FixedMoment
from syncline.verify.quarantine import Record, key_texts
from syncline.verify.report import VerifyReport
from syncline.verify.side import Latest, Progress, Side

__all__ = ["DestinationEnd", "Scope", "verify_stream"]

_GENERATION = ("_syncline_generation", "_airbyte_generation_id")
_LOG_ORDER = ("_syncline_lsn", "_syncline_ordinal")
_ALIVE = "\"_syncline_op\" NOT IN ('delete', 'truncate')"
_DELETED_AT = "_syncline_deleted_at"
_EXTRACTED_AT = ("_syncline_extracted_at", "_airbyte_extracted_at")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which rows of the destination take part. ``generation``: only these. ``generation_column`` holds it, where there
    are metadata columns. ``latest``: only the newest of each key. ``where``: an SQL condition of ours, when all
    generations take part."""

    fields: tuple[Field, ...]
    generation: int | None
    generation_column: str | None
    latest: Latest | None
    where: str | None = None


@dataclass(frozen=True, kw_only=True)
class DestinationEnd:
    """An open destination: its rows, and the rows that are kept beside them (read when there is a difference)."""

    side: Side
    quarantine: Callable[[], Sequence[Record]]


def verify_stream(
    source_config: ConnectorConfig,
    destination_name: str,
    destination_config: ConnectorConfig,
    selected: SelectedStream,
    target: StreamTarget,
    checkpoint: StreamCheckpoint | None,
    *,
    work_dir: Path,
    chunks: int | None = None,
    progress: Progress | None = None,
    moment: FixedMoment | None = None,
) -> VerifyReport:
    """Compare a stream's source with its destination by content.

    ``destination_name`` is the connector's; ``target`` the destination's view of the stream, ``checkpoint`` the
    ledger's (None: never synced, a ``config`` error). ``chunks``: into how many chunks to divide, None to let the size
    decide. ``work_dir`` is for temporary files. ``moment``: the moment of the source at which the destination is held.
    ``progress``: see :data:`~syncline.verify.side.Progress`. Called by
    ``syncline verify``; needs no lease and changes nothing at either end.
    """
    if checkpoint is None or checkpoint.schema is None:
        raise SynclineError(
            ErrorKind.CONFIG,
            "the stream was never synced, so there is nothing to compare",
            hint="run: syncline sync",
            where={"stream": str(selected.name)},
        )
    columns, excluded = _columns(selected, checkpoint)
    view = mapped_view(selected)
    if view is not None:
        columns, excluded = view.comparable(columns, excluded)
    read_as = selected.origin or selected
    key = tuple(selected.primary_key)
    of_files = _connector(source_config) == "files"
    latest = None
    if selected.sync_mode.deduped and (of_files or key != tuple(selected.stream.primary_key)):
        # The key is the user's own: the source may hold several rows of it, of which the sync keeps the newest.
        cursor = target.cursor_field if view is None else view.names.get(target.cursor_field or "")
        latest = Latest(key=tuple(read_as.primary_key), order=(cursor,) if cursor else (), ties=False)
    try:
        with ExitStack() as stack:
            where = None if view is None else view.where
            source: Side = stack.enter_context(
                closing(_open_source(source_config, read_as, checkpoint, latest, work_dir, moment, where))
            )
            source = source if view is None else MappedSide(source, view.names)
            scope = _scope(selected, checkpoint, of_files=of_files)
            end = _open_destination(destination_name, destination_config, target, scope, work_dir)
            destination = stack.enter_context(closing(end.side))
            comparison = Comparison(
                stream=str(selected.name),
                columns=columns,
                key=key,
                excluded=excluded,
                chunks=chunks,
                quarantine=lambda found: _quarantine(end, found),
                notes=_notes_before(checkpoint),
            )
            report = compare(source, destination, comparison, work_dir=work_dir, progress=progress)
    except SynclineError as error:
        raise error.at(stream=str(selected.name)) from error.__cause__
    return replace(report, notes=(*report.notes, *_notes_after(selected, report, logged=moment is not None)))


def _columns(selected: SelectedStream, checkpoint: StreamCheckpoint) -> tuple[tuple[ColumnSpec, ...], dict[str, str]]:
    """What to compare of the columns that the last sync knew, and why not the others."""
    assert checkpoint.schema is not None
    columns: list[ColumnSpec] = []
    excluded: dict[str, str] = {}
    for field in checkpoint.schema.fields:
        if field.name in METADATA:
            continue
        column = column_of(field)
        if field.name not in selected.stream.schema.names:
            excluded[field.name] = "no longer selected, or no longer at the source"
        elif column is None:
            excluded[field.name] = f"type {field.native or field.type} has no canonical text"
        else:
            columns.append(column)
    known = set(checkpoint.schema.names)
    for name in selected.stream.schema.names:
        if name not in known:
            excluded[name] = "new at the source: the next sync brings it"
    return tuple(columns), excluded


def _connector(config: ConnectorConfig) -> str:
    """The folder of the connector whose configuration this is; empty for another package's."""
    parts = type(config).__module__.split(".")
    return parts[2] if parts[:2] == ["syncline", "connectors"] else ""


def _scope(selected: SelectedStream, checkpoint: StreamCheckpoint, *, of_files: bool) -> Scope:
    assert checkpoint.schema is not None
    names = checkpoint.schema.names
    appended = selected.sync_mode in (SyncMode.FULL_REFRESH_APPEND, SyncMode.INCREMENTAL_APPEND)
    latest = where = None
    if set(_LOG_ORDER) <= set(names):
        # A log of changes. All generations: each whole copy has replaced the one before.
        latest = Latest(key=tuple(selected.primary_key), order=_LOG_ORDER, ties=True, alive=_ALIVE)
        return Scope(
            fields=checkpoint.schema.fields,
            generation=None,
            generation_column=None,
            latest=latest if latest.key else None,
        )
    if _DELETED_AT in names:
        where = f'"{_DELETED_AT}" IS NULL'
    # Files are read whole, once: what is appended from them is all of their rows.
    if selected.sync_mode is SyncMode.INCREMENTAL_APPEND and selected.primary_key and not of_files:
        order = [selected.cursor_field] if selected.cursor_field else [n for n in _EXTRACTED_AT if n in names]
        latest = Latest(key=tuple(selected.primary_key), order=tuple(order), ties=True)
    return Scope(
        fields=checkpoint.schema.fields,
        generation=checkpoint.generation if appended else None,
        generation_column=next((name for name in _GENERATION if name in names), None),
        latest=latest,
        where=where,
    )


def _open_source(
    config: ConnectorConfig,
    selected: SelectedStream,
    checkpoint: StreamCheckpoint,
    latest: Latest | None,
    work_dir: Path,
    moment: FixedMoment | None,
    where: str | None,
) -> Side:
    if _connector(config) == "postgres":
        from syncline.verify.postgres_ends import open_postgres_source

        return open_postgres_source(
            config, selected, checkpoint.position, latest, work_dir, None if moment is None else moment.snapshot, where
        )
    if where is not None:
        raise SynclineError(
            ErrorKind.CONFIG,
            "a mapping filters the rows of this stream, and verify cannot ask this source for them alone",
            hint="compare counts by hand, or leave the filter out and copy the stream anew",
        )
    if _connector(config) == "files":
        from syncline.verify.files_ends import open_files_source

        assert checkpoint.schema is not None
        known = checkpoint.schema.fields if selected.stream.mapping == () else selected.stream.schema.fields
        fields = [f for f in known if f.name not in METADATA]
        return open_files_source(config, selected, fields, checkpoint.position, latest, work_dir)
    if _connector(config) == "mysql":
        from syncline.verify.mysql_ends import open_mysql_source

        fields = list(selected.stream.schema.fields)
        return open_mysql_source(config, selected, fields, checkpoint.position, latest, work_dir)
    raise _unknown("source", type(config).__name__)


def _open_destination(
    name: str, config: ConnectorConfig, target: StreamTarget, scope: Scope, work_dir: Path
) -> DestinationEnd:
    if name == "postgres":
        from syncline.verify.postgres_ends import open_postgres_destination

        return open_postgres_destination(config, target, scope, work_dir)
    if name == "duckdb":
        from syncline.verify.duckdb_ends import open_duckdb_destination

        return open_duckdb_destination(config, target, scope, work_dir)
    if name in ("local", "s3"):
        from syncline.verify.files_ends import open_files_destination

        return open_files_destination(config, target, scope, work_dir)
    if name == "delta":
        from syncline.verify.tables_ends import open_delta_destination

        return open_delta_destination(config, target, scope, work_dir)
    if name == "iceberg":
        from syncline.verify.tables_ends import open_iceberg_destination

        return open_iceberg_destination(config, target, scope, work_dir)
    raise _unknown("destination", name)


def _unknown(role: str, name: str) -> SynclineError:
    return SynclineError(
        ErrorKind.CONFIG,
        f"verify cannot read {role} {name!r}",
        hint="it reads Postgres, MySQL and files as sources; Postgres, DuckDB, local, s3, delta and iceberg as "
        "destinations",
    )


def _quarantine(end: DestinationEnd, key: Sequence[ColumnSpec]) -> tuple[Iterable[str], int]:
    """The keys of the rows beside the destination, and how many rows there are."""
    records = end.quarantine()
    return (key_texts(records, key) if key else ()), len(records)


def _notes_before(checkpoint: StreamCheckpoint) -> tuple[str, ...]:
    if checkpoint.phase is not Phase.READING:
        return ()
    if checkpoint.write is WriteMode.REPLACE:
        return ("a sync of this stream is unfinished: the destination still shows the copy before it",)
    return ("a sync of this stream is unfinished: some of its rows are at the destination, the others are missing",)


def _notes_after(selected: SelectedStream, report: VerifyReport, *, logged: bool) -> list[str]:
    if report.equal:
        return []
    notes = []
    if logged and selected.sync_mode is SyncMode.INCREMENTAL_APPEND:
        notes.append(
            "in a log of changes, values that an update left out stand in an earlier record, a truncate ends what was "
            "before it, and a row whose key changed leaves its former key (_syncline_old_key): all show as differences"
        )
    elif selected.sync_mode.incremental and report.extra and not logged:
        notes.append("without a log a sync does not see deletes: rows deleted at the source are the extra ones")
    if not selected.sync_mode.incremental:
        notes.append("a full copy has no position: rows changed at the source after it began show as differences")
    if selected.sync_mode is SyncMode.INCREMENTAL_APPEND and not selected.primary_key:
        notes.append("appended without a key: old versions of changed rows are extra ones")
    return notes
