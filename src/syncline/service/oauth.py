"""Use cases of OAuth: an account is opened to a source by consent in a browser.

    begin -> (the user consents at the service, which sends the browser back with a code) -> complete

What is known between the two, the application's secret among it, travels in the ``state`` that the service hands back:
sealed with the server's key, good for ten minutes and only for who began. So nothing is stored for consents that never
come, and any server of the same store can complete. The refresh token goes into the source's sealed secrets and is
never answered.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.transform.web import call
from syncline.sdk.connector import OAuthFlow
from syncline.service import actors, definitions
from syncline.service.actors import ActorChange, NewActor
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.definitions import Definition
from syncline.service.errors import invalid
from syncline.service.inputs import checked_json, checked_text
from syncline.store.schema import new_id
from syncline.store.secrets import SealedRow
from syncline.store.values import Actor

__all__ = ["Consent", "begin", "complete"]

_GOOD_FOR = timedelta(minutes=10)
_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What is asked for: a new source, or a new consent for the source that is ``source_id``. ``configuration`` holds
    everything besides the credentials."""

    workspace_id: UUID
    client_id: str
    client_secret: str
    redirect_url: str
    source_type: str = ""
    name: str = ""
    configuration: Mapping[str, Any]
    source_id: UUID | None = None


def begin(control: Control, caller: Caller, consent: Consent) -> str:
    """The address at which the user consents. An editor's right. Raises ``config`` for a connector without OAuth."""
    caller.require(Role.EDITOR, consent.workspace_id)
    definition = _definition(control, caller, consent)
    flow = _flow(definition)
    _checked_redirect(consent.redirect_url)
    if not consent.client_id or not consent.client_secret:
        raise invalid("clientId", "is missing, or clientSecret is", hint="those of your application at the service")
    known = {
        "until": (datetime.now(UTC) + _GOOD_FOR).isoformat(),
        "user": _who(caller),
        "workspace": str(consent.workspace_id),
        "definition": str(definition.id),
        "source": None if consent.source_id is None else str(consent.source_id),
        "name": consent.name or definition.name,
        "client": [consent.client_id, consent.client_secret],
        "redirect": consent.redirect_url,
        "configuration": checked_json("configuration", dict(consent.configuration)),
    }
    query = {
        "response_type": "code",
        "client_id": consent.client_id,
        "redirect_uri": consent.redirect_url,
        "scope": " ".join(flow.scopes),
        "state": _sealed(control, known),
    }
    return f"{flow.authorize_url}?{urlencode(query)}"


def complete(control: Control, caller: Caller, *, state: str, code: str) -> Actor:
    """Exchange the code for tokens, and make or change the source. Waits for the service. Raises ``config`` for a state
    that is not ours, not this caller's or too old, ``auth`` when the service gives no token."""
    known = _opened(control, state)
    if known["user"] != _who(caller) or datetime.fromisoformat(known["until"]) < datetime.now(UTC):
        raise invalid("state", "is too old or was begun by somebody else", hint="begin anew")
    workspace = UUID(known["workspace"])
    caller.require(Role.EDITOR, workspace)
    definition = definitions.get(control, caller, "source", UUID(known["definition"]))
    flow = _flow(definition)
    refresh = _exchanged(flow, known, checked_text("code", code, length=4000))
    configuration = _placed(flow, known, refresh)
    if known["source"] is not None:
        change = ActorChange(configuration=configuration)
        return actors.update(control, caller, "source", UUID(known["source"]), change)
    new = NewActor(workspace_id=workspace, name=known["name"], configuration=configuration, definition_id=definition.id)
    return actors.create(control, caller, "source", new)


def _definition(control: Control, caller: Caller, consent: Consent) -> Definition:
    if consent.source_id is None:
        return definitions.for_type("source", consent.source_type)
    source = actors.get(control, caller, "source", consent.source_id)
    if source.workspace_id != consent.workspace_id:
        raise invalid("sourceId", "belongs to another workspace")
    return definitions.get(control, caller, "source", source.definition_id)


def _flow(definition: Definition) -> OAuthFlow:
    flow = definitions.connector_of(definition).oauth
    if flow is None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"{definition.name} is not opened by consent in a browser",
            hint="give its credentials in the configuration",
        )
    return flow


def _checked_redirect(url: str) -> None:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1")
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and local)):
        raise invalid("redirectUrl", "is no https address", hint="http is allowed for localhost only")


def _exchanged(flow: OAuthFlow, known: Mapping[str, Any], code: str) -> str:
    base = str(known["configuration"].get("base_url") or flow.service_url).rstrip("/")
    client, secret = known["client"]
    form = {
        "grant_type": "authorization_code",
        "client_id": client,
        "client_secret": secret,
        "redirect_uri": known["redirect"],
        "code": code,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    status, body = call("POST", base + flow.token_path, headers=headers, body=urlencode(form), timeout=_SECONDS)
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    token = answer.get("refresh_token") if isinstance(answer, dict) else None
    if status >= 400 or not isinstance(token, str) or not token:
        # What the service says may repeat what was sent, so it is not repeated here.
        raise SynclineError(
            ErrorKind.AUTH,
            f"the service gave no refresh token (it answered {status})",
            hint="check the application's secret and redirect address; a code can be used once, within a short time",
        )
    return token


def _placed(flow: OAuthFlow, known: Mapping[str, Any], refresh: str) -> dict[str, Any]:
    client, secret = known["client"]
    configuration = dict(known["configuration"])
    inner = configuration
    for key in flow.place:
        inner[key] = dict(inner.get(key) or {})
        inner = inner[key]
    inner |= {"client_id": client, "client_secret": secret, "refresh_token": refresh}
    return configuration


def _who(caller: Caller) -> str:
    return str(caller.user_id or caller.kind)


def _sealed(control: Control, known: Mapping[str, Any]) -> str:
    row = control.secrets.seal(new_id(), known)
    parts = (row.id.bytes, row.key_id.encode(), row.wrapped_key, row.sealed)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _opened(control: Control, state: str) -> dict[str, Any]:
    try:
        one, key, wrapped, sealed = (base64.urlsafe_b64decode(part + "==") for part in state.split("."))
        row = SealedRow(id=UUID(bytes=one), key_id=key.decode(), wrapped_key=wrapped, sealed=sealed)
        return control.secrets.open(row)
    except (ValueError, SynclineError):
        raise invalid("state", "is not one of this server", hint="begin anew") from None
