"""What is remembered of alerts, and what is told: the book's protocol, and the form of it that lives in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

__all__ = ["Alert", "Book", "MemoryBook", "Telling"]

#: Why a message goes out: an alert began, is still there, is over; or something happened that is over at once.
Telling = Literal["opened", "still", "resolved", "notice"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One rule that is not kept for one connection. ``id`` is the book's. ``connection_id`` and ``workspace`` are the
    server's, empty on the command line. Times are UTC; ``told_at`` is the last message's."""

    id: str
    connection: str
    connection_id: str
    workspace: str
    rule: str
    sentence: str
    hint: str
    job: int
    since: datetime
    told_at: datetime
    resolved_at: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        """There is one open alert of each."""
        return self.connection_id or self.connection, self.rule


class Book(Protocol):
    """Called from the watchman's thread only. What :meth:`write` takes is durable, messages included, when it
    returns; it may raise, and is then asked again with the same."""

    def open_alerts(self) -> Sequence[Alert]:
        """Those without an end; asked once, at the start."""
        ...

    def write(self, alert: Alert, telling: Telling) -> None:
        """Remember the alert as it is now (by its id) and tell people, on every channel there is for it."""
        ...


@dataclass
class MemoryBook:
    """For one command: what is told is taken from :attr:`told` when the run is over."""

    told: list[tuple[Alert, Telling]] = field(default_factory=list)

    def open_alerts(self) -> Sequence[Alert]:
        return ()

    def write(self, alert: Alert, telling: Telling) -> None:
        self.told.append((alert, telling))
