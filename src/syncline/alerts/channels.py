"""Channels: one URL each, in apprise's form (``slack://…``, ``mailto://…``, ``json://host/path`` for a webhook, and a
hundred more). URLs hold passwords: they are secrets, and never part of an error."""

from __future__ import annotations

import logging
import threading
from queue import Empty, Queue
from typing import Any

from syncline.alerts.message import Message
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["check_channel", "kind_of", "send"]

#: However long the other side keeps us: apprise's own limits are per connection and read.
SEND_SECONDS = 20.0


def kind_of(url: str) -> str:
    """The channel's kind, as may be shown: ``slack``, ``mailto``."""
    return url.split("://", 1)[0].lower() if "://" in url else ""


def check_channel(url: str) -> str:
    """Raises ``config`` for what is no channel; returns its kind. Sends nothing."""
    apprise = _apprise()
    if not apprise.Apprise().add(url):
        raise SynclineError(
            ErrorKind.CONFIG,
            f"this is no channel: {kind_of(url) or 'a URL without ://'}",
            hint="write it as apprise does, e.g. slack://TOKEN_A/TOKEN_B/TOKEN_C, mailto://user:password@host, "
            "json://host/path for a webhook",
        )
    return kind_of(url)


def send(url: str, message: Message) -> None:
    """Deliver one message. Raises ``unreachable`` when it was not taken, ``transient`` when nobody answered within
    :data:`SEND_SECONDS`. Blocks that long at most: what hangs is left behind in a thread."""
    _apprise()  # its import is ours to wait for, and no part of the other side's time
    said: Queue[str] = Queue()
    done: Queue[bool] = Queue(maxsize=1)

    def deliver() -> None:
        try:
            done.put(_deliver(url, message, said))
        except Exception as error:  # noqa: BLE001 - hundred kinds of channels raise what they like
            said.put(type(error).__name__)
            done.put(False)

    thread = threading.Thread(target=deliver, name=f"send {kind_of(url)}", daemon=True)
    thread.start()
    try:
        delivered = done.get(timeout=SEND_SECONDS)
    except Empty:
        raise SynclineError(
            ErrorKind.TRANSIENT,
            f"the {kind_of(url)} channel did not answer within {SEND_SECONDS:g} s",
            hint="is its host reachable from here?",
        ) from None
    if not delivered:
        why = "" if said.empty() else f": {_redacted(said.get(), url)}"
        raise SynclineError(
            ErrorKind.UNREACHABLE,
            f"the {kind_of(url)} channel did not take the message{why}",
            hint="test the channel; are its address and its credentials right?",
        )


def _deliver(url: str, message: Message, said: Queue[str]) -> bool:
    apprise = _apprise()
    channel = apprise.Apprise()
    if not channel.add(url):
        said.put("its URL is not valid any more")
        return False
    listener = _Warnings(said)
    logger = logging.getLogger("apprise")
    logger.addHandler(listener)
    try:
        return bool(channel.notify(title=message.title, body=message.body, notify_type=message.level))
    finally:
        logger.removeHandler(listener)


class _Warnings(logging.Handler):
    """Apprise says why in its log only."""

    def __init__(self, said: Queue[str]) -> None:
        super().__init__(logging.WARNING)
        self._said, self._thread = said, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._said.put(record.getMessage())


def _redacted(text: str, url: str) -> str:
    """Without any part of the URL that could be a secret."""
    rest = url.split("://", 1)[-1]
    for part in sorted({p for p in rest.replace("@", "/").replace(":", "/").replace("?", "/").split("/") if p}):
        if len(part) >= 6:
            text = text.replace(part, "***")
    return text[:300]


def _apprise() -> Any:
    try:
        import apprise
    except ModuleNotFoundError as error:
        raise SynclineError(
            ErrorKind.CONFIG, "messages need the package apprise", hint="pip install 'syncline[alerts]'"
        ) from error
    return apprise
