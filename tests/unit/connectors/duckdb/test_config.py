"""Configuration of the DuckDB destination: names, aliases, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from syncline.connectors.duckdb import DESTINATION
from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.core.errors import SynclineError
from syncline.sdk.reference import ConnectorReference, validated


@pytest.mark.parametrize("name", ["destination_path", "path", "database"])
def test_names_of_the_path(name: str) -> None:
    assert DuckdbDestinationConfig.model_validate({name: "a/b.duckdb"}).destination_path == Path("a/b.duckdb")


def test_airbytes_configuration_loads() -> None:
    config = DuckdbDestinationConfig.model_validate(
        {"destination_path": "/data/x.duckdb", "schema": "erp", "motherduck_api_key": ""}
    )
    assert config.target_schema == "erp"


def test_a_home_folder_is_meant() -> None:
    config = DuckdbDestinationConfig.model_validate({"path": "~/x.duckdb"})
    assert config.destination_path == Path.home() / "x.duckdb"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "md:my_db"}, "MotherDuck is not supported"),
        ({"path": "motherduck:my_db"}, "MotherDuck is not supported"),
        ({"path": "x.duckdb", "motherduck_api_key": "secret-token"}, "MotherDuck is not supported"),
        ({"path": ":memory:"}, "would be gone"),
        ({"path": "s3://bucket/x.duckdb"}, "local files only"),
        ({"path": " "}, "path of a file"),
        ({"path": "x.duckdb", "memory_limit": "much"}, "not a size"),
        ({"path": "x.duckdb", "threads": 0}, "greater than or equal to 1"),
        ({"path": "x.duckdb", "schema": ""}, "at least 1 character"),
        ({"path": "x.duckdb", "table_prefix": "a\0"}, "U\\+0000"),
    ],
)
def test_refusals(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DuckdbDestinationConfig.model_validate(settings)


def test_a_refused_token_is_not_shown() -> None:
    reference = ConnectorReference(type="duckdb", config={"path": "x", "motherduck_api_key": "secret-token"})
    with pytest.raises(SynclineError) as caught:
        validated(DESTINATION, reference, "destination")
    assert "secret-token" not in str(caught.value)
