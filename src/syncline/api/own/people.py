"""Signing in, and what only an administrator touches: applications, API keys, users, and the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import Field, SecretStr
from starlette.concurrency import run_in_threadpool

from syncline import __version__
from syncline.api.context import CallerOf, ControlOf, address_of, refused_login
from syncline.api.paging import PagingOf, as_uuid
from syncline.api.routes import Routes
from syncline.api.token import AccessToken
from syncline.api.wire import Name, WireModel
from syncline.core.errors import SynclineError
from syncline.service import api_keys, applications, audit, auth, users
from syncline.store.values import ApiKey, Application, AuditEntry, User

__all__ = ["own_people_router"]

own_people_router = Routes()
_route = own_people_router


class Info(WireModel):
    """``auth`` is ``none`` or ``required``."""

    version: str
    auth: str


class Login(WireModel):
    email: str = Field(max_length=320)
    password: SecretStr = Field(max_length=1024)


class Me(WireModel):
    """``instanceRole`` is a role in every workspace; ``roles`` are those in single ones."""

    kind: str
    name: str
    user_id: str | None = None
    instance_role: str | None = None
    roles: dict[str, str]


@_route.get("/info", operation_id="getInfo", tags=["Server"], openapi_extra={"security": []})
async def info(control: ControlOf) -> Info:
    """Anonymous: whether one has to sign in."""
    return Info(version=__version__, auth=control.settings.auth)


@_route.post("/login", operation_id="login", tags=["Sign in"], openapi_extra={"security": []})
async def login(request: Request, control: ControlOf, body: Login) -> AccessToken:
    """A token for a person. 401 for a wrong address or password, 429 for too many tries."""
    try:
        token = await run_in_threadpool(
            auth.login, control, body.email, body.password.get_secret_value(), address=address_of(request)
        )
    except SynclineError as error:
        raise refused_login(error) from error
    return AccessToken(access_token=token.access_token, token_type=token.token_type, expires_in=token.expires_in)


@_route.get("/me", operation_id="getMe", tags=["Sign in"])
async def me(caller: CallerOf) -> Me:
    return Me(
        kind=caller.kind,
        name=caller.name,
        user_id=None if caller.user_id is None else str(caller.user_id),
        instance_role=None if caller.instance_role is None else str(caller.instance_role),
        roles={str(workspace): str(role) for workspace, role in caller.roles.items()},
    )


# Applications


class ApplicationCreate(WireModel):
    name: Name


class ApplicationRead(WireModel):
    """``clientSecret`` is shown once, when the application is made."""

    application_id: str
    name: str
    client_id: str
    client_secret: str | None = None
    created_at: str


class ApplicationList(WireModel):
    applications: list[ApplicationRead]


def _application(application: Application, secret: str | None = None) -> ApplicationRead:
    return ApplicationRead(
        application_id=str(application.id),
        name=application.name,
        client_id=str(application.client_id),
        client_secret=secret,
        created_at=application.created_at.isoformat(),
    )


@_route.get("/applications", operation_id="listApplications", tags=["Applications"])
def list_applications(control: ControlOf, caller: CallerOf) -> ApplicationList:
    """The caller's own."""
    return ApplicationList(
        applications=[_application(each) for each in applications.list_applications(control, caller)]
    )


@_route.post("/applications", operation_id="createApplication", tags=["Applications"])
def create_application(control: ControlOf, caller: CallerOf, body: ApplicationCreate) -> ApplicationRead:
    """Credentials for a program; it may do what its maker may."""
    made, secret = applications.create(control, caller, name=body.name)
    return _application(made, secret)


@_route.delete(
    "/applications/{applicationId}", operation_id="deleteApplication", status_code=204, tags=["Applications"]
)
def delete_application(control: ControlOf, caller: CallerOf, applicationId: str) -> Response:
    applications.delete(control, caller, as_uuid(applicationId))
    return Response(status_code=204)


# API keys


class ApiKeyCreate(WireModel):
    name: Name
    expires_at: datetime | None = None


class ApiKeyRead(WireModel):
    """``key`` is shown once, when it is made."""

    api_key_id: str
    name: str
    prefix: str
    key: str | None = None
    created_at: str
    expires_at: str | None = None
    last_used_at: str | None = None


class ApiKeyList(WireModel):
    api_keys: list[ApiKeyRead]


def _api_key(key: ApiKey, secret: str | None = None) -> ApiKeyRead:
    return ApiKeyRead(
        api_key_id=str(key.id),
        name=key.name,
        prefix=key.prefix,
        key=secret,
        created_at=key.created_at.isoformat(),
        expires_at=None if key.expires_at is None else key.expires_at.isoformat(),
        last_used_at=None if key.last_used_at is None else key.last_used_at.isoformat(),
    )


@_route.get("/api_keys", operation_id="listApiKeys", tags=["API keys"])
def list_api_keys(control: ControlOf, caller: CallerOf) -> ApiKeyList:
    """The caller's own."""
    return ApiKeyList(api_keys=[_api_key(each) for each in api_keys.list_keys(control, caller)])


@_route.post("/api_keys", operation_id="createApiKey", tags=["API keys"])
def create_api_key(control: ControlOf, caller: CallerOf, body: ApiKeyCreate) -> ApiKeyRead:
    """A bearer token that lives until it expires, if ever, or is deleted."""
    expires = body.expires_at
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    made, secret = api_keys.create(control, caller, name=body.name, expires_at=expires)
    return _api_key(made, secret)


@_route.delete("/api_keys/{apiKeyId}", operation_id="deleteApiKey", status_code=204, tags=["API keys"])
def delete_api_key(control: ControlOf, caller: CallerOf, apiKeyId: str) -> Response:
    api_keys.delete(control, caller, as_uuid(apiKeyId))
    return Response(status_code=204)


# Users


class UserCreate(WireModel):
    email: str = Field(max_length=320)
    name: Name
    password: SecretStr = Field(min_length=8, max_length=1024)


class UserChange(WireModel):
    """What is absent stays."""

    name: Name | None = None
    password: SecretStr | None = Field(default=None, min_length=8, max_length=1024)


class UserRead(WireModel):
    user_id: str
    email: str
    name: str
    created_at: str
    disabled_at: str | None = None


class UserList(WireModel):
    users: list[UserRead]


def _user(user: User) -> UserRead:
    return UserRead(
        user_id=str(user.id),
        email=user.email,
        name=user.name,
        created_at=user.created_at.isoformat(),
        disabled_at=None if user.disabled_at is None else user.disabled_at.isoformat(),
    )


@_route.get("/users", operation_id="listUsers", tags=["Users"])
def list_users(control: ControlOf, caller: CallerOf) -> UserList:
    return UserList(users=[_user(each) for each in users.list_users(control, caller)])


@_route.post("/users", operation_id="createUser", tags=["Users"])
def create_user(control: ControlOf, caller: CallerOf, body: UserCreate) -> UserRead:
    """Without rights until somebody gives them some: ``POST /api/public/v1/permissions``."""
    return _user(
        users.create(control, caller, email=body.email, name=body.name, password=body.password.get_secret_value())
    )


@_route.patch("/users/{userId}", operation_id="changeUser", tags=["Users"])
def change_user(control: ControlOf, caller: CallerOf, userId: str, body: UserChange) -> UserRead:
    given: dict[str, Any] = {}
    if body.name is not None:
        given["name"] = body.name
    if body.password is not None:
        given["password"] = body.password.get_secret_value()
    return _user(users.update(control, caller, as_uuid(userId), **given))


@_route.delete("/users/{userId}", operation_id="deleteUser", status_code=204, tags=["Users"])
def delete_user(control: ControlOf, caller: CallerOf, userId: str) -> Response:
    users.delete(control, caller, as_uuid(userId))
    return Response(status_code=204)


# Audit


class AuditRead(WireModel):
    """Who did what to which thing, with how it was and how it is. Never a secret."""

    id: int
    at: str
    caller: str
    caller_kind: str
    address: str | None = None
    workspace_id: str | None = None
    action: str
    noun: str
    noun_id: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class AuditList(WireModel):
    data: list[AuditRead]
    next: str = ""
    previous: str = ""


def _entry(entry: AuditEntry) -> AuditRead:
    return AuditRead(
        id=entry.id,
        at=entry.at.isoformat(),
        caller=entry.caller_name,
        caller_kind=entry.caller_kind,
        address=entry.address,
        workspace_id=None if entry.workspace_id is None else str(entry.workspace_id),
        action=entry.action,
        noun=entry.noun,
        noun_id=entry.noun_id,
        before=None if entry.before is None else dict(entry.before),
        after=None if entry.after is None else dict(entry.after),
    )


@_route.get("/audit", operation_id="listAudit", tags=["Audit"])
def list_audit(
    control: ControlOf,
    caller: CallerOf,
    paging: PagingOf,
    workspace_id: Annotated[str | None, Query(alias="workspaceId")] = None,
    noun: Annotated[str | None, Query(max_length=64)] = None,
    noun_id: Annotated[str | None, Query(alias="nounId", max_length=64)] = None,
) -> AuditList:
    """Newest first."""
    found = audit.list_entries(
        control,
        caller,
        workspace_id=None if workspace_id is None else as_uuid(workspace_id),
        noun=noun,
        noun_id=noun_id,
        page=paging.page,
    )
    return AuditList(data=[_entry(each) for each in found.items], **paging.links(found.more))
