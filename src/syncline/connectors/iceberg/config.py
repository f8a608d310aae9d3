"""Configuration of the Iceberg destination."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, model_validator

from syncline.core.stream import StreamName
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.tables.config import TablesConfig

__all__ = ["CatalogConfig", "IcebergDestinationConfig"]


class CatalogConfig(ConnectorConfig):
    """Where the newest version of each table is written down."""

    type: Literal["sql", "rest", "glue"] = Field(
        default="sql",
        description="sql: a database (SQLite below path when no uri is given). rest: a server of the Iceberg REST "
        "protocol. glue: AWS Glue.",
    )
    name: str = Field(
        default="syncline", min_length=1, description="Name of the catalog, as SQL catalogs hold several."
    )
    uri: SecretStr | None = Field(
        default=None,
        description="sql: an SQLAlchemy URL, such as postgresql+psycopg://user:secret@host/db. rest: the server's URL.",
    )
    warehouse: str | None = Field(default=None, description="rest: the warehouse, where the server has several.")
    token: SecretStr | None = Field(default=None, description="rest: a bearer token.")
    credential: SecretStr | None = Field(default=None, description="rest: client id and secret for OAuth2, id:secret.")
    glue_endpoint: str | None = Field(default=None, description="glue: URL of another service that speaks its API.")
    glue_id: str | None = Field(default=None, description="glue: id of the catalog's account, when it is another one.")
    properties: dict[str, str] = Field(
        default_factory=dict, description="More properties of pyiceberg's catalog, as its documentation names them."
    )

    @model_validator(mode="after")
    def _whole(self) -> CatalogConfig:
        if self.type == "rest" and self.uri is None:
            raise ValueError("catalog: type rest needs a uri")
        return self


class IcebergDestinationConfig(TablesConfig):
    """Iceberg tables below a folder or a bucket's prefix."""

    catalog: CatalogConfig = Field(default_factory=CatalogConfig, description="type, uri and what else it needs.")
    schema_name: str = Field(
        default="default",
        min_length=1,
        validation_alias=AliasChoices("schema_name", "schema", "database", "iceberg_namespace"),
        description="Iceberg namespace (in Glue: database) of the tables, unless namespace: source takes the stream's.",
    )

    @model_validator(mode="after")
    def _has_a_catalog(self) -> IcebergDestinationConfig:
        if self.catalog.type == "sql" and self.catalog.uri is None and self.path is None:
            raise ValueError("tables in a bucket need a catalog: give catalog.uri (SQL), or catalog.type rest or glue")
        return self

    def identifier(self, stream: StreamName) -> tuple[str, str]:
        """Namespace and name of a stream's table in the catalog."""
        namespace, name = self.table_name(stream)
        return namespace or self.schema_name, name

    def catalog_properties(self) -> dict[str, Any]:
        """What pyiceberg needs to open the catalog, without the keys of S3."""
        catalog = self.catalog
        found: dict[str, Any] = {"type": catalog.type, **catalog.properties}
        if catalog.uri is not None:
            found["uri"] = catalog.uri.get_secret_value()
        elif catalog.type == "sql":
            assert self.path is not None
            found["uri"] = f"sqlite:///{self.path / self.s3_bucket_path}/iceberg-catalog.db"
        if catalog.warehouse is not None:
            found["warehouse"] = catalog.warehouse
        for name in ("token", "credential"):
            secret: SecretStr | None = getattr(catalog, name)
            if secret is not None:
                found[name] = secret.get_secret_value()
        if catalog.glue_endpoint is not None:
            found["glue.endpoint"] = catalog.glue_endpoint
        if catalog.glue_id is not None:
            found["glue.id"] = catalog.glue_id
        return found

    def root_url(self) -> str:
        """The place of all tables as Iceberg writes addresses, with a slash at its end."""
        if self.path is not None:
            return f"file://{self.path}/{self.s3_bucket_path}"
        return f"s3://{self.s3_bucket_name}/{self.s3_bucket_path}"
