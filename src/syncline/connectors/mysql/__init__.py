"""MySQL and MariaDB as a source."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["SOURCE"]

SOURCE = ConnectorSpec(
    name="mysql",
    role="source",
    title="MySQL and MariaDB",
    summary="Tables and views of one database: full refresh, by a cursor column, or by the binary log (CDC).",
    config="syncline.connectors.mysql.config:MySqlSourceConfig",
    factory="syncline.connectors.mysql.source:MySqlSource",
    extra="mysql",
    drivers=("pymysql",),
)
