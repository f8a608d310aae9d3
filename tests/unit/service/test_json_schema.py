"""Catalogs in Airbyte's words, there and back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from syncline.core.errors import SynclineError
from syncline.core.schema import Field
from syncline.service import json_schema
from syncline.service.catalogs import streams_from_sync_catalog


@pytest.mark.parametrize(
    ("kind", "logical", "schema"),
    [
        (pa.int64(), None, {"type": ["null", "number"], "airbyte_type": "integer"}),
        (pa.decimal128(15, 2), None, {"type": ["null", "number"]}),
        (pa.float64(), None, {"type": ["null", "number"]}),
        (pa.bool_(), None, {"type": ["null", "boolean"]}),
        (pa.string(), None, {"type": ["null", "string"]}),
        (pa.string(), "numeric", {"type": ["null", "number"]}),
        (pa.string(), "json", {"type": ["null", "object"], "additionalProperties": True}),
        (pa.date32(), None, {"type": ["null", "string"], "format": "date"}),
        (
            pa.timestamp("us", tz="UTC"),
            None,
            {"type": ["null", "string"], "format": "date-time", "airbyte_type": "timestamp_with_timezone"},
        ),
        (
            pa.time64("us"),
            None,
            {"type": ["null", "string"], "format": "time", "airbyte_type": "time_without_timezone"},
        ),
        (pa.binary(), None, {"type": ["null", "string"], "contentEncoding": "base64"}),
        (pa.list_(pa.list_(pa.int32())), None, None),
        (pa.struct([("a", pa.int8())]), None, {"type": ["null", "object"], "additionalProperties": True}),
    ],
)
def test_every_carrier_has_a_type(kind: pa.DataType, logical: str | None, schema: dict[str, Any] | None) -> None:
    field = Field(name="x", type=kind, logical=logical)
    found = json_schema.of_fields([field.to_json()])["properties"]["x"]
    if schema is None:
        integer = {"type": "number", "airbyte_type": "integer"}
        schema = {"type": ["null", "array"], "items": {"type": "array", "items": integer}}
    assert found == schema


def test_selected_streams_of_a_catalog() -> None:
    def entry(name: str, **config: Any) -> dict[str, Any]:
        return {"stream": {"name": name, "namespace": "public"}, "config": config}

    found = streams_from_sync_catalog(
        {
            "streams": [
                entry("a", selected=True, syncMode="incremental", destinationSyncMode="append_dedup"),
                entry("b", selected=False, syncMode="x"),
                entry(
                    "c",
                    selected=True,
                    syncMode="full_refresh",
                    destinationSyncMode="append",
                    fieldSelectionEnabled=True,
                    selectedFields=[{"fieldPath": ["id"]}],
                    primaryKey=[["id"]],
                    cursorField=["at"],
                ),
            ]
        }
    )
    assert [(s.name, s.sync_mode) for s in found] == [
        ("a", "incremental_deduped_history"),
        ("c", "full_refresh_append"),
    ]
    assert (found[1].selected_fields, found[1].primary_key, found[1].cursor_field) == ((("id",),), (("id",),), ("at",))
    with pytest.raises(SynclineError, match="incremental with overwrite"):
        streams_from_sync_catalog({"streams": [entry("a", syncMode="incremental", destinationSyncMode="overwrite")]})
