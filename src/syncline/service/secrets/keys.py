"""Where the server's key comes from: the environment, or a file that is made at first start, there in clear or, with a
key of AWS KMS, encrypted.

The file has one key a line in base64; the first one seals, all of them open. The environment's variable likewise, with
commas between.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.secrets import kms
from syncline.settings import ServerSettings

__all__ = ["KEY_BYTES", "add_key", "drop_old_keys", "load_keys", "stamp"]

KEY_BYTES = 32
_KMS = "kms:"


def load_keys(settings: ServerSettings, *, make: bool) -> list[bytes]:
    """The server's keys, newest first. With ``make`` a missing file is made, readable by this user only.

    Raises ``config`` for a key that is not one, and for a file that others can read."""
    if settings.secret_key is not None:
        return [_parsed(part, "SYNCLINE_SECRET_KEY") for part in settings.secret_key.split(",")]
    path = settings.key_file
    if not path.exists():
        if not make:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the store holds secrets and their key is missing: {path}",
                hint="put the file back (a new key could not open them), or set SYNCLINE_SECRET_KEY",
            )
        _make_once(path, _line(os.urandom(KEY_BYTES), settings))
    return [_read(line, path, settings) for line in _lines(path)]


def add_key(settings: ServerSettings) -> None:
    """Draw a new key and put it first in the file; the others stay, so that what they sealed opens."""
    _write(settings.key_file, [_line(os.urandom(KEY_BYTES), settings), *_lines(settings.key_file)])


def drop_old_keys(settings: ServerSettings) -> None:
    """Keep the first two keys of the file only: a server may have sealed with the second one at this moment."""
    _write(settings.key_file, _lines(settings.key_file)[:2])


def stamp(settings: ServerSettings) -> object:
    """Another value when the key file is another one; always the same for a key from the environment."""
    if settings.secret_key is not None:
        return None
    try:
        about = settings.key_file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def _lines(path: Path) -> list[str]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"the key file cannot be read: {path}: {error}", hint="check its mode and owner"
        ) from None
    if mode & 0o077:
        raise SynclineError(ErrorKind.CONFIG, f"others can read the key file {path}", hint=f"run: chmod 600 {path}")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise SynclineError(ErrorKind.CONFIG, f"the key file is empty: {path}", hint="put the key back")
    return lines


def _read(line: str, path: Path, settings: ServerSettings) -> bytes:
    if line.startswith(_KMS):
        return kms.decrypt(base64.b64decode(line.removeprefix(_KMS)), settings.kms_key)
    return _parsed(line, str(path))


def _line(key: bytes, settings: ServerSettings) -> str:
    if settings.kms_key is None:
        return base64.b64encode(key).decode()
    return _KMS + base64.b64encode(kms.encrypt(key, settings.kms_key)).decode()


def _parsed(text: str, where: str) -> bytes:
    text = text.strip()
    try:
        key = bytes.fromhex(text) if re.fullmatch(r"[0-9a-fA-F]{64}", text) else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SynclineError(
            ErrorKind.CONFIG, f"{where} holds no key of {KEY_BYTES} bytes", hint="make one: openssl rand -base64 32"
        )
    return key


def _make_once(path: Path, line: str) -> None:
    """Whole or not at all, and only by the first of two processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    _durable(partial, [line])
    try:
        os.link(partial, path)
    except FileExistsError:
        pass  # the other process's key is the one
    finally:
        partial.unlink()


def _write(path: Path, lines: Sequence[str]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    _durable(partial, lines)
    partial.replace(path)


def _durable(path: Path, lines: Sequence[str]) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
