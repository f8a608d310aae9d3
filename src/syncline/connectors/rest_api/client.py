"""Requests, one after another or from several threads: paced, tried again where that helps, refused with a sentence.

What is tried again: no connection, a lost one, a timeout, a torn answer, 5xx (with growing pauses); 429, and 403 or 503
with a time to wait, after the time that the API names. What is not: every other refusal.
"""

from __future__ import annotations

import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from syncline.connectors.rest_api.auth import Authenticator
from syncline.connectors.rest_api.config import RestApiConfig
from syncline.connectors.rest_api.secrets import secrets_of
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.own_config import OwnConfig, Redactor

__all__ = ["Answer", "Asked", "Client"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
#: A page is held whole, and its records besides.
_LARGEST_ANSWER = 128 << 20
#: Said of the answer as it travelled.
_OF_TRANSPORT = {"content-encoding", "content-length", "transfer-encoding"}
_MOVES = 5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request. ``url`` is whole; ``params`` are added to its query."""

    method: str
    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A good answer: JSON text, the address it came from, the time on the API's own clock, the Link headers."""

    content: bytes
    url: str
    at: datetime
    next_link: str | None = None


class Client:
    """For one API. ``stop`` ends waiting at once."""

    def __init__(self, config: RestApiConfig, own: OwnConfig, stop: threading.Event) -> None:
        self._config, self._stop = config, stop
        self._host = _origin(config.address())
        self._redact = Redactor({"secret": list(secrets_of(config))})
        self._auth = Authenticator(config.auth, own, self._token, self.learn)
        self._pace = threading.Lock()
        self._next = 0.0
        self.waits = 0  #: times that the API made us wait
        self._http = httpx.Client(
            timeout=httpx.Timeout(config.timeout_seconds, connect=min(30.0, config.timeout_seconds)),
            verify=_trust(config.ca_bundle),
            follow_redirects=False,  # our credentials go to nobody else
            headers={"Accept": "application/json", "User-Agent": "syncline"},
        )

    def close(self) -> None:
        self._http.close()

    def learn(self, secret: str) -> None:
        """Hide it from now on."""
        self._redact.learn({"secret": secret})

    def redact(self, text: str) -> str:
        return self._redact(text)

    def get(self, asked: Asked) -> Answer:
        """The answer to a request, with our credentials. Raises :class:`SynclineError`, redacted."""
        if _origin(asked.url) != self._host:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the next page would be at another host, {self.redact(_origin(asked.url))}",
                hint="credentials are sent to the configured host only; set base_url to where the pages are",
            )
        renewed = False
        while True:
            headers, params = dict(asked.headers), dict(asked.params)
            token = self._auth.put(headers, params)
            try:
                return self._insist(asked, headers, params)
            except SynclineError as error:
                if error.kind is not ErrorKind.AUTH or token is None or renewed:
                    raise
                renewed = True
                self._auth.refused(token)

    def _token(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        response = self._try_again(
            partial(self._send, self._http.build_request("POST", url, data=dict(form), headers=dict(headers))),
            f"the token request at {_origin(url)}",
        )
        if response.status_code >= 400:
            raise SynclineError(
                ErrorKind.AUTH,
                self.redact(f"no token was given: {response.status_code} {_said(response)}"),
                hint="check client_id, client_secret and refresh_token; the latter may have been used up or withdrawn",
            )
        try:
            return response.json()
        except ValueError:
            raise SynclineError(
                ErrorKind.CONFIG, "the token request was not answered with JSON", hint="check token_url"
            ) from None

    def _insist(self, asked: Asked, headers: Mapping[str, str], params: Mapping[str, Any]) -> Answer:
        url = asked.url
        for _ in range(_MOVES):
            request = self._http.build_request(
                asked.method, url, params=_query(url, params), headers=dict(headers), json=asked.body
            )
            response = self._try_again(partial(self._send, request), f"{asked.method} {_shown(url)}")
            if response.is_redirect:
                there = urljoin(url, response.headers.get("location", ""))
                if _origin(there) != self._host:
                    raise SynclineError(
                        ErrorKind.CONFIG,
                        self.redact(f"{_shown(url)} moved to another host, {_origin(there)}"),
                        hint="set the address to where the API is now",
                    )
                url, params = there, {}
                continue
            if response.status_code >= 400:
                raise self._refusal(response, asked)
            return self._answer(response, asked)
        raise SynclineError(ErrorKind.CONFIG, f"{_shown(url)} is moved again and again", hint="check the address")

    def _try_again(self, send: Callable[[], httpx.Response], what: str) -> httpx.Response:
        retries = self._config.retries
        for attempt in range(1, retries.attempts + 1):
            self._wait_turn()
            last = attempt == retries.attempts
            try:
                response = send()
            except httpx.HTTPError as error:
                if last or isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
                    raise self._no_answer(error, what, attempt) from None
                self._sleep(_pause(attempt))
                continue
            wait = _asked_wait(response)
            again = response.status_code == 429 or response.status_code >= 500 or wait is not None
            if response.status_code < 400 or not again or (last and response.status_code != 429 and wait is None):
                return response
            self.waits += 1
            seconds = _pause(attempt) if wait is None else wait
            if last or seconds > retries.max_wait_seconds:
                raise SynclineError(
                    ErrorKind.TRANSIENT,
                    self.redact(
                        f"{what}: the API's limit is used up ({response.status_code}); it asks to wait {seconds:.0f} s"
                    ),
                    hint="the next run goes on here; set rate_limit.requests_per_second, or retries.max_wait_seconds",
                )
            self._sleep(seconds)
        raise AssertionError("unreachable")

    def _send(self, request: httpx.Request) -> httpx.Response:
        """The whole answer, as long as it is no larger than we are willing to hold."""
        response = self._http.send(request, stream=True)
        with closing(response):
            parts: list[bytes] = []
            size = 0
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > _LARGEST_ANSWER:
                    what = f"{request.method} {_shown(str(request.url))}"
                    raise SynclineError(
                        ErrorKind.RESOURCE,
                        f"{what}: an answer of more than {_LARGEST_ANSWER >> 20} MiB",
                        hint="ask for smaller pages: pagination.page_size",
                    )
        headers = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in _OF_TRANSPORT]
        return httpx.Response(response.status_code, headers=headers, content=b"".join(parts), request=request)

    def _wait_turn(self) -> None:
        rate = self._config.rate_limit.requests_per_second
        if rate is None:
            return
        with self._pace:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 1.0 / rate
        if turn > now:
            self._sleep(turn - now)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise SynclineError(ErrorKind.TRANSIENT, "stopped while waiting for the API")

    def _no_answer(self, error: httpx.HTTPError, what: str, attempts: int) -> SynclineError:
        said = self.redact(str(error) or type(error).__name__)
        tried = "" if attempts == 1 else f" (tried {attempts} times)"
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            hint = "check the address, the network and HTTPS_PROXY"
            if "CERTIFICATE" in said.upper():
                hint = "set ca_bundle to the file of the authority that signs here"
            return SynclineError(ErrorKind.UNREACHABLE, f"{what}: no connection{tried}: {said}", hint=hint)
        if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            return SynclineError(ErrorKind.CONFIG, f"{what}: {said}", hint="check address and headers")
        return SynclineError(
            ErrorKind.TRANSIENT,
            f"{what}: no whole answer{tried}: {said}",
            hint="run again; raise timeout_seconds if it is slow",
        )

    def _refusal(self, response: httpx.Response, asked: Asked) -> SynclineError:
        status, said = response.status_code, self.redact(_said(response))
        message = f"{asked.method} {_shown(asked.url)} was answered with {status}" + (f": {said}" if said else "")
        if status == 401:
            return SynclineError(ErrorKind.AUTH, message, hint="check the credentials: missing, wrong or expired")
        if status == 403:
            return SynclineError(ErrorKind.PERMISSION, message, hint="grant the credentials the right to read this")
        if status in (404, 405, 410):
            return SynclineError(ErrorKind.CONFIG, message, hint="check url, path and method")
        if status >= 500:
            return SynclineError(ErrorKind.TRANSIENT, message, hint="run again later")
        return SynclineError(ErrorKind.CONFIG, message, hint="check the request's parameters")

    def _answer(self, response: httpx.Response, asked: Asked) -> Answer:
        content = response.content
        if content.lstrip()[:1] not in (b"{", b"["):
            if response.status_code == 204 or not content.strip():
                content = b"[]"
            else:
                kind = response.headers.get("content-type", "no content type")
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"{asked.method} {_shown(asked.url)} was not answered with JSON but with {kind}",
                    hint="check the address; a login page or a proxy may answer in the API's place",
                )
        return Answer(
            content=content,
            url=str(response.url),
            at=_clock(response),
            next_link=response.links.get("next", {}).get("url"),
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _shown(url: str) -> str:
    """An address without its query, which may hold keys."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _query(url: str, params: Mapping[str, Any]) -> list[tuple[str, Any]] | None:
    """Those of the address stay, ours win over those of the same name; lists are repeated. None: leave it as it is."""
    if not params:
        return None
    old = [(k, v) for k, v in httpx.URL(url).params.multi_items() if k not in params]
    new = [(k, v) for k, value in params.items() for v in (value if isinstance(value, list | tuple) else [value])]
    return [*old, *((k, str(v).lower() if isinstance(v, bool) else v) for k, v in new if v is not None)]


def _pause(attempt: int) -> float:
    return min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret


def _asked_wait(response: httpx.Response) -> float | None:
    """Seconds that the API wants us to wait; None when it does not say, or not for this reason."""
    if response.status_code not in (403, 429, 503):
        return None
    said = response.headers.get("retry-after", "").strip()
    if said:
        try:
            return max(0.0, float(said))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
        except (TypeError, ValueError):
            return None
    remaining = response.headers.get("x-ratelimit-remaining", response.headers.get("ratelimit-remaining"))
    reset = response.headers.get("x-ratelimit-reset", response.headers.get("ratelimit-reset"))
    if reset is None or (response.status_code == 403 and remaining != "0"):
        return None
    try:
        number = float(reset)
    except ValueError:
        return None
    # Some say the moment, others how long it is until then.
    return max(0.0, number - time.time()) if number > 1_000_000_000 else max(0.0, number)


def _said(response: httpx.Response) -> str:
    text = response.text if response.headers.get("content-type", "").find("html") < 0 else ""
    return " ".join(text.split())[:300]


def _clock(response: httpx.Response) -> datetime:
    """The API's clock where it says it: ours may be ahead, and a change made meanwhile would be passed over."""
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return datetime.now(UTC)


def _trust(bundle: str | None) -> ssl.SSLContext:
    named = (os.environ.get(k) for k in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    return _context(bundle or next(filter(None, named), None))


@cache
def _context(found: str | None) -> ssl.SSLContext:
    """Made once: reading all of the world's authorities takes a tenth of a second."""
    if found is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=found)
    except (OSError, ssl.SSLError) as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"the file of authorities {found} cannot be read: {error}", hint="check ca_bundle"
        ) from None
    return context
