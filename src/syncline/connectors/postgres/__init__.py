"""PostgreSQL as source and as destination."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["DESTINATION", "SOURCE"]

SOURCE = ConnectorSpec(
    name="postgres",
    role="source",
    title="PostgreSQL",
    summary="Tables, views and partitioned tables of one database: full refresh, by log (CDC), cursor column or xmin.",
    config="syncline.connectors.postgres.config:PostgresSourceConfig",
    factory="syncline.connectors.postgres.reading.source:PostgresSource",
    extra="postgres",
    drivers=("psycopg",),
)

DESTINATION = ConnectorSpec(
    name="postgres",
    role="destination",
    title="PostgreSQL",
    summary="Tables of one schema, loaded by COPY; every sync mode; bytes of a Postgres source are relayed undecoded.",
    config="syncline.connectors.postgres.config:PostgresDestinationConfig",
    factory="syncline.connectors.postgres.writing.destination:PostgresDestination",
    extra="postgres",
    drivers=("psycopg",),
)
