"""Quality: what the gates of a connection have said of its streams."""

from __future__ import annotations

from typing import Any

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import verdicts
from syncline.service.verdicts import StreamVerdicts

__all__ = ["quality_router"]

quality_router = Routes(tags=["Quality"])


class GateResultRead(WireModel):
    """``status``: passed, empty (nothing to judge), quarantined, warned or blocked. ``judged`` and ``failed`` count
    rows, -1 for rules that are not about rows."""

    gate: str
    rule: str
    columns: list[str]
    severity: str
    status: str
    observed: str
    expected: str
    judged: int
    failed: int


class VerdictRead(WireModel):
    """One verdict for a chart: ``broken`` is how many gates were."""

    at: str
    job_id: int
    rows: int
    published: bool
    broken: int


class StreamQualityRead(WireModel):
    """``published``: whether the last verdict let the rows be seen; if not, ``place`` is where they lie."""

    stream: str
    judged_at: str
    job_id: int
    rows: int
    published: bool
    place: str
    results: list[GateResultRead]
    history: list[VerdictRead]


class QualityRead(WireModel):
    connection_id: str
    streams: list[StreamQualityRead]


@quality_router.get("/connections/{connectionId}/quality", operation_id="getConnectionQuality")
def connection_quality(control: ControlOf, caller: CallerOf, connectionId: str) -> QualityRead:
    """The last verdict of each stream's gates, and those before it as far as events are kept."""
    found = verdicts.verdicts_of(control, caller, as_uuid(connectionId))
    return QualityRead(connection_id=connectionId, streams=[_read(each) for each in found])


def _read(found: StreamVerdicts) -> StreamQualityRead:
    newest: dict[str, Any] = dict(found.newest.data)
    return StreamQualityRead(
        stream=found.stream,
        judged_at=found.newest.at.isoformat(),
        job_id=found.newest.job_id,
        rows=newest["rows"],
        published=newest["published"],
        place=newest["place"],
        results=[GateResultRead(**result) for result in newest["results"]],
        history=[
            VerdictRead(
                at=each.at.isoformat(),
                job_id=each.job_id,
                rows=each.data["rows"],
                published=each.data["published"],
                broken=verdicts.failing(each.data["results"]),
            )
            for each in found.history
        ],
    )
