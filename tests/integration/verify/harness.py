"""Syncs and verifies a connection between real systems, as the commands do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from syncline.connectors.files.config import S3DestinationConfig
from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.selection import StreamChoice, select_streams
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now, target_for
from syncline.engine.sync import AttemptResult, run_attempt
from syncline.sdk.connector import ConnectorContext, connector
from syncline.sdk.metadata import MetadataColumns
from syncline.sdk.reference import ConnectorReference, open_destination, open_source, validated
from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server
from syncline.verify import VerifyReport, verify_stream


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One stream from a source to a destination."""

    source: ConnectorReference
    destination: ConnectorReference
    work_dir: Path
    choice: StreamChoice
    metadata: MetadataColumns = MetadataColumns.SYNCLINE

    def sync(self) -> AttemptResult:
        spec = self._spec()
        result = run_attempt(spec, lambda event: None, LocalExecutor)
        assert result.succeeded, result.error
        return result

    def verify(self, **options: Any) -> VerifyReport:
        spec = self._spec()
        context = ConnectorContext(connection=spec.connection, work_dir=self.work_dir)
        with closing(open_destination(self.destination, context)) as destination:
            entry = destination.committed(spec.connection, self._selected().name)
        return self.verify_only(entry.checkpoint if entry else None, **options)

    def verify_only(self, checkpoint: StreamCheckpoint | None = None, **options: Any) -> VerifyReport:
        """Without asking the ledger."""
        spec, selected = self._spec(), self._selected()
        target = target_for(spec, selected, write=WriteMode.REPLACE, generation=1, sync_id="")
        ends = [
            validated(connector(role, reference.type), reference, role)  # type: ignore[arg-type]
            for role, reference in (("source", self.source), ("destination", self.destination))
        ]
        return verify_stream(
            ends[0],
            self.destination.type,
            ends[1],
            selected,
            target,
            checkpoint,
            work_dir=self.work_dir,
            **options,
        )

    def _selected(self) -> SelectedStream:
        spec = self._spec()
        context = ConnectorContext(connection=spec.connection, work_dir=self.work_dir)
        with (
            closing(open_source(self.source, context)) as source,
            closing(open_destination(self.destination, context)) as destination,
        ):
            (selected,) = select_streams(source.discover(), spec.choices, spec.default, destination.traits)
        return selected

    def _spec(self) -> AttemptSpec:
        at = now()
        return AttemptSpec(
            connection="c",
            source=self.source,
            destination=self.destination,
            choices=(self.choice,),
            default=StreamChoice(),
            sync_id=new_sync_id(),
            sync_date=at.date(),
            started_at=at,
            attempt=1,
            work_dir=str(self.work_dir),
            metadata=self.metadata,
        )


@dataclass(frozen=True, kw_only=True)
class Systems:
    """The servers and folders of one test."""

    postgres: PostgresServer
    database: str
    folder: Path
    s3: S3Server | None = None
    bucket: str = ""

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.postgres.dsn(self.database), autocommit=True, client_encoding="UTF8") as session:
            for statement in statements:
                session.execute(statement.encode())

    def source(self, **config: Any) -> ConnectorReference:
        return ConnectorReference(type="postgres", config={**self._server(), **config})

    def destination(self, kind: str, **config: Any) -> ConnectorReference:
        """``kind`` is a connector's name, for files with the format: ``local Parquet``, ``s3 JSONL``."""
        name, _, format_type = kind.partition(" ")
        if name == "postgres":
            return ConnectorReference(type=name, config={**self._server(), "schema": "copy", **config})
        if name == "duckdb":
            return ConnectorReference(type=name, config={"path": str(self.folder / "copy.duckdb"), **config})
        files = {"format": {"format_type": format_type or "Parquet"}, **config}
        if name == "local":
            return ConnectorReference(type=name, config={"path": str(self.folder / "lake"), **files})
        assert self.s3 is not None
        key = self.s3.credentials
        reached = {
            "bucket": self.bucket,
            "path_prefix": "bronze/",
            "endpoint": self.s3.endpoint_url,
            "region": self.s3.region,
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
        }
        S3DestinationConfig.model_validate({**reached, **files})
        return ConnectorReference(type=name, config={**reached, **files})

    def connection(
        self,
        kind: str,
        *,
        stream: str = "t",
        mode: str = "full_refresh",
        cursor: str | None = None,
        key: tuple[str, ...] | None = None,
        columns: tuple[str, ...] | None = None,
        source: Mapping[str, Any] | None = None,
        destination: Mapping[str, Any] | None = None,
        metadata: MetadataColumns = MetadataColumns.SYNCLINE,
    ) -> Connection:
        return Connection(
            source=self.source(**(source or {})),
            destination=self.destination(kind, **(destination or {})),
            work_dir=self.folder / "work",
            choice=StreamChoice(name=stream, mode=mode, cursor_field=cursor, primary_key=key, columns=columns),
            metadata=metadata,
        )

    def _server(self) -> dict[str, Any]:
        found = self.postgres.params(self.database)
        return {
            "host": found["host"],
            "port": int(found["port"]),
            "database": self.database,
            "username": found["user"],
            "password": found["password"],
        }
