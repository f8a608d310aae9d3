"""Reads one stream: requests, pages, parents, windows of time. Gives records with the states between them.

A state is ``{"cursor": …, "seen": […]}`` at rest; within a pass it has ``"pass"`` besides: where the pass goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from syncline.connectors.rest_api.client import Answer, Asked, Client
from syncline.connectors.rest_api.config import ChangesConfig, StreamConfig
from syncline.connectors.rest_api.cursor import CursorKind, Value
from syncline.connectors.rest_api.paging import following, page_request, resumes
from syncline.connectors.rest_api.paths import parse_path, value_at
from syncline.connectors.rest_api.progress import Progress
from syncline.connectors.rest_api.selecting import Selector
from syncline.connectors.rest_api.templates import filled, filled_path, names_in
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Chunk", "Reading"]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Records (JSON objects as bytes), and the state that covers everything up to here; None when there is none."""

    records: list[Any]
    state: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class _Page:
    records: list[Any]
    next: Any | None
    answer: Answer


class Reading:
    """Of one stream. ``streams`` are all of the API, for parents. ``notes`` is what a user should know of it."""

    def __init__(
        self,
        stream: StreamConfig,
        streams: Mapping[str, StreamConfig],
        address: str,
        client: Client,
    ) -> None:
        self._stream, self._streams = stream, streams
        self._address, self._client = address, client
        self.notes: list[str] = []

    def read(
        self, state: Mapping[str, Any] | None, *, incremental: bool, parents: int | None = None
    ) -> Iterator[Chunk]:
        """Everything after the state (None: everything). The last chunk of an incremental reading has a state.
        ``parents``: only so many of them, for a sample."""
        said = dict(state or {})
        if self._stream.parent is not None:
            yield from self._of_parents(said, incremental, parents)
        elif self._stream.incremental is None:
            yield from self._plainly(said)
        else:
            yield from self._by_windows(said, incremental)

    # -- without a cursor -----------------------------------------------------------------------------------------

    def _plainly(self, state: Mapping[str, Any]) -> Iterator[Chunk]:
        token = (state.get("pass") or {}).get("after")
        stays = resumes(self._stream.pagination)
        for page in self._pages(self._stream, {}, {}, token):
            mark = {"pass": {"after": page.next}} if stays and page.next is not None else None
            yield Chunk(records=page.records, state=mark)
        yield Chunk(records=[], state={})

    # -- with a cursor --------------------------------------------------------------------------------------------

    def _by_windows(self, state: dict[str, Any], incremental: bool) -> Iterator[Chunk]:
        if not incremental:
            state = {k: v for k, v in state.items() if k == "pass"}
        request = self._request(state)
        if request is self._stream and self._stream.changes is not None:
            # Everything is listed again, also what is older than the last cursor.
            state = {k: v for k, v in state.items() if k != "cursor"}
        while True:
            progress = self._progress(state)
            until, last = self._window(progress, state)
            yield from self._pass(state, progress, request, until, last)
            rest = progress.resting(None if last and self._stream.changes is None else until)
            if progress.forgotten:
                self.notes.append("too many records stand at the last cursor: appended, some may come twice")
            yield Chunk(records=[], state=rest)
            if last:
                return
            state = rest

    def _progress(self, state: Mapping[str, Any]) -> Progress:
        assert self._stream.incremental is not None
        return Progress(
            CursorKind(config=self._stream.incremental),
            self._stream.incremental.cursor_field,
            state,
            to_clock=self._stream.changes is not None,
        )

    def _request(self, state: Mapping[str, Any]) -> StreamConfig | ChangesConfig:
        """The stream's own, or the one for changes when there is a cursor that it reaches back to."""
        changes = self._stream.changes
        if changes is None or state.get("cursor") is None:
            return self._stream
        progress = self._progress(state)
        oldest = progress.kind.back(progress.kind.moment(datetime.now(UTC)), changes.reach or 0)
        if changes.reach is not None and progress.low is not None and progress.low < oldest:  # type: ignore[operator]
            self.notes.append("the last reading is longer ago than changes can be asked for: everything is read again")
            return self._stream
        return changes

    def _window(self, progress: Progress, state: Mapping[str, Any]) -> tuple[Value | None, bool]:
        """Up to where this pass asks, and whether it is the last one."""
        kind = progress.kind
        if not kind.is_time:
            return None, True
        if kept := state.get("pass"):
            return kind.unkept(kept["until"]), bool(kept["last"])
        now, step = kind.moment(datetime.now(UTC)), kind.config.step
        edge = None if step is None else kind.back(progress.low, -step)
        return (now, True) if edge is None or edge >= now else (edge, False)  # type: ignore[operator]

    def _pass(
        self,
        state: dict[str, Any],
        progress: Progress,
        request: StreamConfig | ChangesConfig,
        until: Value | None,
        last: bool,
    ) -> Iterator[Chunk]:
        kind, token = progress.kind, (state.get("pass") or {}).get("after")
        values = {"since": kind.written(progress.low), "until": kind.written(until)}
        base = {k: v for k, v in state.items() if k != "pass"}
        met: set[Any] = set()
        for page in self._pages(request, values, {}, token):
            progress.began(page.answer.at)
            new = [r for r in page.records if progress.new(r)]
            if isinstance(request, ChangesConfig) and request.newest_first:
                new = [r for r in new if self._first(r, met)]
            mark = None
            if resumes(request.pagination) and page.next is not None:
                mark = progress.under_way(base, after=page.next, until=kind.kept(until), last=last)
            yield Chunk(records=new, state=mark)

    def _first(self, record: Any, met: set[Any]) -> bool:
        key = tuple(value_at(record, parse_path(name)) for name in self._stream.primary_key)
        known = key in met
        met.add(key)
        return not known

    # -- once per parent ------------------------------------------------------------------------------------------

    def _of_parents(self, state: dict[str, Any], incremental: bool, few: int | None) -> Iterator[Chunk]:
        """Parents come in the order of their keys, so that a state can say which are done."""
        if not incremental:
            state = {k: v for k, v in state.items() if k == "pass"}
        progress = self._progress(state) if self._stream.incremental is not None else None
        base = {k: v for k, v in state.items() if k != "pass"}
        values: dict[str, Any] = {}
        if progress is not None:
            values = {"since": progress.kind.written(progress.low)}
            if progress.kind.is_time:
                values["until"] = progress.kind.written(progress.kind.moment(datetime.now(UTC)))
        done = (state.get("pass") or {}).get("parent")
        for key, parent, include in self._parents(few):
            if done is not None and _order(key) <= _order(done):
                continue
            for page in self._pages(self._stream, {**values, **parent}, include, None):
                if progress is not None:
                    progress.began(page.answer.at)
                yield Chunk(records=page.records if progress is None else [r for r in page.records if progress.new(r)])
            mark = {"pass": {"parent": key}} if progress is None else progress.under_way(base, parent=key)
            yield Chunk(records=[], state=mark)
        yield Chunk(records=[], state={} if progress is None else progress.resting())

    def _parents(self, few: int | None) -> list[tuple[Any, dict[str, Any], dict[str, Any]]]:
        """Key, values for placeholders and columns for its children, of every parent. Only these are kept of them."""
        config = self._stream.parent
        assert config is not None
        wanted = {n for part in (self._stream.path, self._stream.params, self._stream.body) for n in names_in(part)}
        names = {n.removeprefix("parent.") for n in wanted if n.startswith("parent.")}
        above = Reading(self._streams[config.stream], self._streams, self._address, self._client)
        found: dict[Any, tuple[dict[str, Any], dict[str, Any]]] = {}
        for chunk in above.read(None, incremental=False, parents=few):
            if few is not None and len(found) >= few:
                break
            for record in chunk.records:
                key = value_at(record, parse_path(config.key))
                if not isinstance(key, str | int):
                    raise SynclineError(
                        ErrorKind.CONFIG,
                        f"a record of {config.stream} has no key {config.key!r}",
                        hint="set parent.key to a field that every parent has",
                    )
                found[key] = (
                    {f"parent.{n}": value_at(record, parse_path(n)) for n in names},
                    {column: value_at(record, parse_path(path)) for column, path in config.include.items()},
                )
        return [(key, *found[key]) for key in sorted(found, key=_order)]

    # -- pages ----------------------------------------------------------------------------------------------------

    def _pages(
        self, request: StreamConfig | ChangesConfig, values: Mapping[str, Any], include: Mapping[str, Any], token: Any
    ) -> Iterator[_Page]:
        selector = Selector(request)
        before = b""
        while True:
            answer = self._client.get(self._asked(request, values, token))
            found = selector.records(answer.content)
            digest = hashlib.blake2b(b"\n".join(bytes(r) for r in found), digest_size=16).digest()
            if found and digest == before:
                raise SynclineError(
                    ErrorKind.CONFIG,
                    "the API gives the same page again and again",
                    hint="its paging parameters have other names, or it has one page only: check pagination",
                )
            before = digest
            after = following(request.pagination, token, answer, found)
            if after is not None and after == token:
                raise SynclineError(
                    ErrorKind.CONFIG, "the next page has the token of this one", hint="check pagination"
                )
            rows = [row for r in found for row in self._rows(selector, r, include, request)]
            yield _Page(records=rows, next=after, answer=answer)
            if after is None:
                if selector.mended:
                    note = f"{selector.mended} halves of surrogate pairs are no text and are kept as their escapes"
                    self.notes.append(note)
                return
            token = after

    def _rows(
        self, selector: Selector, record: bytes, include: Mapping[str, Any], request: StreamConfig | ChangesConfig
    ) -> list[bytes]:
        rows = selector.shaped(record, include)
        there = selector.more(record)
        while there is not None:
            headers = self._headers(request)
            answer = self._client.get(Asked(method="GET", url=there, headers=headers))
            rows += selector.elements(answer.content, record, include)
            further = selector.next_of(answer.content)
            if further == there:
                break
            there = further
        return rows

    def _headers(self, request: StreamConfig | ChangesConfig) -> dict[str, str]:
        return {n: v.get_secret_value() for n, v in {**self._stream.headers, **request.headers}.items()}

    def _asked(self, request: StreamConfig | ChangesConfig, values: Mapping[str, Any], token: Any) -> Asked:
        page = page_request(request.pagination, token)
        headers = self._headers(request)
        if page.url is not None:
            return Asked(method=request.method, url=page.url, headers=headers)
        known = {**values, **page.values}
        params = {**filled(request.params, known), **page.params}
        own = self._stream.incremental
        if own is not None and request is self._stream:
            bounds = ((own.parameter, values.get("since")), (own.end_parameter, values.get("until")))
            params |= {name: value for name, value in bounds if name is not None and value is not None}
        body = None if request.body is None else filled(request.body, known)
        if page.body:
            body = {**(body or {}), **page.body}
        path = filled_path(request.path, known)
        url = f"{self._address.rstrip('/')}/{path.lstrip('/')}" if path else self._address
        return Asked(method=request.method, url=url, params=params, headers=headers, body=body)


def _order(key: Any) -> tuple[bool, Any]:
    return (isinstance(key, str), key)
