"""The server's alarm: the watchman over the store, and the courier that empties its outbox."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from syncline.alerts.book import Alert, Telling
from syncline.alerts.channels import send
from syncline.alerts.config import AlertRules, QuietHours
from syncline.alerts.facts import Facts
from syncline.alerts.message import Message, message_for
from syncline.alerts.watchman import Watchman
from syncline.core.errors import SynclineError
from syncline.core.failpoints import failpoint
from syncline.engine.events import Event
from syncline.engine.listener import Run, RunEnd
from syncline.jobs.known_schedules import KnownSchedules
from syncline.jobs.schedule import interval_of
from syncline.service.control import Control
from syncline.store import alerts as rows
from syncline.store import job_summary
from syncline.store import secrets as sealed_rows
from syncline.store.alerts import AlertRow, Channel, Delivery
from syncline.store.database import Transaction
from syncline.store.job_summary import LastEnd

__all__ = ["Alarm"]

_log = logging.getLogger("syncline.alerts")

#: Seconds after each failed try; with the last one a message is given up, some six hours after the first.
_RETRY_SECONDS = (10, 60, 300, 1800, 7200, 14400)
_ROUND_SECONDS = 2.0
_LOOK_SECONDS = 5.0
_RULES_SECONDS = 10.0
_REMEMBERED = timedelta(days=90)


class Alarm:
    """A listener to runs. ``leads``: only one server of a store may tell. ``link`` is where the page is, without a
    slash at its end."""

    def __init__(self, control: Control, leads: Callable[[], bool], link: str) -> None:
        self._control, self._leads, self._link = control, leads, link
        #: What was said in each workspace: of itself under an empty name, of connections under their ids.
        self._rules: dict[str, dict[str, dict[str, Any]]] = {}
        self._made: dict[tuple[str, str], AlertRules] = {}
        self._rules_at = datetime.min.replace(tzinfo=UTC)
        self._schedules = KnownSchedules()
        self._caught_up = False
        self._watchman = Watchman(self, self._rules_for, self._known)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alarm", daemon=True)

    # What the supervisor calls.

    def heard(self, run: Run, event: Event) -> None:
        self._watchman.heard(run, event)

    def ended(self, run: Run, end: RunEnd) -> None:
        self._watchman.ended(run, end)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)  # a message under way is sent again by the next server if this one does not end

    def _run(self) -> None:
        looked = 0.0
        while not self._stopping.wait(_ROUND_SECONDS):
            if not self._leads():
                continue
            try:
                if time.monotonic() - looked >= _LOOK_SECONDS:
                    looked = time.monotonic()
                    self._watchman.look()
                self._deliver()
            except Exception:  # noqa: BLE001 - a failed round must not end all later ones
                _log.exception("alerts: a round failed and is tried again")

    # The watchman's book.

    def open_alerts(self) -> Sequence[Alert]:
        with self._control.database.read() as tx:
            return [_alert(row) for row in rows.open_alerts(tx)]

    def write(self, alert: Alert, telling: Telling) -> None:
        """The alert and its messages in one act."""
        row = _row(alert)
        link = f"{self._link}/connections/{alert.connection_id}"
        message = message_for(alert, telling, link=link)
        with self._control.database.write() as tx:
            rows.save(tx, row)
            unheard = rows.drop_pending(tx, row.id)
            channels = [c for c in rows.channels_of(tx, row.workspace_id) if c.enabled]
            if telling == "resolved":
                channels = [c for c in channels if c.id not in unheard]
            rows.add_deliveries(tx, [_delivery(row, each, telling, message) for each in channels])
        failpoint("alert.written")
        _log.info("%s: %s: %s", alert.connection, telling, alert.sentence)

    # What the store knows.

    def _rules_for(self, facts: Facts) -> AlertRules:
        if datetime.now(UTC) - self._rules_at > timedelta(seconds=_RULES_SECONDS):
            self._rules, self._made, self._rules_at = {}, {}, datetime.now(UTC)
        workspace = facts.workspace
        if workspace not in self._rules:
            with self._control.database.read() as tx:
                said = rows.rules_of(tx, UUID(workspace))
            self._rules[workspace] = {"" if of is None else str(of): rules for of, rules in said.items()}
        found = self._rules[workspace]
        # Most connections have no rules of their own and share those of their workspace.
        own = facts.connection_id if facts.connection_id in found else ""
        made = self._made.get((workspace, own))
        if made is None:
            made = AlertRules().overridden(found.get("", {}))
            self._made[workspace, own] = made = made.overridden(found[own]) if own else made
        return made

    def _known(self) -> Iterable[Facts]:
        with self._control.database.read() as tx:
            scheduled = self._schedules.refreshed(tx)
            # Once: what a server that died had not judged yet. Later ends are heard.
            ends = {} if self._caught_up else {each.connection_id: each for each in job_summary.last_ends(tx)}
            for each in job_summary.of_connections(tx):
                connection = scheduled.get(each.id)
                yield Facts(
                    connection=each.name,
                    connection_id=str(each.id),
                    workspace=str(each.workspace_id),
                    # One that never succeeded is as old as itself: it should have by now.
                    last_success_at=each.last_success_at or each.created_at,
                    expected_every=None if connection is None else interval_of(connection.schedule),
                    **_ended(ends.get(each.id)),
                )
        self._caught_up = True

    # The courier.

    def _deliver(self) -> None:
        at = datetime.now(UTC)
        with self._control.database.read() as tx:
            due = rows.due_deliveries(tx, at)
            channels = {each.channel_id: self._channel(tx, each.channel_id) for each in due}
        for delivery in due:
            if self._stopping.is_set():
                return
            self._send(delivery, channels[delivery.channel_id])
        if due:
            with self._control.database.write() as tx:
                rows.prune(tx, at - _REMEMBERED)

    def _channel(self, tx: Transaction, channel_id: UUID) -> tuple[Channel, str] | None:
        channel = rows.find_channel(tx, channel_id)
        sealed = sealed_rows.find(tx, channel.secret_id) if channel is not None else None
        if channel is None or sealed is None or not channel.enabled:
            return None
        return channel, self._control.secrets.open(sealed)["url"]

    def _send(self, delivery: Delivery, to: tuple[Channel, str] | None) -> None:
        error: SynclineError | None = None
        if to is not None:
            try:
                send(to[1], Message(title=delivery.title, body=delivery.body, level=delivery.level))
                failpoint("alert.sent")
            except SynclineError as failure:
                error = failure
                _log.warning("alert %s to channel %s: %s", delivery.alert_id, to[0].name, failure)
        with self._control.database.write() as tx:
            if to is None:
                rows.delivery_ended(tx, delivery.id, "dropped", "the channel is gone or switched off")
            elif error is None:
                rows.delivery_ended(tx, delivery.id, "sent")
            elif delivery.tries >= len(_RETRY_SECONDS):
                rows.delivery_ended(tx, delivery.id, "failed", error.message)
            else:
                again = datetime.now(UTC) + timedelta(seconds=_RETRY_SECONDS[delivery.tries])
                rows.retry_delivery(tx, delivery.id, again, error.message)


def _ended(last: LastEnd | None) -> dict[str, Any]:
    """The last run's end among the facts."""
    if last is None:
        return {}
    status = "succeeded" if last.succeeded else "failed"
    end = RunEnd(status=status, final=True, error=last.error, seconds=last.seconds, rows=last.rows, bytes=0)
    return {
        "last_end": end,
        "error": last.error,
        "job": last.job_id,
        "rows": last.rows,
        "last_seconds": last.seconds,
    }


def _alert(row: AlertRow) -> Alert:
    return Alert(
        id=str(row.id),
        connection=row.connection,
        connection_id=str(row.connection_id),
        workspace=str(row.workspace_id),
        rule=row.rule,
        sentence=row.sentence,
        hint=row.hint,
        job=row.job_id or 0,
        since=row.since,
        told_at=row.told_at,
        resolved_at=row.resolved_at,
    )


def _row(alert: Alert) -> AlertRow:
    return AlertRow(
        id=UUID(alert.id),
        workspace_id=UUID(alert.workspace),
        connection_id=UUID(alert.connection_id),
        connection=alert.connection,
        rule=alert.rule,
        sentence=alert.sentence,
        hint=alert.hint,
        job_id=alert.job or None,
        since=alert.since,
        told_at=alert.told_at,
        resolved_at=alert.resolved_at,
    )


def _delivery(alert: AlertRow, channel: Channel, telling: Telling, message: Message) -> Mapping[str, Any]:
    at = datetime.now(UTC)
    quiet = QuietHours.model_validate(channel.quiet_hours) if channel.quiet_hours else None
    if quiet is not None and alert.rule not in quiet.except_rules:
        at = quiet.until(at) or at
    return {
        "alert_id": alert.id,
        "channel_id": channel.id,
        "telling": telling,
        "title": message.title,
        "body": message.body,
        "level": message.level,
        "not_before": at,
    }
