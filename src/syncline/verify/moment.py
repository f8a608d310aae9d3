"""A moment of a source that both its log and its tables know: everything committed before an LSN, and a snapshot of
exactly that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.config import ConnectorConfig

__all__ = ["FixedMoment", "fixed_moment", "fixes_moments"]


@dataclass(frozen=True, kw_only=True)
class FixedMoment:
    """``lsn``: transactions with a smaller commit LSN belong to it, no others. ``snapshot`` is what a session of the
    source takes up to see exactly them; good until the moment is left."""

    lsn: int
    snapshot: str


def fixes_moments(config: ConnectorConfig) -> bool:
    """Whether a moment of this source can be fixed, so that ends are compared while it is written to. Sources of MySQL
    are compared as they are now."""
    return not type(config).__module__.startswith("syncline.connectors.mysql.")


@contextmanager
def fixed_moment(config: ConnectorConfig, work_dir: Path) -> Iterator[FixedMoment]:
    """A moment of now, for sources with a log. Costs the source a session and, while it lasts, a temporary slot."""
    if not type(config).__module__.startswith("syncline.connectors.postgres."):
        kind = type(config).__module__.split(".")[2]
        raise SynclineError(
            ErrorKind.CONFIG,
            f"verify cannot read a source of type {kind} by code of its own, which is what it is for",
            hint="it compares postgres and files; of others compare counts and sums by hand",
        )
    from syncline.verify.postgres_moment import postgres_moment

    with postgres_moment(config, work_dir) as moment:
        yield moment
