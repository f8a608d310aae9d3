"""Delta Lake tables, in a local folder or in S3, as a destination."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["DESTINATION"]

DESTINATION = ConnectorSpec(
    name="delta",
    role="destination",
    title="Delta Lake",
    summary="Delta tables in a folder or a bucket; every sync mode, changes by rewriting only the files they touch.",
    config="syncline.connectors.delta.config:DeltaDestinationConfig",
    factory="syncline.connectors.delta.destination:DeltaDestination",
    extra="delta",
    drivers=("deltalake",),
)
