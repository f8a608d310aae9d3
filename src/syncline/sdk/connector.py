"""What a connector is: a name, a configuration model and a factory, all loaded only when used.

A connector is one folder and one entry-point line in the group ``syncline.sources`` or ``syncline.destinations``, whose
value is a :class:`ConnectorSpec`. Listing connectors imports no driver and no pydantic model.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from syncline.core.errors import ErrorKind, SynclineError, nearest

if TYPE_CHECKING:  # listing connectors imports neither Arrow nor pydantic
    from syncline.sdk.config import ConnectorConfig
    from syncline.sdk.destination import Destination
    from syncline.sdk.source import Source

__all__ = ["ConnectorContext", "ConnectorSpec", "OAuthFlow", "Role", "connector", "connectors", "register"]

Role = Literal["source", "destination"]


@dataclass(frozen=True, kw_only=True)
class ConnectorContext:
    """What the house gives to a connector besides its configuration.

    ``connection`` is the connection's name (for application_name, slot names, ledger keys). ``work_dir`` is a private
    local folder that may be lost between attempts. ``concurrency`` is how many partitions are read at once.
    """

    connection: str
    work_dir: Path
    concurrency: int = 2


@dataclass(frozen=True, kw_only=True)
class OAuthFlow:
    """How an account is opened to a connector by consent in a browser (authorization code). ``token_path`` is below the
    configuration's ``base_url``, or ``service_url``; ``place`` is the path in the configuration at which ``client_id``,
    ``client_secret`` and ``refresh_token`` are expected."""

    authorize_url: str
    service_url: str
    token_path: str
    scopes: tuple[str, ...] = ()
    place: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConnectorSpec:
    """One connector in one role. ``config`` and ``factory`` are ``module:Name``; the factory is called with
    ``(config, context)``. ``drivers`` are the modules that ``extra`` brings; a missing one is reported with the command
    to install it."""

    name: str
    role: Role
    title: str
    summary: str
    config: str
    factory: str
    extra: str | None = None
    drivers: tuple[str, ...] = ()
    oauth: OAuthFlow | None = None

    def missing_drivers(self) -> list[str]:
        return [d for d in self.drivers if importlib.util.find_spec(d) is None]

    def config_model(self) -> type[ConnectorConfig]:
        return cast("type[ConnectorConfig]", _load(self.config))

    def make_source(self, config: ConnectorConfig, context: ConnectorContext) -> Source:
        self._need_drivers()
        return cast("Source", _load(self.factory)(config, context))

    def make_destination(self, config: ConnectorConfig, context: ConnectorContext) -> Destination:
        self._need_drivers()
        return cast("Destination", _load(self.factory)(config, context))

    def _need_drivers(self) -> None:
        if missing := self.missing_drivers():
            raise SynclineError(
                ErrorKind.CONFIG,
                f"connector {self.name} needs the Python module {', '.join(missing)}",
                hint=f"pip install 'syncline[{self.extra}]'",
                where={"connector": self.name},
            )


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@cache
def _installed(role: Role) -> dict[str, EntryPoint]:
    return {ep.name: ep for ep in entry_points(group=f"syncline.{role}s")}


def _names(role: Role) -> list[str]:
    return sorted({*_installed(role), *(name for of, name in _registered if of == role)})


def connectors(role: Role) -> dict[str, ConnectorSpec]:
    """All installed connectors of a role by name, ours and other packages'. ``config`` error for a broken package."""
    return {name: connector(role, name) for name in _names(role)}


_registered: dict[tuple[Role, str], ConnectorSpec] = {}


def register(spec: ConnectorSpec) -> None:
    """Add a connector to this process without an entry point: for tests and for embedding."""
    _registered[spec.role, spec.name] = spec


def connector(role: Role, name: str) -> ConnectorSpec:
    """The connector of that name; ``config`` error with the nearest name when there is none."""
    if (role, name) in _registered:
        return _registered[role, name]
    if name in _installed(role):
        try:
            return cast(ConnectorSpec, _installed(role)[name].load())
        except (ImportError, AttributeError) as error:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the {role} connector {name!r} is installed but cannot be loaded: {error}",
                hint=f"install its package again ({_installed(role)[name].value})",
            ) from error
    known = _names(role)
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    raise SynclineError(
        ErrorKind.CONFIG,
        f"there is no {role} connector {name!r}",
        hint=f"{hint}known: {', '.join(known) or 'none (is syncline installed?)'}",
    )
