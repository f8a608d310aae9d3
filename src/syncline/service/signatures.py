"""Signatures of messages from elsewhere: is this body from who says so, and from now? Pure functions.

stripe
    ``Stripe-Signature: t=1700000000,v1=<hex>``: HMAC-SHA256 of "t.body" (docs.stripe.com/webhooks/signature).
github
    ``X-Hub-Signature-256: sha256=<hex>``: HMAC-SHA256 of the body (docs.github.com, "Validating webhook deliveries").
    No time is signed, so an old message cannot be told from a new one; ``X-GitHub-Delivery`` names a message for
    repeats of the sender's own.
standard
    ``webhook-id``, ``webhook-timestamp``, ``webhook-signature: v1,<base64>``: HMAC-SHA256 of "id.timestamp.body" with
    the secret behind ``whsec_`` in base64 (standardwebhooks.com).

Digests are compared in constant time. Several signatures may come at once (while a secret is rotated); one is enough.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store.job_values import WebhookScheme

__all__ = ["verify"]


def verify(
    scheme: WebhookScheme, secret: str, headers: Mapping[str, str], body: bytes, *, now: float, tolerance: float
) -> str:
    """The message's name, the same when it is sent again. ``now`` is the time in seconds since 1970; a message that is
    more than ``tolerance`` seconds away from it is refused. Raises ``auth``."""
    lower = {name.lower(): value for name, value in headers.items()}
    if scheme == "stripe":
        return _stripe(secret, lower, body, now, tolerance)
    if scheme == "github":
        return _github(secret, lower, body)
    return _standard(secret, lower, body, now, tolerance)


def _stripe(secret: str, headers: Mapping[str, str], body: bytes, now: float, tolerance: float) -> str:
    parts = [part.strip().partition("=") for part in _header(headers, "stripe-signature").split(",")]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1:
        raise _refused("the Stripe-Signature header has no single t=")
    _check_time(times[0], now, tolerance)
    expected = _digest(secret.encode(), times[0].encode() + b"." + body).hex()
    _compare(expected, given)
    return f"{times[0]}.{expected}"


def _github(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    expected = _digest(secret.encode(), body).hex()
    _compare(f"sha256={expected}", [_header(headers, "x-hub-signature-256")])
    return f"{headers.get('x-github-delivery', '')[:100]}.{expected}"


def _standard(secret: str, headers: Mapping[str, str], body: bytes, now: float, tolerance: float) -> str:
    name, stamp = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
    _check_time(stamp, now, tolerance)
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = secret.encode()
    expected = base64.b64encode(_digest(key, f"{name}.{stamp}.".encode() + body)).decode()
    given = _header(headers, "webhook-signature").split(" ")
    _compare(f"v1,{expected}", given)
    return name


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise _refused(f"the header {name} is missing")
    return value


def _check_time(stamp: str, now: float, tolerance: float) -> None:
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) < 13):
        raise _refused("the signature's time is no number")
    if abs(now - int(stamp)) > tolerance:
        raise _refused(
            "the signature's time is too far from now", hint="compare the clocks; or the message is a replay"
        )


def _digest(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def _compare(expected: str, given: list[str]) -> None:
    # All of them are compared, whichever fits: the time that it takes says nothing.
    fits = [hmac.compare_digest(expected.encode(), each.encode()) for each in given]
    if not any(fits):
        raise _refused("no signature fits the message", hint="compare the secrets; a proxy must not change the body")


def _refused(problem: str, hint: str = "sign the message with the webhook's secret") -> SynclineError:
    return SynclineError(ErrorKind.AUTH, f"the message was refused: {problem}", hint=hint)
