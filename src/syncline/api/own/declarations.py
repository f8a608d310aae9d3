"""A workspace as one document: what applying it would do, doing it, and writing it out again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from syncline.api.context import CallerOf, ControlOf
from syncline.api.errors import ApiError
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service.declarations import apply as applying
from syncline.service.declarations.export import export
from syncline.service.declarations.plan import Plan

__all__ = ["declarations_router"]

declarations_router = Routes(tags=["Declarations"])


class ConnectorBlock(WireModel):
    """``config`` is what is used, ``written`` what is written out again (references in place of their values)."""

    type: str = Field(min_length=1, max_length=256)
    config: dict[str, Any]
    written: dict[str, Any] | None = None


class Document(WireModel):
    """As ``syncline apply`` makes it from a project file. Keys of connections are those of the file."""

    sources: dict[str, ConnectorBlock] = Field(default_factory=dict, max_length=10_000)
    destinations: dict[str, ConnectorBlock] = Field(default_factory=dict, max_length=10_000)
    connections: dict[str, dict[str, Any]] = Field(default_factory=dict, max_length=10_000)


class DeclarationBody(WireModel):
    """``prune``: remove also what no document made. ``digest``: of the plan that was agreed to."""

    workspace_id: UUID | None = None
    document: Document
    prune: bool = False
    digest: str | None = Field(default=None, max_length=64)


class ChangeRead(WireModel):
    """``action``: ``create``, ``change``, ``replace`` or ``remove``."""

    action: str
    noun: str
    name: str
    details: list[str]
    effects: list[str]


class DeclarationPlan(WireModel):
    workspace_id: str
    changes: list[ChangeRead]
    unchanged: int
    left_alone: list[str]
    digest: str


class DocumentRead(WireModel):
    """Without secrets."""

    sources: dict[str, dict[str, Any]]
    destinations: dict[str, dict[str, Any]]
    connections: dict[str, dict[str, Any]]


@declarations_router.post("/declarations/plan", operation_id="planDeclaration")
def plan(control: ControlOf, caller: CallerOf, body: DeclarationBody) -> DeclarationPlan:
    """Connects to nothing, changes nothing."""
    document = _document(body.document)
    return _read(applying.plan(control, caller, body.workspace_id, document, prune=body.prune))


@declarations_router.post("/declarations/apply", operation_id="applyDeclaration")
def apply(control: ControlOf, caller: CallerOf, body: DeclarationBody) -> DeclarationPlan:
    """What was done. 409 when ``digest`` is not that of what would be done now."""
    document = _document(body.document)
    done = applying.apply(control, caller, body.workspace_id, document, prune=body.prune, expected=body.digest)
    return _read(done)


@declarations_router.get("/declarations", operation_id="exportDeclaration")
def export_document(control: ControlOf, caller: CallerOf, workspaceId: str | None = None) -> DocumentRead:
    """Of the only workspace when none is named."""
    found = export(control, caller, None if workspaceId is None else as_uuid(workspaceId))
    return DocumentRead(**found)


def _document(document: Document) -> dict[str, Any]:
    for names in (document.sources, document.destinations, document.connections):
        for name in names:
            if not name.strip() or len(name) > 256:
                raise ApiError(422, "A name is not empty and not longer than 256 characters.")
    blocks = {"sources": document.sources, "destinations": document.destinations}
    found: dict[str, Any] = {
        role: {
            name: {
                "type": each.type,
                "config": each.config,
                "written": each.config if each.written is None else each.written,
            }
            for name, each in named.items()
        }
        for role, named in blocks.items()
    }
    return {**found, "connections": document.connections}


def _read(plan: Plan) -> DeclarationPlan:
    return DeclarationPlan(
        workspace_id=str(plan.workspace_id),
        changes=[
            ChangeRead(
                action=each.action,
                noun=each.noun,
                name=each.name,
                details=list(each.details),
                effects=list(each.effects),
            )
            for each in plan.changes
        ],
        unchanged=plan.unchanged,
        left_alone=list(plan.left_alone),
        digest=plan.digest,
    )
