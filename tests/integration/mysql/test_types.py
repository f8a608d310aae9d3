"""Every type twice: as a query gives it and as the log does. Two decoders must agree on each cell."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.integration.mysql.conftest import Copy

from syncline.connectors.mysql.config import MySqlSourceConfig
from syncline.connectors.mysql.source import MySqlSource
from syncline.core.change import ChangeBatch, LogPosition
from syncline.core.stream import SelectedStream, SyncMode
from syncline.sdk.connector import ConnectorContext

#: type -> literals
VALUES = {
    "tinyint": ["-128", "0", "127"],
    "tinyint unsigned": ["255", "0"],
    "tinyint(1)": ["true", "2"],
    "smallint": ["-32768", "32767"],
    "smallint(5) unsigned zerofill": ["65535", "42"],
    "mediumint": ["-8388608", "8388607"],
    "mediumint unsigned": ["16777215"],
    "int": ["-2147483648", "2147483647"],
    "int unsigned": ["4294967295"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "bigint unsigned": ["18446744073709551615"],
    "decimal(10,2)": ["-99999999.99", "0.01", "-0.5", "0"],
    "decimal(65,30)": [f"-{'9' * 35}.{'9' * 30}", "0.000000000000000000000000000001", "123456789.987654321"],
    "decimal(38,0) unsigned": ["9" * 38],
    "decimal(5,5)": ["-0.12345"],
    "decimal(9,9)": ["0.123456789"],
    "decimal(18,9)": ["-123456789.123456789"],
    "float": ["3.1415926535", "-1e-38", "1e38", "0.1", "16777217"],
    "double": ["0.1", "1.7976931348623157e308", "-2.2250738585072014e-308"],
    "bit(1)": ["b'1'", "b'0'"],
    "bit(9)": ["b'101010101'", "b'0'"],
    "bit(64)": ["18446744073709551615"],
    "year": ["1901", "2155", "0"],
    "date": ["'1000-01-01'", "'9999-12-31'", "'2020-02-29'", "'0000-00-00'", "'2020-00-10'", "'1969-12-31'"],
    "datetime": ["'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'0000-00-00'", "'2020-02-29 01:02:03'"],
    "datetime(3)": ["'2020-02-29 12:34:56.789'", "'1969-12-31 23:59:59.999'", "'2021-00-01 10:00:00.5'"],
    "datetime(6)": ["'2020-02-29 12:34:56.789012'", "'9999-12-31 23:59:59.999999'"],
    "timestamp": ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'0000-00-00'"],
    "timestamp(1)": ["'2021-01-01 00:00:00.5'"],
    "timestamp(6)": ["'2021-01-01 00:00:00.000001'", "'0000-00-00'"],
    "time": ["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'12:34:56'"],
    "time(2)": ["'-00:00:00.01'", "'-01:02:03.50'", "'23:59:59.99'"],
    "time(6)": ["'-838:59:59.000001'", "'00:00:00.000001'", "'-00:00:00.999999'"],
    "char(5)": ["'ab '", "''", "'\u00fc\u20ac'"],
    "char(255)": ["repeat('\u20ac', 255)"],
    "varchar(20)": ["''", "'a\\0b'", "'\U0001f600'"],
    "varchar(20) character set latin1": ["'\u00fcn\u20ac'", "x'81'"],
    "varchar(20) character set utf16": ["'\u20ac\U0001f600'"],
    "varchar(20) character set koi8r": ["'\u0416'"],
    "varchar(20) character set sjis": ["'\u65e5\u672c'"],
    "varchar(20) character set gbk": ["'\u4e2d\u6587'"],
    "varchar(20) collate utf8mb4_uca1400_german2_ai_ci": ["'\u00df'"],
    "varchar(400)": ["repeat('x', 300)"],
    "tinytext": ["'t'"],
    "longtext": ["repeat('\u00e9', 70000)"],
    "enum('a','b''c','\u00fc')": ["'a'", "'b''c'", "'\u00fc'", "'no such label'"],
    "enum('\u00e9') character set latin1": ["'\u00e9'"],
    "set('x','y','z')": ["''", "'x,z'", "'x,y,z'"],
    "json": ["'{\"a\": [1, null]}'", "'null'"],
    "uuid": [
        "'6ccd780c-baba-1026-9564-5b8c656024db'",
        "'123e4567-e89b-42d3-a456-426614174000'",
        "'018f3a5e-7b1c-7def-8123-456789abcdef'",
        "'00000000-0000-0000-0000-000000000000'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    ],
    "inet6": ["'::1'", "'2001:db8::ff00:42:8329'", "'::ffff:192.0.2.1'", "'::'", "'::192.0.2.1'"],
    "inet4": ["'192.0.2.1'", "'0.0.0.0'"],
    "binary(4)": ["'ab'", "x'00000000'", "x'ff00ff00'"],
    "varbinary(10)": ["x'00ff'", "''"],
    "blob": ["x'00ff'", "''"],
    "longblob": ["repeat(x'00', 100000)"],
    "geometry": ["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('LINESTRING(0 0,1 1)', 4326)"],
    "point": ["POINT(1, -1)"],
}


def table(copy: Copy) -> None:
    """One column of each type, one row for each value, and one of NULLs."""
    columns = [f"c{n:02d} {native} NULL" for n, native in enumerate(VALUES)]
    copy.run(f"CREATE TABLE m (id int PRIMARY KEY AUTO_INCREMENT, {', '.join(columns)}) CHARACTER SET utf8mb4")


def fill(copy: Copy) -> None:
    depth = max(map(len, VALUES.values()))
    statements = ["SET sql_mode = ''", "SET time_zone = '+00:00'"]
    for row in range(depth + 1):
        cells = [values[row] if row < len(values) else "NULL" for values in VALUES.values()]
        statements.append(f"INSERT INTO m VALUES ({row + 1}, {', '.join(cells)})")
    copy.run(*statements)


def test_a_query_and_the_log_agree_on_every_value(copy: Copy, tmp_path: Path) -> None:
    table(copy)
    config = MySqlSourceConfig(**copy.server.config(copy.database, replication_method="CDC"))
    context = ConnectorContext(connection="types", work_dir=tmp_path / "work")
    with closing(MySqlSource(config, context)) as source:
        stream = source.discover().streams[0]
        selected = SelectedStream(
            stream=stream, sync_mode=SyncMode.INCREMENTAL_DEDUPED_HISTORY, primary_key=stream.primary_key
        )
        start = LogPosition.from_json(source.snapshot(selected).end)
        fill(copy)
        plan = source.snapshot(selected)
        read = next(iter(source.read(selected, plan.partitions[0])))
        log = source.change_log([selected])
        assert log is not None
        log.open({selected.name: start}, None)
        end = log.end()
        with closing(log.reader({selected.name: (selected, start)}, start.lsn)) as reader:
            until = time.monotonic() + 30
            batches: list[ChangeBatch] = []
            while reader.position < end and time.monotonic() < until:
                found = reader.read(1.0)
                if found is not None:
                    assert found.broken == {}
                    batches += [batch for _, batch in found.batches]
    assert len(batches) == 1
    logged = batches[0]
    assert logged.schema == stream.schema
    assert logged.rows == read.rows
    for native, name in zip(VALUES, stream.schema.names[1:], strict=True):
        assert logged.data.column(name).to_pylist() == read.data.column(name).to_pylist(), native
    assert misfits(logged) == misfits(read)
    assert len(read.misfits) == 6


def misfits(batch: Any) -> set[tuple[int, str, str]]:
    return {(m.row, m.column, m.text) for m in batch.misfits}
