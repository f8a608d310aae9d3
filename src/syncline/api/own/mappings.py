"""Mappings of a connection: what they make of each stream, with rows before and after."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request
from pydantic import Field

from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import at_both_ends
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import previews
from syncline.service.changes import UNSET

__all__ = ["mappings_router"]

mappings_router = Routes(tags=["Mappings"])


class PreviewBody(WireModel):
    """``mappings``: as if the connection had these; without them, its own. ``rows``: how many of each to show."""

    mappings: list[dict[str, Any]] | None = Field(default=None, max_length=10_000)
    rows: Annotated[int, Field(ge=0, le=100)] = 5


class ColumnRead(WireModel):
    name: str
    type: str


class MappedStreamRead(WireModel):
    """``source`` becomes ``stream`` by ``steps``, in their order. ``rowsBefore`` and ``rowsAfter`` are the same rows as
    text, as far as a filter lets them through; values that are NULL are null. ``note`` says why there are none."""

    source: str
    stream: str
    before: list[ColumnRead]
    after: list[ColumnRead]
    key: list[str]
    steps: list[dict[str, Any]]
    rows_before: list[list[str | None]]
    rows_after: list[list[str | None]]
    note: str = ""


class PreviewRead(WireModel):
    connection_id: str
    streams: list[MappedStreamRead]


@mappings_router.post("/connections/{connectionId}/mappings/preview", operation_id="previewMappings")
async def preview(
    request: Request, control: ControlOf, caller: CallerOf, connectionId: str, body: PreviewBody | None = None
) -> PreviewRead:
    """What mappings make of the source, stored ones or a draft. Reads some rows, changes and stores nothing; an error
    says which mapping cannot be. 409 while that lasts."""
    wanted, asked = as_uuid(connectionId), body or PreviewBody()
    mappings = UNSET if asked.mappings is None else asked.mappings
    found = await at_both_ends(
        request,
        caller,
        ("mappings", wanted, asked.model_dump_json()),
        lambda: previews.mapped(control, caller, wanted, mappings, rows=asked.rows),
    )
    return PreviewRead(connection_id=str(wanted), streams=[_read(each) for each in found])


def _read(found: Any) -> MappedStreamRead:
    before = [ColumnRead(**each) for each in found["before"]]
    after = [ColumnRead(**each) for each in found["after"]]
    return MappedStreamRead(
        source=found["source"],
        stream=found["stream"],
        before=before,
        after=after,
        key=found["key"],
        steps=found["steps"],
        rows_before=[[row[each.name] for each in before] for row in found["rows_before"]],
        rows_after=[[row[each.name] for each in after] for row in found["rows_after"]],
        note=found["note"],
    )
