"""Alerts are opened once, told again rarely, and resolved once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from syncline.alerts.book import MemoryBook
from syncline.alerts.config import AlertRules, QuietHours
from syncline.alerts.facts import Facts
from syncline.alerts.message import message_for
from syncline.alerts.watchman import Watchman
from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.events import AttemptStarted, LogProgress, PartitionCommitted, RetainedWal, SchemaChanged
from syncline.engine.listener import Run, RunEnd

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Scene:
    """A watchman whose clock is ours."""

    rules: AlertRules = field(default_factory=AlertRules)
    book: MemoryBook = field(default_factory=MemoryBook)
    now: datetime = START
    known: list[Facts] | None = None

    def __post_init__(self) -> None:
        known = None if self.known is None else lambda: self.known or []
        self.watchman = Watchman(self.book, lambda _: self.rules, known, clock=lambda: self.now)

    def run(self, *, follows: bool = False) -> Run:
        return Run(connection="erp", sync_id="s", attempt=1, started_at=self.now, job=7, follows=follows)

    def pass_(self, **delta: float) -> None:
        self.now += timedelta(**delta)
        self.watchman.look()

    def end(self, status: str = "succeeded", error: SynclineError | None = None, **values: Any) -> None:
        end = RunEnd(
            status=status,
            final=True,
            error=error,
            seconds=values.get("seconds", 5),
            rows=values.get("rows", 5000),
            bytes=1,
        )
        self.watchman.ended(self.run(), end)
        self.watchman.look()

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(alert.rule, telling) for alert, telling in self.book.told]


FAILURE = SynclineError(ErrorKind.AUTH, "password authentication failed", hint="give the right password")


def test_a_failure_is_told_once_and_its_end_once() -> None:
    scene = Scene()
    scene.end("failed", FAILURE)
    scene.end("failed", FAILURE)
    scene.pass_(minutes=5)
    assert scene.told == [("failure", "opened")]
    scene.end("succeeded")
    scene.end("succeeded")
    assert scene.told == [("failure", "opened"), ("failure", "resolved")]
    message = message_for(*scene.book.told[0], link="http://h/connections/1")
    assert "password authentication failed" in message.body
    assert "Next: give the right password" in message.body
    assert "Since 2026-03-01 12:00 UTC" in message.body
    assert message.body.endswith("http://h/connections/1")
    assert "erp" in message.title


def test_a_cancelled_run_says_nothing() -> None:
    scene = Scene()
    scene.end("failed", FAILURE)
    scene.end("cancelled")
    assert scene.told == [("failure", "opened")]


def test_what_stays_is_told_again_after_a_day() -> None:
    scene = Scene()
    scene.end("failed", FAILURE)
    scene.pass_(hours=23)
    assert len(scene.told) == 1
    scene.pass_(hours=2)
    assert scene.told[1:] == [("failure", "still")]


def test_a_long_run_is_told_while_it_runs() -> None:
    scene = Scene()
    scene.watchman.heard(scene.run(), AttemptStarted(connection="erp", sync_id="s", attempt=1, streams=["a"]))
    scene.pass_(minutes=29)
    assert scene.told == []
    scene.pass_(minutes=2)
    assert scene.told == [("sync_duration", "opened")]
    scene.end(seconds=32 * 60)
    assert scene.told == [("sync_duration", "opened")], "it ended late: the next one tells"
    scene.end(seconds=60)
    assert scene.told[1:] == [("sync_duration", "resolved")]


def _lag(seconds: float) -> LogProgress:
    return LogProgress(
        rows=1,
        position=1,
        end=2,
        lag_bytes=1,
        lag_seconds=seconds,
        retained_bytes=0,
        spool_bytes=0,
        slot="active",
        catching_up=[],
    )


def test_lag_must_last_and_does_not_flap() -> None:
    scene = Scene()

    def say(seconds: float) -> None:
        scene.watchman.heard(scene.run(follows=True), _lag(seconds))
        scene.pass_(seconds=20)

    say(400)
    say(100)  # a spike: it begins anew
    say(400)
    say(400)
    say(400)
    assert scene.told == []
    say(400)
    assert scene.told == [("lag", "opened")]
    say(290)  # below the limit, not clearly
    say(310)
    assert scene.told == [("lag", "opened")]
    say(200)
    assert scene.told[1:] == [("lag", "resolved")]


def test_retained_log_over_its_limit() -> None:
    scene = Scene()
    wal = RetainedWal(level="over", slot="s", bytes=5_000_000_000, budget=4_000_000_000, seconds_left=60)
    scene.watchman.heard(scene.run(follows=True), wal)
    scene.pass_(seconds=1)
    assert scene.told == [("retained_wal", "opened")]


def test_no_success_in_time_also_when_nothing_ever_ran() -> None:
    facts = Facts(connection="erp", connection_id="1", last_success_at=START, expected_every=3600.0)
    scene = Scene(known=[facts])
    scene.pass_(hours=2)
    assert scene.told == []
    scene.pass_(minutes=11)
    assert scene.told == [("freshness", "opened")]


def test_schema_changes_are_told_together_and_once() -> None:
    scene = Scene()
    for name in ("a", "b"):
        scene.watchman.heard(
            scene.run(follows=True), SchemaChanged(stream="t", change="added", before=None, after=name)
        )
    scene.pass_(seconds=1)
    scene.pass_(days=2)
    assert scene.told == [("schema_change", "notice")]
    assert "a" in scene.book.told[0][0].sentence and "b" in scene.book.told[0][0].sentence


def test_rows_and_files_are_judged_when_asked_for() -> None:
    quiet = Scene()
    quiet.end(rows=3)
    assert quiet.told == []
    scene = Scene(rules=AlertRules.model_validate({"rows_synced": True, "file_size": {"max_mb": 1}}))
    committed = PartitionCommitted(
        stream="t", partition="0", rows=3, quarantined=4, sequence=1, bytes=2_000_000, files=[2_000_000]
    )
    scene.watchman.heard(scene.run(), committed)
    scene.end(rows=3)
    assert {rule for rule, _ in scene.told} == {"rows_synced", "file_size", "quarantine"}


def test_a_rule_that_is_switched_off_ends_its_alert() -> None:
    scene = Scene()
    scene.end("failed", FAILURE)
    scene.rules = AlertRules.model_validate({"failure": False})
    scene.pass_(seconds=1)
    assert scene.told[1:] == [("failure", "resolved")]


def test_a_book_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    real, broken = scene.book.write, [True]

    def write(*args: Any) -> None:
        if broken[0]:
            raise OSError("no store")
        real(*args)

    monkeypatch.setattr(scene.book, "write", write)
    with pytest.raises(OSError, match="no store"):
        scene.end("failed", FAILURE)
    broken[0] = False
    scene.pass_(seconds=5)
    assert scene.told == [("failure", "opened")]


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-03-01T21:59:00+01:00", None),
        ("2026-03-01T22:00:00+01:00", "2026-03-02T07:00:00+01:00"),
        ("2026-03-02T06:59:00+01:00", "2026-03-02T07:00:00+01:00"),
        ("2026-03-02T07:00:00+01:00", None),
        # The clocks go forward in this night.
        ("2026-03-28T23:30:00+01:00", "2026-03-29T07:00:00+02:00"),
    ],
)
def test_quiet_hours_over_midnight(at: str, until: str | None) -> None:
    quiet = QuietHours(start="22:00", end="07:00", time_zone="Europe/Berlin")
    found = quiet.until(datetime.fromisoformat(at).astimezone(UTC))
    assert found == (None if until is None else datetime.fromisoformat(until))


@pytest.mark.parametrize(
    "said", [{"lags": {}}, {"lag": {"max_seconds": -1}}, {"lag": {"max_minutes": 1}}, {"failure": {"over": 3}}]
)
def test_unknown_and_impossible_rules_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AlertRules.model_validate(said)
