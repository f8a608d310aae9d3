"""Alerts: what is open and what was, where people are told, and what they are told of."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import alerts
from syncline.store.alerts import AlertRow, Channel, Delivery

__all__ = ["alerts_router"]

alerts_router = Routes(tags=["Alerts"])


class AlertRead(WireModel):
    """Open while ``resolvedAt`` is absent. ``sentence`` says what is so, ``hint`` what to do next."""

    alert_id: str
    workspace_id: str
    connection_id: str
    connection: str
    rule: str
    sentence: str
    hint: str
    job_id: int | None = None
    since: str
    told_at: str
    resolved_at: str | None = None


class AlertList(WireModel):
    alerts: list[AlertRead]


class ChannelCreate(WireModel):
    """``url`` in apprise's form (``slack://…``, ``mailto://…``, ``json://host/path``); it is never shown again."""

    name: str = Field(default="", max_length=200)
    url: str = Field(min_length=1, max_length=4000)
    enabled: bool = True
    quiet_hours: dict[str, Any] | None = None


class ChannelPatch(WireModel):
    """What is absent stays; ``loud`` takes the quiet hours away."""

    name: str | None = Field(default=None, max_length=200)
    url: str | None = Field(default=None, min_length=1, max_length=4000)
    enabled: bool | None = None
    quiet_hours: dict[str, Any] | None = None
    loud: bool = False


class ChannelRead(WireModel):
    channel_id: str
    workspace_id: str
    name: str
    kind: str
    enabled: bool
    quiet_hours: dict[str, Any] | None = None
    created_at: str


class ChannelList(WireModel):
    channels: list[ChannelRead]


class RulesBody(WireModel):
    """By rule; ``true`` and ``false`` switch one on and off. What is not said keeps its default."""

    rules: dict[str, Any]


class MessageRead(WireModel):
    channel_id: str
    telling: str
    status: str
    title: str
    body: str
    tries: int
    created_at: str
    ended_at: str | None = None
    error: str | None = None


class MessageList(WireModel):
    messages: list[MessageRead]


def _read(row: AlertRow) -> AlertRead:
    return AlertRead(
        alert_id=str(row.id),
        workspace_id=str(row.workspace_id),
        connection_id=str(row.connection_id),
        connection=row.connection,
        rule=row.rule,
        sentence=row.sentence,
        hint=row.hint,
        job_id=row.job_id,
        since=row.since.isoformat(),
        told_at=row.told_at.isoformat(),
        resolved_at=None if row.resolved_at is None else row.resolved_at.isoformat(),
    )


def _channel(channel: Channel) -> ChannelRead:
    return ChannelRead(
        channel_id=str(channel.id),
        workspace_id=str(channel.workspace_id),
        name=channel.name,
        kind=channel.kind,
        enabled=channel.enabled,
        quiet_hours=None if channel.quiet_hours is None else dict(channel.quiet_hours),
        created_at=channel.created_at.isoformat(),
    )


def _message(row: Delivery) -> MessageRead:
    return MessageRead(
        channel_id=str(row.channel_id),
        telling=row.telling,
        status=row.status,
        title=row.title,
        body=row.body,
        tries=row.tries,
        created_at=row.created_at.isoformat(),
        ended_at=None if row.ended_at is None else row.ended_at.isoformat(),
        error=row.error,
    )


@alerts_router.get("/alerts", operation_id="listAlerts")
def list_alerts(
    control: ControlOf,
    caller: CallerOf,
    workspace_id: Annotated[str | None, Query(alias="workspaceId")] = None,
    connection_id: Annotated[str | None, Query(alias="connectionId")] = None,
    only_open: Annotated[bool, Query(alias="open")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AlertList:
    """Newest first."""
    found = alerts.list_alerts(
        control,
        caller,
        workspace_id=None if workspace_id is None else as_uuid(workspace_id),
        connection_id=None if connection_id is None else as_uuid(connection_id),
        only_open=only_open,
        limit=limit,
    )
    return AlertList(alerts=[_read(each) for each in found])


@alerts_router.get("/workspaces/{workspaceId}/alerts/{alertId}/messages", operation_id="listAlertMessages")
def list_messages(control: ControlOf, caller: CallerOf, workspaceId: str, alertId: str) -> MessageList:
    """What went out of an alert, and whether it arrived."""
    found = alerts.messages_of(control, caller, as_uuid(workspaceId), as_uuid(alertId))
    return MessageList(messages=[_message(each) for each in found])


@alerts_router.get("/workspaces/{workspaceId}/alert_channels", operation_id="listAlertChannels")
def list_channels(control: ControlOf, caller: CallerOf, workspaceId: str) -> ChannelList:
    found = alerts.list_channels(control, caller, as_uuid(workspaceId))
    return ChannelList(channels=[_channel(each) for each in found])


@alerts_router.post("/workspaces/{workspaceId}/alert_channels", operation_id="createAlertChannel")
def create_channel(control: ControlOf, caller: CallerOf, workspaceId: str, body: ChannelCreate) -> ChannelRead:
    made = alerts.create_channel(
        control,
        caller,
        as_uuid(workspaceId),
        name=body.name,
        url=body.url,
        enabled=body.enabled,
        quiet_hours=body.quiet_hours,
    )
    return _channel(made)


@alerts_router.patch("/alert_channels/{channelId}", operation_id="patchAlertChannel")
def change_channel(control: ControlOf, caller: CallerOf, channelId: str, body: ChannelPatch) -> ChannelRead:
    changed = alerts.change_channel(
        control,
        caller,
        as_uuid(channelId),
        name=body.name,
        url=body.url,
        enabled=body.enabled,
        quiet_hours=body.quiet_hours,
        loud=body.loud,
    )
    return _channel(changed)


@alerts_router.delete("/alert_channels/{channelId}", operation_id="deleteAlertChannel", status_code=204)
def delete_channel(control: ControlOf, caller: CallerOf, channelId: str) -> Response:
    alerts.delete_channel(control, caller, as_uuid(channelId))
    return Response(status_code=204)


@alerts_router.post("/alert_channels/{channelId}/test", operation_id="testAlertChannel", status_code=204)
def test_channel(control: ControlOf, caller: CallerOf, channelId: str) -> Response:
    """Send a message now; an error says why it did not arrive. Takes 20 seconds at most."""
    alerts.test_channel(control, caller, as_uuid(channelId))
    return Response(status_code=204)


@alerts_router.get("/workspaces/{workspaceId}/alert_rules", operation_id="getAlertRules")
def get_rules(
    control: ControlOf,
    caller: CallerOf,
    workspaceId: str,
    connection_id: Annotated[str | None, Query(alias="connectionId")] = None,
) -> RulesBody:
    """What holds for the workspace, or for one connection of it."""
    of = None if connection_id is None else as_uuid(connection_id)
    return RulesBody(rules=alerts.rules(control, caller, as_uuid(workspaceId), of).model_dump())


@alerts_router.put("/workspaces/{workspaceId}/alert_rules", operation_id="setAlertRules")
def set_rules(
    control: ControlOf,
    caller: CallerOf,
    workspaceId: str,
    body: RulesBody,
    connection_id: Annotated[str | None, Query(alias="connectionId")] = None,
) -> RulesBody:
    """Take the place of what was said before. Answers with what holds."""
    of = None if connection_id is None else as_uuid(connection_id)
    return RulesBody(rules=alerts.set_rules(control, caller, as_uuid(workspaceId), body.rules, of).model_dump())
