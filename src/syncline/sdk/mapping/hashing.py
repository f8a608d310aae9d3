"""``hash``: SHA-256 of a value's text, or a keyed hash (HMAC), as hexadecimal digits. Equal values stay equal."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from syncline.core.schema import Field
from syncline.sdk.mapping.hash_native import native_hash
from syncline.sdk.mapping.rows import Fate, Rows, by_column, find_field, made_of, refused, renamed_rows, replaced
from syncline.sdk.mapping.value_texts import ensure_text, texts

__all__ = ["METHODS", "HashStage"]

#: Our words, and those of Airbyte's mapper -> hashlib's.
METHODS = {
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
    "sha224": "sha224",
    "sha1": "sha1",
    "md5": "md5",
}


class HashStage:
    """Of some columns. ``key``: the secret of a keyed hash. The names get ``suffix``."""

    verb = "hash"

    def __init__(
        self,
        fields: Sequence[Field],
        columns: Sequence[str],
        *,
        method: str = "sha256",
        key: bytes | None = None,
        suffix: str = "",
        deliberate: bool = False,
    ) -> None:
        if key is not None and not key:
            raise refused("hash: the key is empty", "give a long random text by reference: key: ${env:HASH_KEY}")
        self._columns, self._suffix = tuple(columns), suffix
        self._method, self._key = METHODS[method], key
        self._native = native_hash(key) if self._method == "sha256" else None
        changes: dict[str, Field] = {}
        fates: dict[str, Fate] = {}
        for name in columns:
            field = find_field(fields, name, self.verb)
            if not _is_bytes(field.type):
                ensure_text(field, self.verb)
            changes[name] = replace(
                field,
                name=name + suffix,
                type=pa.string(),
                native=None,
                logical=None,
                identity=made_of(field, self.verb),
            )
            fates[name] = Fate(name=name + suffix, same=False, deliberate=deliberate)
        self.fields, self.fates = replaced(fields, changes), fates
        self.inputs = frozenset(columns)

    def apply(self, rows: Rows) -> None:
        by_column(rows, self._columns, self._hashed)
        if self._suffix:
            renamed_rows(rows, {name: name + self._suffix for name in self._columns})

    def _hashed(self, column: pa.Array) -> pa.Array:
        plain = column if _is_bytes(column.type) else texts(column)
        if pa.types.is_fixed_size_binary(plain.type):
            plain = plain.cast(pa.binary())
        return self._native(plain) if self._native is not None else self._slowly(plain)

    def _slowly(self, column: pa.Array) -> pa.Array:
        """Each value once: a hash costs more than finding it again."""
        coded = column.dictionary_encode()
        return pa.array([self._digits(v.as_buffer()) for v in coded.dictionary], pa.string()).take(coded.indices)

    def _digits(self, value: pa.Buffer) -> str:
        if self._key is not None:
            return hmac.new(self._key, value, self._method).hexdigest()
        return hashlib.new(self._method, value, usedforsecurity=False).hexdigest()


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))
