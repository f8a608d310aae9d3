"""The way to BigQuery: jobs that are carried out once, whatever is heard of them, and what each of them cost.

A job's id is given by us and BigQuery takes each id once. A try whose answer was lost is found again under its id; a
job that another process may already have begun (a publication) has an id that both know.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.api_core import exceptions as api
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.oauth2 import service_account

from syncline.connectors.bigquery.bucket import Bucket
from syncline.connectors.bigquery.config import BigqueryDestinationConfig, BucketLoading
from syncline.connectors.bigquery.errors import from_google, our_errors
from syncline.connectors.bigquery.names import TableName
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Answer", "Script", "Statement", "Warehouse", "credentials_of"]

_RETRY = DEFAULT_RETRY.with_timeout(120.0)
_TRIES = 8
_SCOPES = ("https://www.googleapis.com/auth/bigquery", "https://www.googleapis.com/auth/cloud-platform")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One job that ran: when it ended, for which stream (empty: for all) and what, its id, and the bytes that BigQuery
    says it processed and billed."""

    at: datetime
    stream: str
    what: str
    job: str
    bytes_processed: int
    bytes_billed: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Rows of a query, and how many rows a statement changed."""

    rows: list[tuple[Any, ...]]
    affected: int


class Script:
    """Statements in order and the values bound in them."""

    def __init__(self) -> None:
        self._statements: list[str] = []
        self.values: dict[str, Any] = {}

    def value(self, value: Any) -> str:
        """Bind a value; gives what stands for it in SQL."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"@{name}"

    def add(self, statement: str) -> None:
        self._statements.append(statement.strip())

    @property
    def transaction(self) -> str:
        """All statements or none: a script that fails before its COMMIT is rolled back by BigQuery."""
        return ";\n".join(["BEGIN TRANSACTION", *self._statements, "COMMIT TRANSACTION;"])


class Warehouse:
    """One dataset. Making one opens nothing; usable from any thread, each of which gets a client of its own."""

    def __init__(self, config: BigqueryDestinationConfig, connection: str) -> None:
        self._config = config
        self._project, self._dataset = config.dataset
        self._location = config.dataset_location or None
        self._labels = {"syncline_connection": _label(connection)}
        self._local = threading.local()
        self._clients: list[bq.Client] = []
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self.statements: list[Statement] = []

    @property
    def where(self) -> str:
        return f"{self._project}.{self._dataset}"

    def table_name(self, name: str) -> TableName:
        return TableName(project=self._project, dataset=self._dataset, name=name)

    # -- queries -----------------------------------------------------------------------------------------------------

    def query(self, sql: str, values: Mapping[str, Any] | None = None, *, what: str, stream: str = "") -> Answer:
        """Run one statement or script; what it does is done once."""
        name = f"syncline_{uuid.uuid4().hex}"
        with our_errors(stream=stream or None):
            job = self._found(name, lambda: self._begin(sql, values or {}, name, what))
            return self._answer(job, what, stream)

    def commit(self, script: Script, *, what: str, stream: str = "") -> None:
        """Run a script as one transaction, again when another one was in its way."""
        self.change(script.transaction, script.values, what=what, stream=stream)

    def change(self, sql: str, values: Mapping[str, Any], *, what: str, stream: str = "") -> Answer:
        """Run what changes the ledger. Two such cannot go on at once in BigQuery, so those of this process wait for
        each other, and one that another process was in the way of is done again: it had no effect."""
        with self._changing:
            for count in range(_TRIES):
                try:
                    return self.query(sql, values, what=what, stream=stream)
                except SynclineError as error:
                    if error.kind is not ErrorKind.TRANSIENT or count == _TRIES - 1:
                        raise
                    time.sleep(0.2 * 2**count)
        raise AssertionError("not reached")

    def query_once(self, sql: str, base: str, *, what: str, stream: str = "") -> None:
        """Run a statement that nobody may run twice, whoever asks: ``base`` begins its job's id."""
        self._once(base, lambda name: self._begin(sql, {}, name, what), what, stream)

    def try_once(self, sql: str, values: Mapping[str, Any], name: str, *, what: str, stream: str = "") -> Answer | None:
        """Run a statement under this very job id. None when there has been such a job; it has ended then."""
        with self._changing, our_errors(stream=stream or None):
            try:
                return self._answer(self._begin(sql, values, name, what), what, stream)
            except api.Conflict:
                job = self.client.get_job(name, location=self.location, retry=_RETRY)
                with contextlib.suppress(api.GoogleAPICallError):
                    job.result(retry=_RETRY)
                return None

    def _begin(self, sql: str, values: Mapping[str, Any], name: str, what: str) -> bq.QueryJob:
        config = bq.QueryJobConfig(
            query_parameters=[_parameter(k, v) for k, v in values.items()],
            priority=self._config.transformation_priority.upper(),
            labels=self._labels | {"syncline_what": _label(what)},
            use_query_cache=False,
        )
        return self.client.query(
            sql, job_config=config, job_id=name, location=self.location, retry=_RETRY, job_retry=None
        )

    def _answer(self, job: Any, what: str, stream: str) -> Answer:
        found = job.result(retry=_RETRY, **({"job_retry": None} if isinstance(job, bq.QueryJob) else {}))
        rows = [tuple(row.values()) for row in found] if isinstance(job, bq.QueryJob) else []
        self._remember(job, what, stream)
        return Answer(rows=rows, affected=int(getattr(job, "num_dml_affected_rows", 0) or 0))

    def _found(self, name: str, begin: Callable[[], Any]) -> Any:
        try:
            return begin()
        except api.Conflict:
            # An earlier request of ours did arrive.
            return self.client.get_job(name, location=self.location, retry=_RETRY)

    def _once(self, base: str, begin: Callable[[str], Any], what: str, stream: str) -> None:
        """Tries have numbers: one that failed for whoever began it is followed by the next, and everybody goes the same
        way along them, so that at most one succeeds."""
        count = tries = 0
        while True:
            name, ours = f"{base}_{count}", True
            with our_errors(stream=stream or None):
                try:
                    job = begin(name)
                except api.Conflict:
                    job, ours = self.client.get_job(name, location=self.location, retry=_RETRY), False
                try:
                    self._answer(job, what, stream)
                except api.GoogleAPICallError as error:
                    count += 1
                    if not ours:
                        continue
                    tries += 1
                    if from_google(error).kind is not ErrorKind.TRANSIENT or tries == _TRIES:
                        raise
                    time.sleep(0.2 * 2**tries)
                else:
                    return

    def _remember(self, job: Any, what: str, stream: str) -> None:
        processed, billed = (int(getattr(job, f"total_bytes_{w}", 0) or 0) for w in ("processed", "billed"))
        with self._lock:
            self.statements.append(
                Statement(
                    at=datetime.now(UTC),
                    stream=stream,
                    what=what,
                    job=str(job.job_id),
                    bytes_processed=processed,
                    bytes_billed=billed,
                )
            )

    def taken_statements(self) -> list[Statement]:
        """The statements since the last time; they are forgotten here."""
        with self._lock:
            taken, self.statements = self.statements, []
            return taken

    # -- files and tables --------------------------------------------------------------------------------------------

    def load(self, path: Path, table: TableName, schema: Sequence[tuple[str, str]], base: str, stream: str) -> None:
        """Append a Parquet file's rows to a table that is there. ``base`` follows from what is loaded."""
        config = bq.LoadJobConfig(
            source_format="PARQUET",
            schema=[bq.SchemaField(name, kind) for name, kind in schema],
            write_disposition="WRITE_APPEND",
            create_disposition="CREATE_NEVER",
            labels=self._labels,
        )
        # Without it every decimal is taken for NUMERIC.
        config.decimal_target_types = [bq.DecimalTargetType.NUMERIC, bq.DecimalTargetType.BIGNUMERIC]
        bucket, loading = self.bucket(), f"{table.name}/{base}.parquet"
        if bucket is not None:
            with contextlib.closing(bucket):
                address = bucket.put(path, loading)
                # It is removed once the job has ended: one that is asked for again under its id needs it no more.
                self._once(base, lambda name: self._begin_load(address, table, name, config), "load", stream)
                bucket.delete(loading)
            return

        def begin(name: str) -> Any:
            with path.open("rb") as file:
                return self.client.load_table_from_file(
                    file, table.path, size=path.stat().st_size, job_id=name, location=self.location, job_config=config
                )

        self._once(base, begin, "load", stream)

    def _begin_load(self, address: str, table: TableName, name: str, config: bq.LoadJobConfig) -> Any:
        return self.client.load_table_from_uri(
            [address], table.path, job_id=name, location=self.location, job_config=config, retry=_RETRY
        )

    def bucket(self) -> Bucket | None:
        """The bucket through which files are loaded; the caller closes it. None: they are uploaded with the jobs."""
        method = self._config.loading_method
        return Bucket(method, credentials_of(self._config)) if isinstance(method, BucketLoading) else None

    def copy_once(self, source: TableName, to: TableName, base: str, stream: str) -> None:
        """Put a table in the place of another in one act, free of charge."""
        config = bq.CopyJobConfig(write_disposition="WRITE_TRUNCATE", labels=self._labels)

        def begin(name: str) -> Any:
            return self.client.copy_table(
                source.path, to.path, job_id=name, location=self.location, job_config=config, retry=_RETRY
            )

        self._once(base, begin, "publish", stream)

    def find(self, table: TableName) -> bq.Table | None:
        """What BigQuery knows of a table or view; None when there is none."""
        with our_errors(table=table.path):
            try:
                return self.client.get_table(table.path, retry=_RETRY)
            except api.NotFound as error:
                if "dataset" in str(error).lower() and "table" not in str(error).lower():
                    raise
                return None

    def create(self, table: bq.Table) -> None:
        with our_errors(table=table.table_id):
            self.client.create_table(table, exists_ok=True, retry=_RETRY)

    def drop(self, table: TableName) -> None:
        """Remove a table; no error when it is gone."""
        with our_errors(table=table.path):
            self.client.delete_table(table.path, not_found_ok=True, retry=_RETRY)

    def table_names(self, prefix: str) -> list[str]:
        """Names of tables that begin so."""
        with our_errors():
            found: Iterator[Any] = self.client.list_tables(f"{self._project}.{self._dataset}", retry=_RETRY)
            return [t.table_id for t in found if t.table_id.startswith(prefix)]

    def dataset(self) -> bq.Dataset:
        """The dataset, asked for with little patience: the first thing that a check does."""
        with our_errors(dataset=self.where):
            try:
                return self.client.get_dataset(f"{self._project}.{self._dataset}", retry=DEFAULT_RETRY.with_timeout(15))
            except api.NotFound as error:
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"there is no dataset {self.where}",
                    hint=f"make it: bq --location={self._config.dataset_location or 'US'} mk --dataset "
                    f"{self._project}:{self._dataset}; or correct dataset_id",
                    where={"connector": "bigquery", "dataset": self.where},
                ) from error

    # -- the clients -------------------------------------------------------------------------------------------------

    @property
    def location(self) -> str:
        """Where jobs run: given, or the dataset's."""
        if self._location is None:
            self._location = str(self.dataset().location)
        return self._location

    @property
    def client(self) -> bq.Client:
        made = getattr(self._local, "client", None)
        if made is None:
            made = self._local.client = _client(self._config)
            with self._lock:
                self._clients.append(made)
        return made

    def close(self) -> None:
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()
        self._local = threading.local()


def credentials_of(config: BigqueryDestinationConfig) -> Any:
    """Those of the configuration; None: the machine's own."""
    if config.credentials_json is not None:
        info = json.loads(config.credentials_json.get_secret_value())
        try:
            return service_account.Credentials.from_service_account_info(info, scopes=_SCOPES)
        except ValueError as error:
            raise SynclineError(
                ErrorKind.AUTH,
                "credentials_json is not a usable key of a service account",
                hint="make a new key: gcloud iam service-accounts keys create key.json --iam-account NAME",
                where={"connector": "bigquery"},
            ) from error
    return AnonymousCredentials() if (config.endpoint or "").startswith("http://") else None


def _client(config: BigqueryDestinationConfig) -> bq.Client:
    options = ClientOptions(api_endpoint=config.endpoint) if config.endpoint else None
    with our_errors():
        return bq.Client(
            project=config.project_id,
            credentials=credentials_of(config),
            client_options=options,
            location=config.dataset_location or None,
        )


def _parameter(name: str, value: Any) -> bq.ScalarQueryParameter | bq.ArrayQueryParameter:
    if isinstance(value, list):
        return bq.ArrayQueryParameter(name, "STRING", value)
    kind = "BOOL" if isinstance(value, bool) else "INT64" if isinstance(value, int) else "STRING"
    return bq.ScalarQueryParameter(name, kind, value)


def _label(text: str) -> str:
    """Labels take small letters, digits, _ and -, at most 63."""
    return re.sub(r"[^a-z0-9_-]", "_", text.lower())[:63]
