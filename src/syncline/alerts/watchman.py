"""The watchman: hears runs, judges by the rules, and keeps one alert per rule and connection: opened once, told again
rarely, resolved once."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from syncline.alerts.book import Alert, Book
from syncline.alerts.config import AlertRules
from syncline.alerts.facts import Facts, matters
from syncline.alerts.rules import Finding, judge
from syncline.core.failpoints import failpoint
from syncline.engine.events import Event
from syncline.engine.listener import Run, RunEnd

__all__ = ["Watchman"]

#: What the store knows better (schedules, successes of other servers) is asked for this often.
REFRESH_SECONDS = 30.0
#: Far more than a tick's worth; a listener must never wait and never fill the memory.
_MOST_HEARD = 100_000


class Watchman:
    """A listener to runs. ``rules_for`` gives the rules of a connection; ``known`` what the store knows of all
    connections that are to be watched, by id: asked from this thread, may be slow, may raise. When first asked it also
    gives how each one's last run ended, which one that died may not have judged. Without ``known`` it watches what it
    hears."""

    def __init__(
        self,
        book: Book,
        rules_for: Callable[[Facts], AlertRules],
        known: Callable[[], Iterable[Facts]] | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._book, self._rules_for, self._known, self._clock = book, rules_for, known, clock
        self._heard: deque[tuple[Run, Event | RunEnd, datetime]] = deque(maxlen=_MOST_HEARD)
        self._facts: dict[str, Facts] = {}
        self._open: dict[tuple[str, str], Alert] | None = None
        self._bad_since: dict[tuple[str, str], datetime] = {}
        self._refreshed = 0.0

    def heard(self, run: Run, event: Event) -> None:
        if matters(event):
            self._heard.append((run, event, self._clock()))

    def ended(self, run: Run, end: RunEnd) -> None:
        self._heard.append((run, end, self._clock()))

    def look(self) -> None:
        """Judge everything now. Called every few seconds, always from the same thread. May raise what the book and the
        store raise; what was not written is judged again the next time."""
        if self._open is None:
            self._open = {alert.key: alert for alert in self._book.open_alerts()}
        if self._known is not None and time.monotonic() - self._refreshed >= REFRESH_SECONDS:
            self._refresh(self._known())
            self._refreshed = time.monotonic()
        while self._heard:
            run, what, at = self._heard.popleft()
            facts = self._facts.setdefault(
                run.connection_id or run.connection, Facts(connection=run.connection, connection_id=run.connection_id)
            )
            if isinstance(what, RunEnd):
                failpoint("alert.heard")
                facts.end(run, what, at)
                self._judge(facts)  # the next run's first event would hide how this one ended
            else:
                facts.hear(run, what)
        for facts in list(self._facts.values()):
            self._judge(facts)

    def _refresh(self, known: Iterable[Facts]) -> None:
        """Connections that are gone are forgotten, and their alerts end without a message."""
        assert self._open is not None
        present: dict[str, Facts] = {}
        for fresh in known:
            key = fresh.connection_id or fresh.connection
            facts = present[key] = self._facts.get(key, fresh)
            facts.connection, facts.expected_every = fresh.connection, fresh.expected_every
            if fresh.last_success_at is not None:
                facts.last_success_at = max(facts.last_success_at or fresh.last_success_at, fresh.last_success_at)
        self._facts = present
        self._open = {key: alert for key, alert in self._open.items() if key[0] in present}
        self._bad_since = {key: since for key, since in self._bad_since.items() if key[0] in present}

    def _judge(self, facts: Facts) -> None:
        rules, now = self._rules_for(facts), self._clock()
        for rule, finding in judge(rules, facts, now).items():
            self._follow(facts, rule, finding, rules, now)

    def _follow(self, facts: Facts, rule: str, finding: Finding, rules: AlertRules, now: datetime) -> None:
        assert self._open is not None
        key = (facts.connection_id or facts.connection, rule)
        present = self._open.get(key)
        if finding.state == "bad":
            since = self._bad_since.setdefault(key, now)
            if present is None:
                if (now - since).total_seconds() >= finding.after_seconds:
                    alert = _alert(facts, rule, finding, since, now)
                    self._book.write(alert, "opened")
                    self._open[key] = alert
            elif now - present.told_at >= timedelta(hours=rules.repeat_hours):
                again = replace(present, sentence=finding.sentence, hint=finding.hint, job=facts.job, told_at=now)
                self._book.write(again, "still")
                self._open[key] = again
            return
        self._bad_since.pop(key, None)
        if finding.state == "once":
            self._book.write(replace(_alert(facts, rule, finding, now, now), resolved_at=now), "notice")
            facts.schema_changes.clear()
        elif present is not None:
            self._book.write(replace(present, resolved_at=now, told_at=now), "resolved")
            del self._open[key]


def _alert(facts: Facts, rule: str, finding: Finding, since: datetime, now: datetime) -> Alert:
    return Alert(
        id=str(uuid.uuid4()),
        connection=facts.connection,
        connection_id=facts.connection_id,
        workspace=facts.workspace,
        rule=rule,
        sentence=finding.sentence,
        hint=finding.hint,
        job=facts.job,
        since=since,
        told_at=now,
    )
