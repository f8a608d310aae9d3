"""The command line of a configured connector."""

from __future__ import annotations

import shutil
from pathlib import Path

from syncline.connectors.airbyte.config import AirbyteSourceConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.packages.environment import executable_of, wish_for
from syncline.sdk.packages.registry import imported
from syncline.settings import load_settings

__all__ = ["command_of"]


def command_of(config: AirbyteSourceConfig) -> list[str]:
    """What is to be started. Raises ``config`` when it is not there."""
    if config.command is not None:
        return list(config.command)
    if config.executable is not None:
        found = shutil.which(str(Path(config.executable).expanduser()))
        if found is None:
            raise SynclineError(
                ErrorKind.CONFIG, f"there is no executable {config.executable}", hint="give its full path"
            )
        return [str(Path(found).absolute())]
    package = config.package if config.manifest is None else "airbyte-cdk"
    assert package is not None
    home = load_settings().connectors
    wish = wish_for(
        package,
        version=config.version,
        overrides=config.overrides,
        python=config.python,
        further=imported(home),
    )
    return [str(executable_of(home, wish))]
