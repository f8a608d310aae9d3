"""Keeps a connector's secrets out of what is said about it, and what it changes of its own configuration: a refresh
token that rotates must outlive the run that got it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["OwnConfig", "Redactor", "without_secrets"]

_SECRET_KEY = re.compile(r"secret|token|passw|api_?key|private|credential|access_key|client_id|auth", re.IGNORECASE)
#: Shorter values are words that occur in any sentence.
_SHORTEST = 6


class Redactor:
    """Replaces the values of secret-looking keys of a configuration wherever they stand in a text."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._found: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.learn(config)

    def learn(self, config: Mapping[str, Any]) -> None:
        """Hide the secrets of this configuration too."""
        self._found |= set(_secrets(config, secret=False))
        longest_first = sorted(self._found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub("****", text)


def _secrets(value: Any, *, secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, secret=secret or bool(_SECRET_KEY.search(str(key))))
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, secret=secret)
    elif secret and isinstance(value, str) and len(value) >= _SHORTEST:
        yield value


def without_secrets(value: Any) -> Any:
    """A configuration without what its secret-looking keys hold."""
    if isinstance(value, Mapping):
        return {str(key): without_secrets(inner) for key, inner in value.items() if not _SECRET_KEY.search(str(key))}
    return [without_secrets(inner) for inner in value] if isinstance(value, list | tuple) else value


class OwnConfig:
    """The configuration as the connector last changed it (a refresh token that rotates), in a file of the connection's
    folder that only this user can read. It holds as long as the user's own configuration stays what it was."""

    def __init__(self, folder: Path, given: Mapping[str, Any], *, name: str) -> None:
        """``name`` is the file's."""
        self._path = folder / name
        self._given = dict(given)
        self._of = hashlib.sha256(json.dumps(self._given, sort_keys=True, default=str).encode()).hexdigest()

    @contextmanager
    def alone(self, *, wait_seconds: float | None = None) -> Iterator[None]:
        """Between reading and saving: a token that can be used once must not be used by two processes. Raises
        ``conflict`` when another has it for longer than ``wait_seconds`` (None: waits as long as it takes)."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if wait_seconds is None:
                fcntl.flock(file, fcntl.LOCK_EX)
            else:
                _lock_within(file, wait_seconds)
            yield
        finally:
            os.close(file)

    @property
    def changed(self) -> bool:
        """Whether the connector has ever changed this configuration: its tokens may work once only."""
        return self._path.exists() and self.load() is not self._given

    def load(self) -> dict[str, Any]:
        try:
            saved = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return self._given
        except (OSError, ValueError) as error:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the connector's saved configuration cannot be read: {self._path}",
                hint="it holds rotated tokens; remove it to begin again with the configured ones",
            ) from error
        return dict(saved["config"]) if saved["of"] == self._of else self._given

    def save(self, config: Mapping[str, Any]) -> None:
        """Durable before it returns: a token that is lost may lock the account out."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(json.dumps({"of": self._of, "config": dict(config)}).encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _lock_within(file: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                break
        time.sleep(0.1)
    raise SynclineError(
        ErrorKind.CONFLICT,
        "the connector is at work already, with a token that can be used once",
        hint="ask again when the run that it belongs to has ended",
    )
