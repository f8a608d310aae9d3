"""BigQuery as a destination."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["DESTINATION"]

DESTINATION = ConnectorSpec(
    name="bigquery",
    role="destination",
    title="BigQuery",
    summary="Tables of one BigQuery dataset; every sync mode, changes by staging and a pruned MERGE.",
    config="syncline.connectors.bigquery.config:BigqueryDestinationConfig",
    factory="syncline.connectors.bigquery.destination:BigqueryDestination",
    extra="bigquery",
    drivers=("google.cloud.bigquery",),
)
