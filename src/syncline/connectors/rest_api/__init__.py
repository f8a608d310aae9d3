"""Sources that speak JSON over HTTP: any REST API by declaration, and services declared by us."""

from syncline.sdk.connector import ConnectorSpec

__all__ = ["SOURCE"]

SOURCE = ConnectorSpec(
    name="rest_api",
    role="source",
    title="REST API",
    summary="Any API that answers with JSON, by declaration: pages, authentication, cursors, parents, rate limits.",
    config="syncline.connectors.rest_api.config:RestApiConfig",
    factory="syncline.connectors.rest_api.source:RestApiSource",
    extra="rest",
    drivers=("httpx", "msgspec"),
)
