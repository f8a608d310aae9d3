"""Opening both ends of a connection for looking, not for syncing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from syncline.core.checkpoint import StreamTarget
from syncline.core.stream import Catalog, SelectedStream, WriteMode
from syncline.engine.evolution.review import SchemaReview
from syncline.engine.log_stream import has_log
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now, target_for
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination
from syncline.sdk.reference import open_destination, open_source
from syncline.sdk.source import Source
from syncline.service.project import Connection
from syncline.settings import Settings

__all__ = ["Opened", "opened", "source_context"]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Both ends, open. ``spec`` is what an attempt started now would get."""

    source: Source
    destination: Destination
    spec: AttemptSpec

    def select(self, catalog: Catalog | None = None) -> list[SelectedStream]:
        """What the connection takes of the catalog (discovered when not given)."""
        found = catalog or self.source.discover()
        return SchemaReview(self.spec, found, self.destination, logged=has_log(self.source)).selection

    def target(self, selected: SelectedStream, generation: int = 1) -> StreamTarget:
        """The destination's view of the stream as its next whole copy would have it."""
        return target_for(
            self.spec,
            selected,
            write=WriteMode.REPLACE,
            generation=generation,
            sync_id=self.spec.sync_id,
            logged=has_log(self.source),
        )


def source_context(connection: Connection, settings: Settings) -> ConnectorContext:
    """The source's: destinations of one connection share it, with what lies here of its log."""
    return ConnectorContext(
        connection=connection.name,
        work_dir=settings.scratch(connection.name),
        concurrency=connection.sync.concurrency,
    )


@contextmanager
def opened(connection: Connection, settings: Settings) -> Iterator[Opened]:
    """Open source and destination of a connection; both are closed at the end."""
    started = now()
    spec = AttemptSpec(
        connection=connection.name,
        source=connection.source,
        destination=connection.destination,
        choices=connection.choices(),
        default=connection.default_choice(),
        sync_id=new_sync_id(),
        sync_date=started.date(),
        started_at=started,
        attempt=1,
        work_dir=str(settings.scratch(connection.folder_name)),
        concurrency=connection.sync.concurrency,
        metadata=connection.sync.metadata_columns,
        deletes=connection.sync.deletes,
        evolution=connection.evolution(),
    )
    context = ConnectorContext(connection=connection.name, work_dir=Path(spec.work_dir), concurrency=spec.concurrency)
    with (
        closing(open_source(connection.source, source_context(connection, settings))) as source,
        closing(open_destination(connection.destination, context)) as destination,
    ):
        yield Opened(source=source, destination=destination, spec=spec)
