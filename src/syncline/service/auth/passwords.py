"""Passwords, kept as scrypt hashes; secrets drawn by us, kept as plain SHA-256: nobody can guess 256 random bits."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import OrderedDict

from syncline.service.errors import invalid
from syncline.service.inputs import checked_text

__all__ = ["PasswordCache", "checked_password", "draw", "hash_password", "hash_secret", "matches"]

# 16 MiB and some 50 ms of a core: OWASP's second choice for scrypt, and the server stays small.
_N, _R, _P = 2**14, 8, 5
_LEAST = 8


def draw(prefix: str = "") -> str:
    """A new secret of 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """For secrets that :func:`draw` made."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def checked_password(password: str) -> str:
    checked_text("password", password, length=1000)
    if len(password) < _LEAST:
        raise invalid("password", f"must have at least {_LEAST} characters")
    return password


def hash_password(password: str) -> str:
    salt = os.urandom(16)
    parts = (_derived(password, salt, _N, _R, _P), salt)
    return f"scrypt${_N}${_R}${_P}$" + "$".join(base64.b64encode(part).decode() for part in parts)


def matches(password: str, hashed: str | None) -> bool:
    """Compares in constant time, and takes as long when there is no user (None): how long it takes tells nothing."""
    if hashed is None:
        _derived(password, b"nobody's salt...", _N, _R, _P)
        return False
    _, n, r, p, derived, salt = hashed.split("$")
    found = _derived(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(derived))


def _derived(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    text = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=64 * 2**20, dklen=32)


class PasswordCache:
    """Remembers for a while which password was right for which hash, so that clients that send it with every call do
    not cost 50 ms each. Holds no password: only HMACs under a key of this process."""

    SECONDS = 300.0
    SIZE = 1000

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._lock = threading.Lock()
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def matches(self, password: str, hashed: str | None) -> bool:
        """As :func:`matches`. A changed password has another hash, so it is never answered from here."""
        mark = hmac.digest(self._key, f"{hashed}\0{password}".encode("utf-8", "surrogatepass"), "sha256")
        with self._lock:
            if self._until.get(mark, 0.0) > time.monotonic():
                return True
        if not matches(password, hashed):
            return False
        with self._lock:
            self._until[mark] = time.monotonic() + self.SECONDS
            self._until.move_to_end(mark)
            while len(self._until) > self.SIZE:
                self._until.popitem(last=False)
        return True
