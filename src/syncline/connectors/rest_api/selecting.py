"""From an answer to its records: found, taken apart, completed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from syncline.connectors.rest_api.paths import fields_of, found_at, parse_path, value_at
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Selector"]

#: Keys under which answers hold their records, the usual ones first.
_USUAL = ("data", "results", "items", "records", "value", "values", "entries", "rows", "objects", "content")

_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.encode


class Selector:
    """For one request. ``records`` gives the page's records as they came (what pages are counted by), ``shaped`` makes
    of each what becomes a row."""

    def __init__(
        self, *, records: str | None, explode: str | None, keep: Mapping[str, str], flatten: Sequence[str]
    ) -> None:
        self._path = None if records is None else parse_path(records)
        self._explode = None if explode is None else parse_path(explode)
        self._keep = {name: parse_path(path) for name, path in keep.items()}
        self._flatten = tuple(flatten)

    def records(self, content: bytes) -> list[bytes]:
        """Raises ``config`` when there is no such place, ``data`` for what is no JSON."""
        try:
            if self._path is None:
                return [bytes(raw) for raw in _array(self._guess(content))]
            found: list[Any] = []
            for raw in found_at(content, self._path):
                kind = _first(raw)
                if kind == b"[":
                    found += _array(raw)
                elif kind == b"{":
                    found.append(raw)
            return [bytes(raw) for raw in found]
        except msgspec.DecodeError as error:
            raise SynclineError(
                ErrorKind.DATA, f"the answer is not valid JSON: {error}", hint="nothing of this page is kept; run again"
            ) from None

    def shaped(self, record: bytes, include: Mapping[str, Any]) -> list[bytes]:
        """The rows of one record (several with ``explode``), as JSON objects."""
        try:
            if self._explode is None:
                if not include and not self._flatten and record[:1] == b"{":
                    return [record]
                return [self._one(record, include)]
            outer = dict(include)
            for name, path in self._keep.items():
                outer[name] = value_at(record, path)
            return [
                self._one(inner, outer)
                for each in found_at(record, self._explode)
                for inner in (_array(each) if _first(each) == b"[" else [each])
            ]
        except msgspec.DecodeError as error:
            raise SynclineError(
                ErrorKind.DATA, f"a record is not valid JSON: {error}", hint="look at what the API sends"
            ) from None

    def _one(self, record: Any, more: Mapping[str, Any]) -> bytes:
        if _first(record) != b"{":
            return _encode({"value": msgspec.Raw(record), **more})
        fields = fields_of(record)
        for name in self._flatten:
            inner = fields.get(name)
            if inner is not None and _first(inner) == b"{":
                del fields[name]
                # The record's own fields win over those of the same name inside.
                fields = {**fields_of(inner), **fields}
        return _encode({**fields, **more})

    def _guess(self, content: bytes) -> Any:
        if _first(content) == b"[":
            return content
        fields = fields_of(content)
        lists = [name for name, raw in fields.items() if _first(raw) == b"["]
        chosen = next((name for name in _USUAL if name in lists), lists[0] if len(lists) == 1 else None)
        if chosen is None:
            known = ", ".join(lists or fields) or "nothing"
            raise SynclineError(
                ErrorKind.CONFIG,
                f"where are the records in the answer? It has {known}",
                hint="set records: to the path of the list, or to $ when the answer itself is the record",
            )
        return fields[chosen]


def _first(raw: Any) -> bytes:
    """The character that tells what a value is."""
    return bytes(raw).lstrip()[:1]
