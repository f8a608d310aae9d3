"""What people read: what happened, since when, what to do next, and where to look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from syncline.alerts.book import Alert, Telling

__all__ = ["Message", "message_for"]

#: Chat systems cut longer texts, some refuse them.
_MOST = 1800
_MARKS = {"opened": "🔴", "still": "🔴", "resolved": "🟢", "notice": "🔵"}
_WORDS = {"opened": "", "still": "still: ", "resolved": "resolved: ", "notice": ""}


@dataclass(frozen=True, kw_only=True)
class Message:
    """Plain text; ``level`` is apprise's word for its colour."""

    title: str
    body: str
    level: str


def message_for(alert: Alert, telling: Telling, *, link: str = "") -> Message:
    """``link``: where the connection is seen, without a job."""
    title = f"{_MARKS[telling]} {alert.connection}: {_WORDS[telling]}{alert.rule.replace('_', ' ')}"
    sentence = alert.sentence[:1].upper() + alert.sentence[1:]
    if telling == "resolved":
        assert alert.resolved_at is not None
        lines = [f"Over since {_at(alert.resolved_at)}; it began {_at(alert.since)}.", f"It was: {alert.sentence}."]
    else:
        lines = [f"{sentence}.", f"Since {_at(alert.since)}."]
        if alert.hint:
            lines.append(f"Next: {alert.hint}")
    if link:
        lines.append(link)
    body = "\n".join(lines)
    level = {"resolved": "success", "notice": "info"}.get(telling, "failure")
    return Message(title=title, body=body if len(body) <= _MOST else body[: _MOST - 1] + "…", level=level)


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
