"""What each statement of a run cost, kept beside the tables: ``_syncline_statements``, filled by load jobs, which are
free, at the end of a run and now and then while a log is followed."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud import bigquery as bq

from syncline.connectors.bigquery.names import OURS
from syncline.connectors.bigquery.warehouse import Statement, Warehouse
from syncline.core.errors import SynclineError

__all__ = ["COLUMNS", "Costs"]

_LOG = logging.getLogger(__name__)
#: Statements that are kept in memory before they are written down.
_MANY = 500
_KEPT_DAYS = 90

COLUMNS = (
    ("connection", "STRING", pa.string()),
    ("run", "STRING", pa.string()),
    ("at", "TIMESTAMP", pa.timestamp("us", tz="UTC")),
    ("stream", "STRING", pa.string()),
    ("what", "STRING", pa.string()),
    ("job_id", "STRING", pa.string()),
    ("bytes_processed", "INT64", pa.int64()),
    ("bytes_billed", "INT64", pa.int64()),
)


class Costs:
    """The statements of one run."""

    def __init__(self, warehouse: Warehouse, connection: str, folder: Path) -> None:
        self._warehouse, self._connection, self._folder = warehouse, connection, folder
        self._run = uuid.uuid4().hex

    def keep(self, *, at_end: bool) -> None:
        """Write down what has come together, if it is much or the run is at its end. It is an account, not data: what
        cannot be written is said in the log and fails nothing."""
        if len(self._warehouse.statements) < (1 if at_end else _MANY):
            return
        try:
            self._write(self._warehouse.taken_statements())
        except (SynclineError, OSError) as error:
            _LOG.warning("the costs of %s statements could not be kept: %s", len(self._warehouse.statements), error)

    def _write(self, statements: Sequence[Statement]) -> None:
        table = self._warehouse.table_name(OURS + "statements")
        if self._warehouse.find(table) is None:
            made = bq.Table(table.path, [bq.SchemaField(name, kind) for name, kind, _ in COLUMNS])
            made.time_partitioning = bq.TimePartitioning(field="at", expiration_ms=_KEPT_DAYS * 86_400_000)
            self._warehouse.create(made)
        rows = [
            (self._connection, self._run, s.at, s.stream, s.what, s.job, s.bytes_processed, s.bytes_billed)
            for s in statements
        ]
        arrays = [pa.array([r[i] for r in rows], kind) for i, (_, _, kind) in enumerate(COLUMNS)]
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(suffix=".parquet", dir=self._folder) as file:
            pq.write_table(pa.Table.from_arrays(arrays, names=[n for n, _, _ in COLUMNS]), file.name)
            base = f"syncline_costs_{self._run}_{int(datetime.now(UTC).timestamp() * 1000)}"
            self._warehouse.load(Path(file.name), table, [(n, k) for n, k, _ in COLUMNS], base, "")
