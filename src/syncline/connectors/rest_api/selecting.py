"""From an answer to its records: found, taken apart, completed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from syncline.connectors.rest_api.config import ChangesConfig, StreamConfig
from syncline.connectors.rest_api.paths import fields_of, found_at, parse_path, value_at
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Selector"]

#: Keys under which answers hold their records, the usual ones first.
_USUAL = ("data", "results", "items", "records", "value", "values", "entries", "rows", "objects", "content")

_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.encode
_NULL = msgspec.Raw(b"null")
#: A whole surrogate pair, half of one, any other escape: in this order, so that only true halves are met as such.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


class Selector:
    """For one request. ``records`` gives the page's records as they came (what pages are counted by), ``shaped`` makes
    of each what becomes a row."""

    def __init__(self, request: StreamConfig | ChangesConfig) -> None:
        self._path = None if request.records is None else parse_path(request.records)
        self._explode = None if request.explode is None else parse_path(request.explode)
        self._more = None if request.explode_more is None else parse_path(request.explode_more)
        self._keep = {name: parse_path(path) for name, path in request.keep.items()}
        self._flatten = tuple(request.flatten)
        self._fields = {name: (path, parse_path(path)) for name, path in request.fields.items()}
        self._copies = {name: parse_path(path) for name, path in request.copies.items()}
        self._no_empty = request.empty_as_null
        self.mended = 0  #: halves of surrogate pairs that were kept as their escape's text
        self._as_it_is = not (self._flatten or self._fields or self._copies or self._no_empty)

    def records(self, content: bytes) -> list[bytes]:
        """Raises ``config`` when there is no such place, ``data`` for what is no JSON."""
        try:
            return self._found(content)
        except msgspec.DecodeError:
            pass
        mended, count = _with_halves_escaped(content)
        try:
            found = self._found(mended)
            self.mended += count
            return found
        except msgspec.DecodeError as error:
            raise SynclineError(
                ErrorKind.DATA, f"the answer is not valid JSON: {error}", hint="nothing of this page is kept; run again"
            ) from None

    def _found(self, content: bytes) -> list[bytes]:
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

    def shaped(self, record: bytes, include: Mapping[str, Any]) -> list[bytes]:
        """The rows of one record (several with ``explode``), as JSON objects."""
        try:
            if self._explode is None:
                if not include and self._as_it_is and record[:1] == b"{":
                    return [record]
                return [self._one(record, include)]
            outer = self._outer(record, include)
            return [
                self._one(inner, outer)
                for each in found_at(record, self._explode)
                for inner in (_array(each) if _first(each) == b"[" else [each])
            ]
        except msgspec.DecodeError as error:
            raise SynclineError(
                ErrorKind.DATA, f"a record is not valid JSON: {error}", hint="look at what the API sends"
            ) from None

    def more(self, record: bytes) -> str | None:
        """The address of further elements of a record that is taken apart."""
        found = None if self._more is None else value_at(record, self._more)
        return str(found) if found else None

    def next_of(self, content: bytes) -> str | None:
        """The address after this one: it stands in the answer where ``paging.next.link`` or ``next`` says."""
        found = value_at(content, ("paging", "next", "link")) or value_at(content, ("next",))
        return found if isinstance(found, str) else None

    def elements(self, content: bytes, record: bytes, include: Mapping[str, Any]) -> list[bytes]:
        """The rows of an answer with further elements of that record."""
        return [self._one(each, self._outer(record, include)) for each in self.records(content)]

    def _outer(self, record: bytes, include: Mapping[str, Any]) -> dict[str, Any]:
        return {**include, **{name: value_at(record, path) for name, path in self._keep.items()}}

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
        for name, path in self._copies.items():
            if name not in fields and (copied := next(found_at(record, path), None)) is not None:
                fields[name] = copied
        if self._fields:
            # A field whose very name is the path comes first: some APIs give {"vendor.id": …}.
            fields = {
                name: fields[path] if path in fields else next(found_at(record, steps), _NULL)
                for name, (path, steps) in self._fields.items()
            }
        if self._no_empty:
            fields = {name: raw for name, raw in fields.items() if bytes(raw) != b'""'}
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


def _with_halves_escaped(content: bytes) -> tuple[bytes, int]:
    """JSON in which half of a surrogate pair, which is no text, stands as the text of its escape; and how many."""
    count = 0

    def kept(match: re.Match[bytes]) -> bytes:
        nonlocal count
        count += match[1] is not None
        return b"\\" + match[0] if match[1] is not None else match[0]

    return _ESCAPE.sub(kept, content), count


def _first(raw: Any) -> bytes:
    """The character that tells what a value is."""
    return bytes(raw).lstrip()[:1]
