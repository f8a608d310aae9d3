"""Configuration of the source and the destination ``airbyte``."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from syncline.sdk.config import ConnectorConfig

__all__ = ["AirbyteDestinationConfig", "AirbyteSourceConfig", "ProgramConfig"]


class ProgramConfig(ConnectorConfig):
    """Which connector, and its own configuration. Exactly one of ``package``, ``executable`` and ``command``."""

    package: str | None = Field(
        default=None,
        description="PyPI package, or a name of `syncline connectors search` (stripe, airbyte-source-stripe)",
    )
    version: str | None = Field(
        default=None,
        description="exact version of the package, or of airbyte-cdk for a manifest (default: catalog's)",
    )
    overrides: tuple[str, ...] | None = Field(
        default=None, description="requirements that replace those of the package's metadata, where these are broken"
    )
    python: str | None = Field(default=None, description="version (3.11) or path of the Python to install it with")
    executable: str | None = Field(
        default=None,
        description="path of an installed connector's executable",
        json_schema_extra={"local_program": True},
    )
    command: tuple[str, ...] | None = Field(
        default=None,
        description="any command line; the protocol's arguments are added to it",
        json_schema_extra={"local_program": True},
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="the connector's own configuration, as its documentation says; secrets as ${NAME}",
        json_schema_extra={"airbyte_secret": True},
    )
    max_seconds_between_messages: float = Field(
        default=10800, gt=0, description="a connector that says nothing for longer is stuck and is ended"
    )
    memory_limit_mb: int | None = Field(
        default=4096, ge=128, description="memory that the connector's process may take (Linux); empty for no limit"
    )
    ca_bundle: str | None = Field(
        default=None,
        description="file with the certificate authorities to trust (PEM), for a proxy that inspects TLS; default: "
        "REQUESTS_CA_BUNDLE or SSL_CERT_FILE of our own environment",
    )
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="further environment variables; it gets proxy and CA variables by itself",
        json_schema_extra={"airbyte_secret": True},
    )

    @property
    def manifest_given(self) -> bool:
        """Whether airbyte-cdk runs a manifest in place of a program."""
        return False

    @model_validator(mode="after")
    def _one_form(self) -> ProgramConfig:
        forms = {"package": self.package, "executable": self.executable, "command": self.command}
        if sum(form is not None for form in forms.values()) + self.manifest_given != 1:
            names = [*forms, *(["manifest"] if "manifest" in type(self).model_fields else [])]
            raise ValueError(f"give one of {', '.join(names[:-1])} and {names[-1]}")
        if self.command is not None and not self.command:
            raise ValueError("command is empty")
        if self.package is None and (self.overrides or self.python):
            raise ValueError("overrides and python belong to package")
        if self.package is None and not self.manifest_given and self.version:
            raise ValueError("version belongs to package, or to manifest (the version of airbyte-cdk)")
        return self


class AirbyteSourceConfig(ProgramConfig):
    """A source: a program, or a low-code ``manifest`` that airbyte-cdk runs."""

    manifest: str | dict[str, Any] | None = Field(
        default=None, description="path of a low-code manifest.yaml, or the manifest itself"
    )
    discover_cache_seconds: float = Field(
        default=300,
        ge=0,
        description="of a package: what it discovered is not asked again for so long (0: always asked)",
    )

    @property
    def manifest_given(self) -> bool:
        return self.manifest is not None


class AirbyteDestinationConfig(ProgramConfig):
    """A destination, and where the ledger of what it was given is kept, since it cannot be asked."""

    journal: str | None = Field(
        default=None,
        description="folder for the ledger, the rows on their way and the quarantine; it must outlive the machine's "
        "restarts (default: journals/ below SYNCLINE_HOME)",
    )
    supports_refreshes: bool = Field(
        default=False,
        description="whether the connector understands generation ids (its documentation says so): then a whole copy "
        "replaces the former one only when it is complete; otherwise it is written with the mode overwrite",
    )
