"""What a server has done with both ends of a connection, in the process of :mod:`syncline.service.probe`. Each
task takes the connection, the settings and the request, and gives JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from syncline.engine.events import Event, QualityJudged
from syncline.service.lag import read_lag
from syncline.service.mapping_preview import preview_mappings
from syncline.service.plan import plan_connection
from syncline.service.project import Connection
from syncline.service.quality import publish_held_back, read_quality, replay_held_back
from syncline.service.quarantine import drop_quarantined, list_quarantine, replay_quarantined
from syncline.service.schema_changes import accept_changes, look_for_changes
from syncline.service.state import StreamState, read_states, replace_states
from syncline.service.verify import verify_connection
from syncline.settings import Settings

__all__ = ["carry_out"]

Request = Mapping[str, Any]
#: A cell is for looking at; whoever wants all of it has the store itself.
_CELL = 4000


def carry_out(connection: Connection, settings: Settings, request: Request) -> Any:
    """The answer of ``request["task"]``. Raises what the use case raises."""
    return _TASKS[request["task"]](connection, settings, request)


def _plan(connection: Connection, settings: Settings, request: Request) -> Any:
    return [each.to_json() for each in plan_connection(connection, settings)]


def _lag(connection: Connection, settings: Settings, request: Request) -> Any:
    return read_lag(connection, settings).to_json()


def _verify(connection: Connection, settings: Settings, request: Request) -> Any:
    return [each.to_json() for each in verify_connection(connection, settings, request["streams"])]


def _states(connection: Connection, settings: Settings, request: Request) -> Any:
    return [_state(each) for each in read_states(connection, settings)]


def _set_states(connection: Connection, settings: Settings, request: Request) -> Any:
    return [_state(each) for each in replace_states(connection, settings, request["positions"])]


def _state(state: StreamState) -> dict[str, Any]:
    position = state.entry.checkpoint.position if state.entry is not None else None
    return {**state.name.to_json(), "state": None if position is None else dict(position)}


def _mappings(connection: Connection, settings: Settings, request: Request) -> Any:
    return [each.to_json() for each in preview_mappings(connection, settings, rows=request["rows"])]


def _changes(connection: Connection, settings: Settings, request: Request) -> Any:
    return look_for_changes(connection, settings).to_json()


def _accept_changes(connection: Connection, settings: Settings, request: Request) -> Any:
    return accept_changes(connection, settings, request["streams"]).to_json()


def _quarantine(connection: Connection, settings: Settings, request: Request) -> Any:
    return [each.to_json(rows=False) for each in list_quarantine(connection, settings)]


def _quarantine_rows(connection: Connection, settings: Settings, request: Request) -> Any:
    (found,) = list_quarantine(connection, settings, [request["stream"]])
    reason = request["reason"]
    entries = [each for each in found.entries if reason is None or each.reason == reason]
    shown = entries[request["offset"] : request["offset"] + request["limit"]]
    rows = [each.to_json() for each in shown]
    for row in rows:
        row["record"] = {name: _cut(text) for name, text in row["record"].items()}
    return {"stream": found.stream, "total": len(entries), "rows": rows}


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= _CELL:
        return text
    return f"{text[:_CELL]}… ({len(text):,} characters)"


def _quarantine_replay(connection: Connection, settings: Settings, request: Request) -> Any:
    return replay_quarantined(connection, settings, request["stream"], request["ids"]).to_json()


def _quarantine_drop(connection: Connection, settings: Settings, request: Request) -> Any:
    return drop_quarantined(connection, settings, request["stream"], request["ids"])


def _quality(connection: Connection, settings: Settings, request: Request) -> Any:
    return [each.to_json() for each in read_quality(connection, settings)]


def _quality_replay(connection: Connection, settings: Settings, request: Request) -> Any:
    verdicts: list[dict[str, Any]] = []
    done = replay_held_back(connection, settings, request["streams"], _collecting(verdicts))
    return {"streams": [each.to_json() for each in done], "verdicts": verdicts}


def _quality_publish(connection: Connection, settings: Settings, request: Request) -> Any:
    verdicts: list[dict[str, Any]] = []
    done = publish_held_back(connection, settings, request["streams"], _collecting(verdicts))
    return {"streams": [each.to_json() for each in done], "verdicts": verdicts}


def _collecting(verdicts: list[dict[str, Any]]) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        if isinstance(event, QualityJudged):
            verdicts.append(event.to_json())

    return emit


_TASKS: Mapping[str, Callable[[Connection, Settings, Request], Any]] = {
    "plan": _plan,
    "lag": _lag,
    "verify": _verify,
    "states": _states,
    "set_states": _set_states,
    "mappings": _mappings,
    "changes": _changes,
    "accept_changes": _accept_changes,
    "quarantine": _quarantine,
    "quarantine_rows": _quarantine_rows,
    "quarantine_replay": _quarantine_replay,
    "quarantine_drop": _quarantine_drop,
    "quality": _quality,
    "quality_replay": _quality_replay,
    "quality_publish": _quality_publish,
}
