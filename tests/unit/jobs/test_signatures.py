"""Signed messages: the senders' own examples, and everything that must be refused."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.signatures import verify

NOW = 1_700_000_000.0


def digest(secret: bytes, text: bytes) -> bytes:
    return hmac.new(secret, text, hashlib.sha256).digest()


def stripe(secret: str, body: bytes, at: int = int(NOW)) -> dict[str, str]:
    return {"Stripe-Signature": f"t={at},v1={digest(secret.encode(), f'{at}.'.encode() + body).hex()},v0=old"}


def test_githubs_own_example() -> None:
    """docs.github.com, "Testing the webhook payload validation"."""
    headers = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert verify("github", "It's a Secret to Everybody", headers, b"Hello, World!", now=NOW, tolerance=300)


def test_standard_webhooks_own_example() -> None:
    """standard-webhooks/spec: the test vectors of its libraries."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    name = verify(
        "standard",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers,
        b'{"test": 2432232314}',
        now=1614265330.0,
        tolerance=300,
    )
    assert name == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_stripe_takes_one_of_several_signatures() -> None:
    headers = stripe("whsec_x", b"{}")
    headers["Stripe-Signature"] += ",v1=" + "0" * 64
    assert verify("stripe", "whsec_x", headers, b"{}", now=NOW, tolerance=300)


def test_a_repeat_has_the_same_name_and_another_message_has_not() -> None:
    one = verify("stripe", "s", stripe("s", b"{}"), b"{}", now=NOW, tolerance=300)
    again = verify("stripe", "s", stripe("s", b"{}"), b"{}", now=NOW + 5, tolerance=300)
    later = verify("stripe", "s", stripe("s", b"{}", int(NOW) + 1), b"{}", now=NOW, tolerance=300)
    assert one == again
    assert one != later


@pytest.mark.parametrize("distance", [-301, 301, 10_000])
def test_too_old_and_too_new_are_refused(distance: int) -> None:
    with pytest.raises(SynclineError) as raised:
        verify("stripe", "s", stripe("s", b"{}", int(NOW) + distance), b"{}", now=NOW, tolerance=300)
    assert raised.value.kind is ErrorKind.AUTH


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Stripe-Signature": ""},
        {"Stripe-Signature": "nonsense"},
        {"Stripe-Signature": f"t={int(NOW)}"},
        {"Stripe-Signature": f"t={int(NOW)},v1="},
        {"Stripe-Signature": f"t={int(NOW)},v1={'0' * 64}"},
        {"Stripe-Signature": f"t=x,v1={'0' * 64}"},
        {"Stripe-Signature": f"t={int(NOW)},t={int(NOW)},v1={'0' * 64}"},
        {"Stripe-Signature": f"t={int(NOW)},v1=\u00e4"},
        stripe("another secret", b"{}"),
        stripe("s", b"another body"),
    ],
)
def test_what_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(SynclineError) as raised:
        verify("stripe", "s", headers, b"{}", now=NOW, tolerance=300)
    assert raised.value.kind is ErrorKind.AUTH
    assert "whsec" not in str(raised.value)


def test_the_first_digest_of_github_is_not_taken() -> None:
    with pytest.raises(SynclineError):
        verify("github", "s", {"X-Hub-Signature": "sha1=" + "0" * 40}, b"{}", now=NOW, tolerance=300)


def test_a_standard_message_of_another_time_does_not_fit() -> None:
    key = b"0" * 24
    secret = "whsec_" + base64.b64encode(key).decode()
    signature = base64.b64encode(digest(key, b"msg_1.1700000000.{}")).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": "1700000000", "webhook-signature": f"v1,{signature}"}
    assert verify("standard", secret, headers, b"{}", now=NOW, tolerance=300) == "msg_1"
    with pytest.raises(SynclineError):
        verify("standard", secret, {**headers, "webhook-timestamp": "1700000001"}, b"{}", now=NOW, tolerance=300)
    with pytest.raises(SynclineError):
        verify("standard", secret, {**headers, "webhook-id": "msg_2"}, b"{}", now=NOW, tolerance=300)
