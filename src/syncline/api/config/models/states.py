"""States as the config API has them."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from syncline.api.config.models.jobs import StreamDescriptor
from syncline.api.wire import WireModel

__all__ = ["ConnectionStateBody", "GlobalState", "StateRead", "StateStream", "StateUpdateBody"]


class StateStream(WireModel):
    stream_descriptor: StreamDescriptor
    stream_state: dict[str, Any] | None = None


class GlobalState(WireModel):
    shared_state: dict[str, Any] | None = None
    stream_states: list[StateStream] = []


class ConnectionStateBody(WireModel):
    state_type: Literal["global", "stream", "legacy", "not_set"]
    connection_id: UUID | None = None
    state: dict[str, Any] | None = None
    stream_state: list[StateStream] | None = None
    global_state: GlobalState | None = None


class StateUpdateBody(WireModel):
    connection_id: UUID
    connection_state: ConnectionStateBody


class StateRead(WireModel):
    state_type: Literal["global", "stream", "legacy", "not_set"]
    connection_id: str
    stream_state: list[StateStream] | None = None
    global_state: GlobalState | None = None
