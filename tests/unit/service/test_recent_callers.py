"""What is remembered of callers ends by itself, with a change of identities, and with their credentials."""

from __future__ import annotations

from syncline.service.auth.recent import SECONDS, RecentCallers
from syncline.service.callers import Caller


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


CALLER = Caller(kind="user", name="a@localhost")


def test_a_look_up_is_good_for_a_moment() -> None:
    clock = Clock()
    recent = RecentCallers(clock)
    assert recent.find("token", 1) is None
    recent.add("token", CALLER, version=1, valid=900)
    assert recent.find("token", 1) is CALLER
    assert recent.find("tokem", 1) is None
    clock.now += SECONDS + 0.01
    assert recent.find("token", 1) is None


def test_a_change_of_identities_ends_it() -> None:
    recent = RecentCallers(Clock())
    recent.add("token", CALLER, version=1, valid=900)
    assert recent.find("token", 2) is None


def test_it_does_not_outlive_the_credentials() -> None:
    clock = Clock()
    recent = RecentCallers(clock)
    recent.add("token", CALLER, version=1, valid=0.2)
    clock.now += 0.3
    assert recent.find("token", 1) is None
