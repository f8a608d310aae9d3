"""HTTP as a step, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.transform.step import step_error

__all__ = ["call", "run_http"]

_MOST_BYTES = 1 << 20


def run_http(options: Mapping[str, Any], facts: Mapping[str, str | int], timeout: float) -> str:
    """One call. ``body`` is sent as JSON (by default the run's facts) or, when it is a text, as it is. Returns what was
    answered, for the log."""
    method = str(options.get("method", "POST")).upper()
    body = options.get("body", dict(facts) if method in ("POST", "PUT", "PATCH") else None)
    expected = options.get("expect")
    wanted = [expected] if isinstance(expected, int) else expected
    status, answer = call(
        method,
        str(options["url"]),
        headers={str(k): str(v) for k, v in (options.get("headers") or {}).items()},
        body=body,
        timeout=timeout,
    )
    if status not in wanted if wanted else not 200 <= status < 300:
        raise _refused(method, str(options["url"]), status, answer)
    return f"answered {status}"


def call(method: str, url: str, *, headers: Mapping[str, str], body: Any, timeout: float) -> tuple[int, bytes]:
    """Status and the beginning of the answer. Raises ``unreachable`` and ``transient`` for what may pass, ``config``
    for an address that is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise step_error(f"{url!r} is no http address")
    data = None
    sent = {"User-Agent": "syncline", **headers}
    if body is not None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        sent.setdefault("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
    request = urllib.request.Request(url, data=data, headers=sent, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return answer.status, answer.read(_MOST_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(_MOST_BYTES)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            message = f"{parts.hostname}: {reason.verify_message}"
            raise SynclineError(ErrorKind.CONFIG, message, hint="mend its certificate") from error
        if isinstance(reason, TimeoutError):
            message = f"{parts.hostname} did not answer within {timeout:g} s"
            raise SynclineError(ErrorKind.TRANSIENT, message, hint="raise the step's timeout") from error
        message = f"{parts.hostname} cannot be reached: {reason}"
        raise SynclineError(ErrorKind.UNREACHABLE, message, hint="check the address") from error


def _refused(method: str, url: str, status: int, answer: bytes) -> SynclineError:
    text = answer[:300].decode("utf-8", "replace").strip()
    kind = ErrorKind.DATA
    if status in (401, 403):
        kind = ErrorKind.AUTH
    elif status in (408, 425, 429) or status >= 500:
        kind = ErrorKind.TRANSIENT
    said = f": {text}" if text else ""
    return SynclineError(
        kind, f"{method} {urlsplit(url).hostname} answered {status}{said}", hint="see what the other side logged"
    )
