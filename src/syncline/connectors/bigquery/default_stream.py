"""The default stream of a table, for BigQuery's own change data capture: rows in protobuf, each with what it does to
the row of its key and a number that says which of two came later.

A default stream takes rows at least once and in any order. BigQuery keeps for each key the row with the highest
sequence number, so rows that are sent again, or late, change nothing: what is not sure to have arrived is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
from google.api_core import exceptions as api
from google.api_core.client_options import ClientOptions
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from syncline.connectors.bigquery.config import BigqueryDestinationConfig
from syncline.connectors.bigquery.errors import our_errors
from syncline.connectors.bigquery.names import TableName
from syncline.connectors.bigquery.warehouse import credentials_of
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["CHANGE_TYPE", "SEQUENCE", "DefaultStreams", "RowForm"]

CHANGE_TYPE, SEQUENCE = "_CHANGE_TYPE", "_CHANGE_SEQUENCE_NUMBER"

_Proto = descriptor_pb2.FieldDescriptorProto
#: What a column's values are on the wire; text for every type that is not here.
_KINDS = {
    "BOOL": _Proto.TYPE_BOOL,
    "INT64": _Proto.TYPE_INT64,
    "FLOAT64": _Proto.TYPE_DOUBLE,
    "BYTES": _Proto.TYPE_BYTES,
    "DATE": _Proto.TYPE_INT32,
    "TIMESTAMP": _Proto.TYPE_INT64,
}
#: A request takes 10 MB, and a row of it may be nearly that.
_REQUEST_BYTES = 4 << 20
_SECONDS = 300.0
_TRIES = 8
#: How BigQuery says that the stream does not know a column yet that an ALTER TABLE has added; it takes minutes.
_NOT_YET = "SCHEMA_MISMATCH"


class RowForm:
    """The message that a table's rows are. ``columns``: the table's columns that are sent, and their types."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        file = descriptor_pb2.FileDescriptorProto(name="syncline/row.proto", package="syncline", syntax="proto2")
        self.descriptor = file.message_type.add(name="Row")
        kinds = {**columns, CHANGE_TYPE: "STRING", SEQUENCE: "STRING"}
        for number, (name, kind) in enumerate(kinds.items(), 1):
            made = self.descriptor.field.add(name=name, number=number, label=_Proto.LABEL_OPTIONAL)
            made.type = _KINDS.get(kind, _Proto.TYPE_STRING)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._message: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("syncline.Row"))

    def row(self, values: Mapping[str, Any], change: str, sequence: str) -> bytes:
        """One row as it is sent; a value that is missing is NULL."""
        made = self._message(**values, **{CHANGE_TYPE: change, SEQUENCE: sequence})
        sent: bytes = made.SerializeToString()
        return sent


class DefaultStreams:
    """Opens nothing before the first row. ``channel``: used instead of one to Google or to ``storage_endpoint``."""

    def __init__(self, config: BigqueryDestinationConfig, channel: Any = None) -> None:
        self._config, self._channel = config, channel
        self._made: BigQueryWriteClient | None = None

    def reach(self, table: TableName) -> None:
        """Raise what stands in the way of sending to the table."""
        with our_errors(table=table.path):
            self._client.get_write_stream(name=_stream(table), retry=None, timeout=30)

    def send(self, table: TableName, form: RowForm, rows: Sequence[bytes], stream: str) -> None:
        """All rows are durable when this returns. Sent again after a failure that may pass."""
        for count in range(_TRIES):
            try:
                with our_errors(stream=stream, table=table.path):
                    self._sent(table, form, rows)
                return
            except SynclineError as error:
                passing = error.kind in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE) or _NOT_YET in error.message
                if not passing or count == _TRIES - 1:
                    raise
                time.sleep(0.2 * 2**count * (8 if _NOT_YET in error.message else 1))

    def _sent(self, table: TableName, form: RowForm, rows: Sequence[bytes]) -> None:
        name, asked = _stream(table), 0

        def requests() -> Iterator[types.AppendRowsRequest]:
            nonlocal asked
            for part in _parts(rows):
                request = types.AppendRowsRequest(write_stream=name)
                data = types.AppendRowsRequest.ProtoData(rows=types.ProtoRows(serialized_rows=part))
                if not asked:
                    data.writer_schema = types.ProtoSchema(proto_descriptor=form.descriptor)
                request.proto_rows = data
                asked += 1
                yield request

        # Without the library's own retry: it would send what is left of the requests.
        routed = (("x-goog-request-params", f"write_stream={name}"),)
        answers = self._client.append_rows(requests(), metadata=routed, retry=None, timeout=_SECONDS)
        taken = 0
        for answer in answers:
            if answer.row_errors:
                refused = answer.row_errors[0]
                raise SynclineError(
                    ErrorKind.DATA,
                    f"BigQuery refused {len(answer.row_errors)} rows for table {table.path}: {refused.message[:300]}",
                    hint="nothing is lost: the run stops here and sends them again; please report this with the "
                    "column's type",
                )
            if answer.error.code:
                raise api.from_grpc_status(grpc_code(answer.error.code), answer.error.message)
            taken += 1
        if taken != asked:
            raise api.ServiceUnavailable(f"{asked} requests were sent, {taken} answered")

    @property
    def _client(self) -> BigQueryWriteClient:
        if self._made is None:
            address, plain = self._config.storage_endpoint, (self._config.endpoint or "").startswith("http://")
            channel = self._channel
            if channel is None and address and plain:
                channel = grpc.insecure_channel(address)
            if channel is not None:
                self._made = BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))
            else:
                options = ClientOptions(api_endpoint=address) if address else None
                self._made = BigQueryWriteClient(credentials=credentials_of(self._config), client_options=options)
        return self._made

    def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.transport.close()


def grpc_code(number: int) -> grpc.StatusCode:
    """The status that a response names by its number."""
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)


def _stream(table: TableName) -> str:
    return f"projects/{table.project}/datasets/{table.dataset}/tables/{table.name}/streams/_default"


def _parts(rows: Sequence[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for row in rows:
        if part and size + len(row) > _REQUEST_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row)
    if part:
        yield part
