"""Connectors that speak the Airbyte protocol, run as they are, each in a process and an environment of its own."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["DESTINATION", "SOURCE"]

SOURCE = ConnectorSpec(
    name="airbyte",
    role="source",
    title="Airbyte connector",
    summary="Any source that speaks the Airbyte protocol: installed from PyPI, a local executable, or a command.",
    config="syncline.connectors.airbyte.config:AirbyteSourceConfig",
    factory="syncline.connectors.airbyte.source:AirbyteSource",
    extra="airbyte",
    drivers=("msgspec",),
)
DESTINATION = ConnectorSpec(
    name="airbyte",
    role="destination",
    title="Airbyte connector",
    summary="Any destination that speaks the Airbyte protocol: installed from PyPI, a local executable, or a command.",
    config="syncline.connectors.airbyte.config:AirbyteDestinationConfig",
    factory="syncline.connectors.airbyte.destination:AirbyteDestination",
    extra="airbyte",
    drivers=("msgspec",),
)
