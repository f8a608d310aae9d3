"""Sealing values: AES-256-GCM with a key per row, which is itself sealed by the server's key (envelope encryption).

A stolen store is worthless without the server's key. Changing that key re-wraps the small keys and leaves the values.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store.secrets import SealedRow

__all__ = ["SecretBox", "key_id"]

_NONCE = 12  # bytes, drawn for each sealing: a row's key seals once, the server's key far less than 2^32 times


def key_id(key: bytes) -> str:
    """A key's name, which tells nothing of it."""
    return hashlib.sha256(b"syncline key\0" + key).hexdigest()[:16]


class SecretBox:
    """Seals with the first of ``keys`` and opens with any. ``reload`` gives the keys as they are now, and ``stamp``
    something that changes when they do: looked at before each sealing, because another process may rotate them."""

    def __init__(
        self,
        keys: Sequence[bytes],
        reload: Callable[[], Sequence[bytes]] | None = None,
        stamp: Callable[[], object] | None = None,
    ) -> None:
        self._reload = reload
        self._stamp = stamp
        self._seen = None if stamp is None else stamp()
        self.take(keys)

    def take(self, keys: Sequence[bytes]) -> None:
        """Use these keys from now on."""
        self._keys = {key_id(key): AESGCM(key) for key in keys}
        self.current = key_id(keys[0])

    def _look_again(self) -> None:
        if self._stamp is None or self._reload is None:
            return
        stamp = self._stamp()
        if stamp != self._seen:
            self.take(self._reload())
            self._seen = stamp

    def require(self, name: str) -> None:
        """Raises ``config`` when no key has that name, also after asking for them again."""
        if name not in self._keys and self._reload is not None:
            self.take(self._reload())
        if name not in self._keys:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"stored secrets are encrypted with key {name} and this server has {', '.join(self._keys)}",
                hint="start the server with the key that it had: SYNCLINE_SECRET_KEY or SYNCLINE_SECRET_KEY_FILE",
            )

    def seal(self, row_id: UUID, values: Mapping[str, Any]) -> SealedRow:
        """The row for ``values`` (JSON). It opens only under this ``row_id``."""
        self._look_again()
        own = AESGCM.generate_key(256)
        text = json.dumps(values, separators=(",", ":")).encode()
        return SealedRow(
            id=row_id,
            key_id=self.current,
            wrapped_key=_encrypt(self._keys[self.current], own, b"key:" + row_id.bytes),
            sealed=_encrypt(AESGCM(own), text, b"values:" + row_id.bytes),
        )

    def open(self, row: SealedRow) -> dict[str, Any]:
        """The values. Raises ``config`` when the key is another one, or the row was tampered with."""
        found: dict[str, Any] = json.loads(_decrypt(AESGCM(self._unwrap(row)), row.sealed, b"values:" + row.id.bytes))
        return found

    def rewrap(self, row: SealedRow) -> bytes:
        """The row's own key, wrapped by the current key."""
        return _encrypt(self._keys[self.current], self._unwrap(row), b"key:" + row.id.bytes)

    def _unwrap(self, row: SealedRow) -> bytes:
        self.require(row.key_id)
        return _decrypt(self._keys[row.key_id], row.wrapped_key, b"key:" + row.id.bytes)


def _encrypt(cipher: AESGCM, text: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, text, bound_to)


def _decrypt(cipher: AESGCM, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
    except (InvalidTag, ValueError):
        raise SynclineError(
            ErrorKind.CONFIG,
            "a stored secret cannot be opened: it was changed or mixed up in the store",
            hint="restore the store, or write the source's or destination's secrets again",
        ) from None
