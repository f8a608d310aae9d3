"""Reads one table of a lake by DuckDB's own reader of the format and writes its rows into a Parquet file.

python read_lake.py delta FOLDER OUT
python read_lake.py iceberg METADATA_JSON OUT
"""

import sys

import duckdb
from duckdb_extensions import import_extension


def main(kind: str, place: str, out: str) -> None:
    connection = duckdb.connect()
    for name in ("delta",) if kind == "delta" else ("avro", "iceberg"):
        import_extension(name, con=connection)
        connection.load_extension(name)
    connection.execute("SET TimeZone = 'UTC'")
    connection.table_function(f"{kind}_scan", [place]).write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
