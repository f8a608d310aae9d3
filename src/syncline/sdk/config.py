"""The base of every connector's configuration model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["ConnectorConfig"]


class ConnectorConfig(BaseModel):
    """Configuration of one connector. Field names are Airbyte's; friendlier names are declared as aliases with
    ``validation_alias=AliasChoices(...)``. Unknown keys are errors (the loader names the nearest known key). Secrets
    are ``SecretStr``. Field descriptions become the form in the UI and the page in the docs."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, validate_default=True)
