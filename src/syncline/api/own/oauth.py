"""Opening an account to a source by consent in a browser."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from fastapi import Request

from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import LONG_WAIT, Looking, outside
from syncline.api.public.actors import source_response
from syncline.api.public.models import SourceResponse
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.core.errors import SynclineError
from syncline.service import oauth

__all__ = ["oauth_router"]

oauth_router = Routes(tags=["OAuth"])


class ConsentBody(WireModel):
    """``clientId`` and ``clientSecret`` are those of your application at the service; ``redirectUrl`` is registered
    there. ``configuration`` holds the source's other settings; with ``sourceId`` that source gets new credentials."""

    workspace_id: UUID
    client_id: str
    client_secret: str
    redirect_url: str
    source_type: str = ""
    name: str = ""
    configuration: dict[str, Any] = {}
    source_id: UUID | None = None


class ConsentRead(WireModel):
    """Send the user's browser there. It comes back to ``redirectUrl`` with ``code`` and ``state``."""

    consent_url: str


class CompletionBody(WireModel):
    """What came back with the browser."""

    state: str
    code: str


@oauth_router.post("/oauth/consent", operation_id="beginOAuthConsent")
def begin(control: ControlOf, caller: CallerOf, body: ConsentBody) -> ConsentRead:
    """The address of the consent. It is good for ten minutes, for who asked for it."""
    consent = oauth.Consent(**body.model_dump(by_alias=False))
    return ConsentRead(consent_url=oauth.begin(control, caller, consent))


@oauth_router.post("/oauth/complete", operation_id="completeOAuthConsent")
async def complete(request: Request, control: ControlOf, caller: CallerOf, body: CompletionBody) -> SourceResponse:
    """Make the source, or give it its new credentials. The tokens are stored sealed and never answered. 409 while the
    service has not answered: ask again with the same body."""
    looking: Looking = request.app.state.looking
    key = ("oauth", caller.user_id, hashlib.sha256(f"{body.state} {body.code}".encode()).hexdigest())
    try:
        source = await looking.run(
            key, LONG_WAIT, lambda: oauth.complete(control, caller, state=body.state, code=body.code)
        )
    except SynclineError as error:
        raise outside(error) from error
    return source_response(source)
