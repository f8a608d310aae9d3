"""What a connection does with rows on their way from the source: choose, rename, cast, hash, mask, encrypt, derive,
filter, flatten. See docs/mappings.md."""

from syncline.sdk.mapping.blocks import checked_blocks, mapped_catalog
from syncline.sdk.mapping.mapper import Lineage, Mapper, mapped_name
from syncline.sdk.mapping.selecting import ensure_names_apart, map_selected, mapper_of
from syncline.sdk.mapping.source import mapped_source

__all__ = [
    "Lineage",
    "Mapper",
    "checked_blocks",
    "ensure_names_apart",
    "map_selected",
    "mapped_catalog",
    "mapped_name",
    "mapped_source",
    "mapper_of",
]
