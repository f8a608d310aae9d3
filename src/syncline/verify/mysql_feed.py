"""A table of MySQL or MariaDB as a feed: its rows as the server's own text, read once in a consistent snapshot into a
file of ours, which DuckDB then reads as often as it likes. The source's transaction is as short as one pass over it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from syncline.connectors.mysql.connection import Session
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import StreamName
from syncline.verify.duckdb_cells import literal
from syncline.verify.duckdb_side import Part

__all__ = ["MySqlFeed"]

_PENDING = "_syncline_pending"
#: Rows fetched at once, and bytes gathered before they are written.
_ROWS, _BYTES = 1000, 16 << 20


class MySqlFeed:
    """See :class:`syncline.verify.duckdb_side.Feed`. ``later`` is a condition in MySQL's words that makes a row
    pending. Owns the session, which is closed once everything is read."""

    def __init__(
        self, session: Session, stream: StreamName, fields: Sequence[Field], *, later: str | None, work_dir: Path
    ) -> None:
        self.refused: Mapping[str, str] = {}
        self._fields = list(fields)
        work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = tempfile.TemporaryDirectory(prefix="verify-mysql-", dir=work_dir, ignore_cleanup_errors=True)
        self._file = Path(self._folder.name) / "rows.parquet"
        try:
            with closing(session):
                self.moment: Mapping[str, Any] = self._begin(session)
                self.estimated_rows = self._read(session, stream, later)
        except BaseException:
            self.close()
            raise

    def types(self, engine: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        return {f.name: duckdb.sqltype("VARCHAR") for f in self._fields}

    def parts(self, engine: duckdb.DuckDBPyConnection) -> Iterator[Part]:
        sql = f"read_parquet({literal(str(self._file))}, hive_partitioning = false)"
        yield Part(sql=sql, types=self.types(engine), pending=f'"{_PENDING}"')

    def close(self) -> None:
        self._folder.cleanup()

    @staticmethod
    def _begin(session: Session) -> dict[str, Any]:
        session.do(
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        )
        return {"at": datetime.now(UTC).isoformat(), "server": session.version}

    def _read(self, session: Session, stream: StreamName, later: str | None) -> int:
        asked = [_asked(f) for f in self._fields] + [f"coalesce({later}, 0)" if later else "0"]
        table = ".".join(_quoted(part) for part in (stream.namespace, stream.name) if part)
        schema = pa.schema([*((f.name, pa.string()) for f in self._fields), (_PENDING, pa.bool_())])
        count = gathered = 0
        rows: list[tuple[bytes | None, ...]] = []
        with (
            pq.ParquetWriter(self._file, schema, compression="zstd") as out,
            session.stream(f"SELECT {', '.join(asked)} FROM {table}", stream=str(stream)) as cursor,
        ):
            while fetched := cursor.fetchmany(_ROWS):
                rows += fetched
                gathered += sum(len(cell) for row in fetched for cell in row if cell is not None)
                if gathered >= _BYTES:
                    out.write_table(_table(rows, schema, stream))
                    count, gathered, rows = count + len(rows), 0, []
            out.write_table(_table(rows, schema, stream))
        return count + len(rows)


def _asked(field: Field) -> str:
    """How a query asks for a column, so that its text is exact; said here once more, on purpose, in words of our
    own."""
    column = _quoted(field.name)
    if pa.types.is_binary(field.type):
        return f"CONCAT('\\x', HEX({column}))"  # the session takes backslashes as they are
    if pa.types.is_floating(field.type):
        return f"{column} * 1e0"  # as a double: the text of a FLOAT has six digits
    if (field.native or "").lower().startswith("bit"):
        return f"{column} + 0"
    return column


def _table(rows: Sequence[tuple[bytes | None, ...]], schema: pa.Schema, stream: StreamName) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    try:
        texts = [pa.array(cells, pa.binary()).cast(pa.string()) for cells in columns[:-1]]
    except pa.ArrowInvalid as error:
        raise SynclineError(
            ErrorKind.DATA, f"a text of {stream} is not UTF-8: {error}", hint="look at the column's character set"
        ) from error
    return pa.table([*texts, pa.array([cell == b"1" for cell in columns[-1]], pa.bool_())], schema=schema)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
