"""Use cases: alerts. Channels and rules of a workspace, what is open, and a message to try a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from syncline.alerts.channels import check_channel, send
from syncline.alerts.config import AlertRules, QuietHours
from syncline.alerts.message import Message
from syncline.service.audit import record
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.errors import NotFoundError, invalid
from syncline.store import alerts as rows
from syncline.store import connections, workspaces
from syncline.store import secrets as sealed_rows
from syncline.store.alerts import AlertRow, Channel, Delivery
from syncline.store.database import Transaction
from syncline.store.schema import new_id, now

__all__ = [
    "change_channel",
    "create_channel",
    "delete_channel",
    "list_alerts",
    "list_channels",
    "messages_of",
    "rules",
    "set_rules",
    "test_channel",
]


def list_channels(control: Control, caller: Caller, workspace_id: UUID) -> list[Channel]:
    """Without their URLs, which nobody is shown again."""
    with control.database.read() as tx:
        _workspace(tx, caller, workspace_id, Role.READER)
        return rows.channels_of(tx, workspace_id)


def create_channel(
    control: Control,
    caller: Caller,
    workspace_id: UUID,
    *,
    name: str,
    url: str,
    enabled: bool = True,
    quiet_hours: Mapping[str, Any] | None = None,
) -> Channel:
    """``url`` in apprise's form; it is sealed. Raises ``config`` for what is no channel."""
    kind, quiet = check_channel(url), _quiet(quiet_hours)
    secret_id, at = new_id(), now()
    channel = Channel(
        id=new_id(),
        workspace_id=workspace_id,
        name=name or kind,
        kind=kind,
        enabled=enabled,
        quiet_hours=quiet,
        secret_id=secret_id,
        created_at=at,
        updated_at=at,
    )
    with control.database.write() as tx:
        _workspace(tx, caller, workspace_id, Role.EDITOR)
        sealed_rows.add(tx, control.secrets.seal(secret_id, {"url": url}))
        rows.add_channel(tx, channel)
        record(tx, caller, "alert_channel.create", "alert_channel", channel.id, workspace_id, None, _shown(channel))
    return channel


def change_channel(
    control: Control,
    caller: Caller,
    channel_id: UUID,
    *,
    name: str | None = None,
    url: str | None = None,
    enabled: bool | None = None,
    quiet_hours: Mapping[str, Any] | None = None,
    loud: bool = False,
) -> Channel:
    """What is None stays; ``loud`` takes the quiet hours away."""
    kind = check_channel(url) if url is not None else None
    quiet = _quiet(quiet_hours)
    with control.database.write() as tx:
        before = _channel(tx, caller, channel_id, Role.EDITOR)
        values: dict[str, Any] = {
            "name": name if name is not None else before.name,
            "kind": kind or before.kind,
            "enabled": enabled if enabled is not None else before.enabled,
            "quiet_hours": None if loud else quiet or before.quiet_hours,
        }
        if url is not None:
            sealed_rows.replace(tx, control.secrets.seal(before.secret_id, {"url": url}))
        rows.change_channel(tx, channel_id, **values)
        after = rows.find_channel(tx, channel_id)
        assert after is not None
        record(
            tx,
            caller,
            "alert_channel.change",
            "alert_channel",
            channel_id,
            before.workspace_id,
            _shown(before),
            {**_shown(after), **({"url": "changed"} if url is not None else {})},
        )
    return after


def delete_channel(control: Control, caller: Caller, channel_id: UUID) -> None:
    with control.database.write() as tx:
        channel = _channel(tx, caller, channel_id, Role.EDITOR)
        rows.change_channel(tx, channel_id, deleted_at=now(), enabled=False)
        record(tx, caller, "alert_channel.delete", "alert_channel", channel_id, channel.workspace_id, _shown(channel))


def test_channel(control: Control, caller: Caller, channel_id: UUID) -> None:
    """Send a message now. Raises ``unreachable`` or ``transient`` when it does not arrive; blocks 20 s at most."""
    with control.database.read() as tx:
        channel = _channel(tx, caller, channel_id, Role.EDITOR)
        sealed = sealed_rows.find(tx, channel.secret_id)
    assert sealed is not None
    text = "This is what an alert will look like. Nothing is wrong."
    send(
        control.secrets.open(sealed)["url"],
        Message(title=f"🔵 Syncline: test of {channel.name}", body=text, level="info"),
    )


def rules(control: Control, caller: Caller, workspace_id: UUID, connection_id: UUID | None = None) -> AlertRules:
    """What holds: the defaults, the workspace's, the connection's."""
    with control.database.read() as tx:
        _workspace(tx, caller, workspace_id, Role.READER)
        said = rows.rules_of(tx, workspace_id)
    found = AlertRules().overridden(said.get(None, {}))
    return found.overridden(said.get(connection_id, {})) if connection_id is not None else found


def set_rules(
    control: Control,
    caller: Caller,
    workspace_id: UUID,
    rules_said: Mapping[str, Any],
    connection_id: UUID | None = None,
) -> AlertRules:
    """Take the place of what was said before, for the workspace or for one connection of it; what is not said keeps
    the default. Returns what holds."""
    try:
        AlertRules().overridden(dict(rules_said))
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid(".".join(str(part) for part in first["loc"]), first["msg"]) from None
    with control.database.write() as tx:
        _workspace(tx, caller, workspace_id, Role.EDITOR)
        if connection_id is not None:
            connection = connections.find(tx, connection_id)
            if connection is None or connection.workspace_id != workspace_id or connection.deleted_at is not None:
                raise NotFoundError("connection", connection_id)
        before = rows.rules_of(tx, workspace_id).get(connection_id, {})
        rows.set_rules(tx, workspace_id, connection_id, rules_said)
        noun = connection_id or workspace_id
        record(tx, caller, "alert_rules.set", "alert_rules", noun, workspace_id, before, dict(rules_said))
    return rules(control, caller, workspace_id, connection_id)


def list_alerts(
    control: Control,
    caller: Caller,
    *,
    workspace_id: UUID | None = None,
    connection_id: UUID | None = None,
    only_open: bool = False,
    limit: int = 100,
) -> list[AlertRow]:
    """Newest first, of what the caller may see."""
    allowed = caller.among(frozenset() if workspace_id is None else frozenset({workspace_id}))
    if allowed is not None and not allowed:
        return []
    with control.database.read() as tx:
        return rows.alerts_of(
            tx,
            None if allowed is None else sorted(allowed),
            only_open=only_open,
            limit=limit,
            connection_id=connection_id,
        )


def messages_of(control: Control, caller: Caller, workspace_id: UUID, alert_id: UUID) -> list[Delivery]:
    """What went out of an alert, oldest first."""
    with control.database.read() as tx:
        _workspace(tx, caller, workspace_id, Role.READER)
        known = {channel.id for channel in rows.channels_of(tx, workspace_id)}
        return [each for each in rows.deliveries_of(tx, alert_id) if each.channel_id in known]


def _shown(channel: Channel) -> dict[str, Any]:
    return {
        "name": channel.name,
        "kind": channel.kind,
        "enabled": channel.enabled,
        "quiet_hours": channel.quiet_hours,
    }


def _quiet(said: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if said is None:
        return None
    try:
        return QuietHours.model_validate(dict(said)).model_dump(by_alias=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid(".".join(["quietHours", *map(str, first["loc"])]), first["msg"]) from None


def _channel(tx: Transaction, caller: Caller, channel_id: UUID, role: Role) -> Channel:
    channel = rows.find_channel(tx, channel_id)
    if channel is None or not caller.may(Role.READER, channel.workspace_id):
        raise NotFoundError("alert channel", channel_id)
    caller.require(role, channel.workspace_id)
    return channel


def _workspace(tx: Transaction, caller: Caller, workspace_id: UUID, role: Role) -> None:
    found = workspaces.find(tx, workspace_id)
    if found is None or not caller.may(Role.READER, workspace_id):
        raise NotFoundError("workspace", workspace_id)
    caller.require(role, workspace_id)
