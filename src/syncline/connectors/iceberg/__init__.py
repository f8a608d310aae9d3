"""Iceberg tables, in a local folder or in S3, as a destination; their catalog in SQL, behind REST, or in AWS Glue."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["DESTINATION"]

DESTINATION = ConnectorSpec(
    name="iceberg",
    role="destination",
    title="Iceberg",
    summary="Iceberg tables in a folder or a bucket, with a catalog in SQL, REST or AWS Glue; every sync mode.",
    config="syncline.connectors.iceberg.config:IcebergDestinationConfig",
    factory="syncline.connectors.iceberg.destination:IcebergDestination",
    extra="iceberg",
    drivers=("pyiceberg",),
)
