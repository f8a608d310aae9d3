"""Rate limits: bursts, refills, and a memory that does not grow."""

from __future__ import annotations

import pytest

from syncline.service.auth import rate_limits
from syncline.service.auth.rate_limits import RateLimits
from syncline.service.errors import RateLimitedError


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_failures_refill_slowly_and_a_success_clears_them() -> None:
    clock = _Clock()
    limits = RateLimits(clock)
    for _ in range(10):
        limits.begin("a", "ann")
        limits.failed("a", "ann")
    with pytest.raises(RateLimitedError) as caught:
        limits.begin("a", "ann")
    assert caught.value.retry_after == pytest.approx(30)
    limits.begin("b", "ann")
    limits.begin("a", "bob")
    clock.now += 30.1
    limits.begin("a", "ann")
    limits.failed("a", "ann")
    with pytest.raises(RateLimitedError):
        limits.begin("a", "ann")
    clock.now += 30.1
    limits.succeeded("a", "ann")
    for _ in range(9):
        limits.failed("a", "ann")
        limits.begin("a", "ann")


def test_one_address_cannot_try_many_names() -> None:
    limits = RateLimits(_Clock())
    for n in range(100):
        limits.begin("a", f"name {n}")
        limits.failed("a", f"name {n}")
    with pytest.raises(RateLimitedError):
        limits.begin("a", "one more")


def test_calls_have_a_burst_and_a_rate() -> None:
    clock = _Clock()
    limits = RateLimits(clock)
    for _ in range(500):
        limits.count("a")
    with pytest.raises(RateLimitedError):
        limits.count("a")
    clock.now += 1
    for _ in range(50):
        limits.count("a")
    with pytest.raises(RateLimitedError):
        limits.count("a")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "_SIZE", 50)
    limits = RateLimits(_Clock())
    for n in range(500):
        limits.failed(f"address {n}", "x" * 10_000)
    assert len(limits._names._levels) == len(limits._addresses._levels) == 50
    assert all(len(name) < 300 for name in limits._names._levels)
