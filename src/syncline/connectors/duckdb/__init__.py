"""DuckDB database files as a destination."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["DESTINATION"]

DESTINATION = ConnectorSpec(
    name="duckdb",
    role="destination",
    title="DuckDB",
    summary="Tables of one DuckDB database file; every sync mode; the file is open only while a commit runs.",
    config="syncline.connectors.duckdb.config:DuckdbDestinationConfig",
    factory="syncline.connectors.duckdb.destination:DuckdbDestination",
    drivers=("duckdb",),
)
