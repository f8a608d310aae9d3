"""``syncline check`` for the BigQuery destination: each finding with its next step."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from google.cloud import bigquery as bq

from syncline.connectors.bigquery.bucket import Bucket
from syncline.connectors.bigquery.config import BigqueryDestinationConfig
from syncline.connectors.bigquery.default_stream import DefaultStreams
from syncline.connectors.bigquery.ledger import Ledger, ledger_tables_are_there
from syncline.connectors.bigquery.names import OURS
from syncline.connectors.bigquery.tables import Tables, place_of
from syncline.connectors.bigquery.warehouse import Script, Warehouse
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import WriteMode
from syncline.sdk.findings import Finding, Severity

__all__ = ["check"]


def check(
    config: BigqueryDestinationConfig, warehouse: Warehouse, targets: Sequence[StreamTarget], folder: Path
) -> list[Finding]:
    """Look at dataset, location, rights (by trying), and the tables in the way. Leaves nothing behind. ``folder``: a
    local one for what is written to a bucket."""
    try:
        findings = [_dataset(config, warehouse), _rights(config, warehouse)]
        if (bucket := warehouse.bucket()) is not None:
            findings.append(_bucket(bucket, folder))
        known = ledger_tables_are_there(warehouse)
    except SynclineError as error:
        return [_of(error)]
    seen: dict[str, StreamTarget] = {}
    for target in targets:
        place = place_of(config, warehouse, target.connection, target.stream)
        other = seen.setdefault(place.table.name.lower(), target)
        if other is not target:
            findings.append(
                Finding(
                    severity=Severity.ERROR,
                    kind=ErrorKind.CONFIG,
                    message=f"streams {other.stream} and {target.stream} would both go into table {place.table.path}",
                    hint="set namespace: prefix, so that the namespace is part of the table's name",
                    stream=str(target.stream),
                )
            )
            continue
        findings.append(_table(config, warehouse, target, known=known))
    return findings


def _dataset(config: BigqueryDestinationConfig, warehouse: Warehouse) -> Finding:
    found = warehouse.dataset()
    here, wanted = str(found.location or ""), config.dataset_location
    if wanted and here and here.lower() != wanted.lower():
        raise SynclineError(
            ErrorKind.CONFIG,
            f"dataset {warehouse.where} is in {here}, dataset_location says {wanted}",
            hint=f"set dataset_location: {here}, or leave it out",
        )
    if found.default_table_expiration_ms:
        days = found.default_table_expiration_ms / 86_400_000
        return Finding(
            severity=Severity.WARNING,
            message=f"tables of dataset {warehouse.where} expire after {days:g} days, our ledger too",
            hint=f"bq update --default_table_expiration 0 {warehouse.where.replace('.', ':')}",
        )
    return Finding(severity=Severity.OK, message=f"dataset {warehouse.where} in {here or wanted}")


def _rights(config: BigqueryDestinationConfig, warehouse: Warehouse) -> Finding:
    """Everything that a sync does, on a table of its own: make, change within a transaction, open its stream where
    changes are streamed, drop."""
    name = warehouse.table_name(f"{OURS}check_{uuid.uuid4().hex[:12]}")
    warehouse.create(bq.Table(name.path, [bq.SchemaField("a", "INT64")]))
    try:
        script = Script()
        script.add(f"INSERT INTO {name} (a) VALUES ({script.value(1)})")
        warehouse.commit(script, what="check")
        if config.changes == "stream":
            with closing(DefaultStreams(config)) as streams:
                streams.reach(name)
    finally:
        warehouse.drop(name)
    return Finding(severity=Severity.OK, message="tables can be made, changed in a transaction and dropped")


def _bucket(bucket: Bucket, folder: Path) -> Finding:
    """An object written, found and removed."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{OURS}check_{uuid.uuid4().hex[:12]}"
    with closing(bucket), tempfile.NamedTemporaryFile(dir=folder) as file:
        address = bucket.put(Path(file.name), name)
        try:
            list(bucket.names(name))
        finally:
            bucket.delete(name)
    return Finding(severity=Severity.OK, message=f"{address.removesuffix(name)} can be written, listed and cleared")


def _table(config: BigqueryDestinationConfig, warehouse: Warehouse, target: StreamTarget, *, known: bool) -> Finding:
    stream = str(target.stream)
    place = place_of(config, warehouse, target.connection, target.stream)
    ledger = Ledger(warehouse, target.connection, target.stream)
    try:
        tables = Tables(config, warehouse, ledger, place, target)
        tables.inspect(warehouse.find(place.table), ledger.row() if known else None)
    except SynclineError as error:
        return _of(error, stream)
    what = "replaced" if target.write is WriteMode.REPLACE else "written"
    return Finding(severity=Severity.OK, message=f"table {place.table.path} can be {what}", stream=stream)


def _of(error: SynclineError, stream: str | None = None) -> Finding:
    return Finding(severity=Severity.ERROR, message=error.message, kind=error.kind, hint=error.hint, stream=stream)
