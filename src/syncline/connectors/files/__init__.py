"""Files, in a local folder or in S3: one source and two destinations over one implementation."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["LOCAL_DESTINATION", "S3_DESTINATION", "SOURCE"]

SOURCE = ConnectorSpec(
    name="files",
    role="source",
    title="Files",
    summary="Parquet, CSV and JSON lines in a folder or in S3, by patterns; incremental by modification time and name.",
    config="syncline.connectors.files.source_config:FilesSourceConfig",
    factory="syncline.connectors.files.source:FilesSource",
)

LOCAL_DESTINATION = ConnectorSpec(
    name="local",
    role="destination",
    title="Local files",
    summary="Parquet, CSV or JSON lines in a folder, with a manifest per commit.",
    config="syncline.connectors.files.config:LocalDestinationConfig",
    factory="syncline.connectors.files.destination:FilesDestination",
)

S3_DESTINATION = ConnectorSpec(
    name="s3",
    role="destination",
    title="S3",
    summary="Parquet, CSV or JSON lines in a bucket of S3 or of a service like it, with a manifest per commit.",
    config="syncline.connectors.files.config:S3DestinationConfig",
    factory="syncline.connectors.files.destination:FilesDestination",
    extra="s3",
    drivers=("boto3",),
)
