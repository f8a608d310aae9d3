"""The state of a connection in the config API: read, and set when nothing runs."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from fastapi import Request

from syncline.api.config.models import (
    ConnectionIdBody,
    ConnectionStateBody,
    GlobalState,
    StateRead,
    StateStream,
    StateUpdateBody,
    StreamDescriptor,
)
from syncline.api.context import CallerOf, ControlOf
from syncline.api.errors import ApiError
from syncline.api.looking import LONG_WAIT, Looking, outside
from syncline.api.routes import Routes
from syncline.core.errors import SynclineError
from syncline.service import jobs, states
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.service.errors import LockedError
from syncline.store.values import ConnectionState, StreamState

__all__ = ["config_state_router", "state_read"]

config_state_router = Routes(tags=["State"])


def state_read(connection_id: UUID, state: ConnectionState) -> StateRead:
    """Streams that were never synced are left out: to clients a stream that is there has a state."""
    streams = [
        StateStream(
            stream_descriptor=StreamDescriptor(name=each.name, namespace=each.namespace), stream_state=dict(each.state)
        )
        for each in state.streams
        if each.state is not None
    ]
    if state.kind == "global":
        shared = None if state.shared is None else dict(state.shared)
        return StateRead(
            state_type="global",
            connection_id=str(connection_id),
            global_state=GlobalState(shared_state=shared, stream_states=streams),
        )
    if not streams:
        return StateRead(state_type="not_set", connection_id=str(connection_id))
    return StateRead(state_type="stream", connection_id=str(connection_id), stream_state=streams)


@config_state_router.post("/state/get", operation_id="getState")
def get_state(control: ControlOf, caller: CallerOf, body: ConnectionIdBody) -> StateRead:
    """As it was last known; the truth is in the ledger at the destination."""
    return state_read(body.connection_id, states.get(control, caller, body.connection_id))


@config_state_router.post("/state/create_or_update_safe", operation_id="createOrUpdateStateSafe")
@config_state_router.post("/state/create_or_update", operation_id="createOrUpdateState")
async def set_state(request: Request, control: ControlOf, caller: CallerOf, body: StateUpdateBody) -> StateRead:
    """Replaces the whole state: a stream that is not named is read anew. 423 while a job runs."""
    looking: Looking = request.app.state.looking
    state = _state(body.connection_state)

    try:
        # Two requests that set a state are two acts, so each has a key of its own.
        changed = await looking.run(object(), LONG_WAIT, lambda: _set(control, caller, body.connection_id, state))
    except SynclineError as error:
        raise outside(error) from error
    return state_read(body.connection_id, changed)


def _set(control: Control, caller: Caller, connection_id: UUID, state: ConnectionState) -> ConnectionState:
    running = jobs.active(control, caller, connection_id)
    if running is not None:
        raise LockedError(f"job {running.id} is running", hint="set the state when it has ended")
    return states.set_state(control, caller, connection_id, state)


def _state(body: ConnectionStateBody) -> ConnectionState:
    if body.state_type == "not_set":
        return ConnectionState()
    if body.state_type == "legacy":
        raise ApiError(422, "A state of type legacy belongs to connectors that are not served; give stream or global.")
    if body.state_type == "global":
        if body.global_state is None:
            raise ApiError(422, "connectionState.globalState is required for a state of type global.")
        shared = body.global_state.shared_state or {}
        return ConnectionState(streams=_streams(body.global_state.stream_states), shared=shared)
    if body.stream_state is None:
        raise ApiError(422, "connectionState.streamState is required for a state of type stream.")
    return ConnectionState(streams=_streams(body.stream_state))


def _streams(streams: list[StateStream]) -> tuple[StreamState, ...]:
    now = datetime.now(UTC)
    return tuple(
        StreamState(
            namespace=each.stream_descriptor.namespace,
            name=each.stream_descriptor.name,
            state=each.stream_state,
            updated_at=now,
        )
        for each in streams
    )
