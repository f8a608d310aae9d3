"""Opening the catalog, with the keys of S3 that our own client found."""

from __future__ import annotations

from pyiceberg.catalog import Catalog, load_catalog

from syncline.connectors.iceberg.config import IcebergDestinationConfig
from syncline.connectors.iceberg.errors import told
from syncline.sdk.files.s3 import S3Store
from syncline.sdk.files.store import ObjectStore

__all__ = ["open_catalog"]


def open_catalog(config: IcebergDestinationConfig, store: ObjectStore) -> Catalog:
    """The catalog; a SQLite file is made with its folder when it is missing."""
    properties = {**_storage(store), **config.catalog_properties()}
    if config.catalog.type == "sql" and config.catalog.uri is None:
        assert config.path is not None
        with told(str(config.path)):
            (config.path / config.s3_bucket_path).mkdir(parents=True, exist_ok=True)
    with told(f"catalog {config.catalog.name}"):
        return load_catalog(config.catalog.name, **properties)


def _storage(store: ObjectStore) -> dict[str, str]:
    if not isinstance(store, S3Store):
        return {}
    client = store.client
    region = str(client.meta.region_name)
    found = {"s3.region": region, "s3.endpoint": str(client.meta.endpoint_url), "client.region": region}
    credentials = client._request_signer._credentials
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        found |= {"s3.access-key-id": frozen.access_key, "s3.secret-access-key": frozen.secret_key}
        found |= {"client.access-key-id": frozen.access_key, "client.secret-access-key": frozen.secret_key}
        if frozen.token:
            found |= {"s3.session-token": frozen.token, "client.session-token": frozen.token}
    return found
