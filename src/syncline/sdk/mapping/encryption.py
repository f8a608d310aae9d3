"""``encrypt``: a value's text, encrypted with AES-GCM by a key or for the holder of an RSA key, and back.

``syncline:aes-gcm:VERSION:BASE64``
    The bytes are 16 of salt, 12 of nonce, the ciphertext and its tag. The AES key of a batch is derived from the
    configured one by HKDF-SHA-256 with the salt, so that a key never sees too many nonces.
``syncline:rsa:VERSION:BASE64:BASE64``
    An AES key for the batch, encrypted with RSA-OAEP (SHA-256), and then nonce, ciphertext and tag.

The version names the configured key, so that one can be exchanged for the next: old values say by which they are read.
It is authenticated with the value. Equal values are not equal afterwards.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.sdk.mapping.rows import Fate, Rows, by_column, find_field, made_of, refused, renamed_rows, replaced
from syncline.sdk.mapping.value_texts import ensure_text, texts

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.padding import OAEP
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = ["METHODS", "EncryptStage", "decrypt"]

METHODS = ("aes-gcm", "rsa")
_SALT, _NONCE = 16, 12
_INFO = b"syncline column"


class EncryptStage:
    """Of some columns, by the key of the version ``use`` of ``keys`` (texts: base64 or hexadecimal digits of 16, 24 or
    32 bytes; a public key in PEM for RSA). The names get ``suffix``."""

    verb = "encrypt"

    def __init__(
        self,
        fields: Sequence[Field],
        columns: Sequence[str],
        *,
        method: str,
        keys: Mapping[str, str],
        use: str,
        suffix: str = "",
    ) -> None:
        _ensure_installed()
        self._columns, self._suffix, self._version = tuple(columns), suffix, use
        if use not in keys:
            raise refused(f"encrypt: there is no key of version {use!r}", f"keys has: {', '.join(keys) or 'none'}")
        if ":" in use or not use:
            raise refused(f"encrypt: {use!r} cannot name a key", "use digits or letters")
        self._public = public_key(keys[use]) if method == "rsa" else None
        self._key = b"" if method == "rsa" else symmetric_key(keys[use])
        changes: dict[str, Field] = {}
        for name in columns:
            field = find_field(fields, name, self.verb)
            ensure_text(field, self.verb)
            changes[name] = replace(
                field,
                name=name + suffix,
                type=pa.string(),
                native=None,
                logical=None,
                identity=made_of(field, self.verb),
            )
        self.fields = replaced(fields, changes)
        self.fates = {name: Fate(name=name + suffix, same=False, distinct=False) for name in columns}
        self.inputs = frozenset(columns)

    def apply(self, rows: Rows) -> None:
        by_column(rows, self._columns, self._encrypted)
        if self._suffix:
            renamed_rows(rows, {name: name + self._suffix for name in self._columns})

    def _encrypted(self, column: pa.Array) -> pa.Array:
        """A cipher call for each value: there is no other way through the library."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        bound = self._version.encode()
        if self._public is not None:
            key = AESGCM.generate_key(256)
            head = f"syncline:rsa:{self._version}:{_text(_wrapped(self._public, key))}:"
            salt = b""
        else:
            salt = os.urandom(_SALT)
            key, head = _derived(self._key, salt), f"syncline:aes-gcm:{self._version}:"
        cipher = AESGCM(key)
        made: list[str | None] = []
        for number, value in enumerate(texts(column)):
            if not value.is_valid:
                made.append(None)
                continue
            # The key is this batch's alone: counting gives every value a nonce of its own.
            nonce = number.to_bytes(_NONCE, "big")
            sealed = cipher.encrypt(nonce, value.as_buffer().to_pybytes(), bound)
            made.append(head + _text(salt + nonce + sealed))
        return pa.array(made, pa.string())


def decrypt(text: str, keys: Mapping[str, str]) -> str:
    """An encrypted value in clear. ``keys``: version -> AES key as in the mapping, or RSA private key in PEM. Raises
    ``config`` when the version's key is missing, ``data`` when the text is not what was written with it."""
    _ensure_installed()
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    parts = text.split(":")
    if len(parts) not in (4, 5) or parts[0] != "syncline" or parts[1] not in METHODS:
        raise SynclineError(ErrorKind.DATA, "the text was not written by an encrypt mapping")
    method, version = parts[1], parts[2]
    if version not in keys:
        raise SynclineError(
            ErrorKind.CONFIG, f"the key of version {version!r} is missing", hint="old values need the key of their time"
        )
    try:
        if method == "rsa":
            key, sealed = _unwrapped(keys[version], base64.b64decode(parts[3])), base64.b64decode(parts[4])
        else:
            whole = base64.b64decode(parts[3])
            key, sealed = _derived(symmetric_key(keys[version]), whole[:_SALT]), whole[_SALT:]
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], version.encode()).decode()
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise SynclineError(
            ErrorKind.DATA, "the value cannot be decrypted: it was changed, or the key is another one"
        ) from error


def symmetric_key(text: str) -> bytes:
    """16, 24 or 32 bytes from their base64 or hexadecimal digits."""
    found: set[bytes] = set()
    with suppress(ValueError):
        found.add(bytes.fromhex(text.strip()))
    with suppress(ValueError, binascii.Error):
        found.add(base64.b64decode(text.strip(), validate=True))
    fitting = [key for key in found if len(key) in (16, 24, 32)]
    if not fitting:
        raise refused("encrypt: the AES key is not of 16, 24 or 32 bytes", "make one: openssl rand -base64 32")
    # 64 hexadecimal digits are also base64 of 48 bytes, which is no key: never ambiguous.
    return fitting[0]


def public_key(text: str) -> RSAPublicKey:
    """From PEM, or its base64 body alone."""
    _ensure_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    try:
        if "BEGIN" in text:
            key = load_pem_public_key(text.encode())
        else:
            key = load_der_public_key(base64.b64decode("".join(text.split())))
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as error:
        raise refused(
            "encrypt: the RSA public key cannot be read", "give it in PEM, as openssl rsa -pubout writes it"
        ) from error
    if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
        raise refused("encrypt: the key is no RSA public key of at least 2048 bits")
    return key


def _wrapped(public: RSAPublicKey, key: bytes) -> bytes:
    return public.encrypt(key, _oaep())


def _unwrapped(pem: str, wrapped: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return cast(RSAPrivateKey, load_pem_private_key(pem.encode(), password=None)).decrypt(wrapped, _oaep())


def _oaep() -> OAEP:
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA256

    return OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)


def _derived(key: bytes, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=_INFO).derive(key)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _ensure_installed() -> None:
    import importlib.util

    if importlib.util.find_spec("cryptography") is None:
        raise refused("encrypt: the Python module cryptography is missing", "pip install 'syncline[encryption]'")
