"""Who gets in, who does not, and what each may do."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from tests.integration.control.conftest import MakeActor

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import (
    actors,
    api_keys,
    applications,
    audit,
    auth,
    connections,
    permissions,
    tags,
    users,
    workspaces,
)
from syncline.service.auth import tokens
from syncline.service.callers import ANONYMOUS, SYSTEM, Caller, Role
from syncline.service.connections import NewConnection
from syncline.service.control import Control, open_control
from syncline.service.errors import NotFoundError, RateLimitedError
from syncline.service.first_start import FirstStart, first_start
from syncline.service.workspaces import WorkspaceChange
from syncline.store import tables
from syncline.store.paging import Page
from syncline.store.schema import now

HERE = "192.0.2.1"


@pytest.fixture
def guarded(control: Control, first: FirstStart) -> Control:
    control.settings = replace(control.settings, auth="required")
    return control


def _enter(control: Control, header: str | None) -> Caller:
    return auth.authenticate(control, header, address=HERE)


def _basic(email: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{email}:{password}".encode()).decode()


def _refused(look: Callable[[], Any], kind: ErrorKind = ErrorKind.AUTH) -> str:
    with pytest.raises(SynclineError) as caught:
        look()
    assert caught.value.kind is kind, caught.value
    return str(caught.value)


def test_without_authentication_everybody_is_let_in_whatever_he_sends(control: Control) -> None:
    for header in (None, "Basic Og==", "Bearer nonsense", "x"):
        caller = _enter(control, header)
        assert caller.kind == "anonymous"
        assert caller.may(Role.ADMIN, uuid.uuid4())


def test_the_first_credentials_work_in_every_form(guarded: Control, first: FirstStart) -> None:
    token = auth.exchange(guarded, first.client_id, first.client_secret, address=HERE)
    assert (token.token_type, token.expires_in) == ("Bearer", 900)
    assert first.password is not None
    signed_in = auth.login(guarded, first.email.upper(), first.password, address=HERE)
    for header in (
        f"Bearer {token.access_token}",
        f"bearer  {signed_in.access_token}",
        _basic(first.email, first.password),
    ):
        caller = _enter(guarded, header)
        assert (caller.name, caller.instance_role, caller.address) == ("admin@localhost", Role.ADMIN, HERE)


def test_the_token_is_a_jwt_that_names_the_user(guarded: Control, first: FirstStart) -> None:
    issued = [auth.exchange(guarded, first.client_id, first.client_secret, address=HERE) for _ in range(2)]
    one, two = (jwt.decode(t.access_token, options={"verify_signature": False}) for t in issued)
    caller = _enter(guarded, f"Bearer {issued[0].access_token}")
    assert one["sub"] == one["user_id"] == str(caller.user_id)
    assert one["exp"] - one["iat"] == 900
    assert one["jti"] != two["jti"]
    assert _enter(guarded, f"Bearer {issued[1].access_token}").user_id == caller.user_id


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic Og==",
        "Basic !!!",
        "Basic " + base64.b64encode(b"admin@localhost").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        _basic("admin@localhost", "wrong"),
        _basic("nobody@example.com", "wrong"),
        _basic("a\0b", "wrong"),
        "Bearer",
        "Bearer a.b.c",
        "Bearer slk_wrong",
        "Bearer " + "x" * 10_000,
        "Digest x",
    ],
)
def test_wrong_credentials_are_refused(guarded: Control, header: str | None) -> None:
    _refused(lambda: _enter(guarded, header))


def test_a_forged_or_old_token_is_refused(guarded: Control, first: FirstStart, monkeypatch: pytest.MonkeyPatch) -> None:
    token = auth.exchange(guarded, first.client_id, first.client_secret, address=HERE).access_token
    claims = jwt.decode(token, options={"verify_signature": False})
    unsigned = jwt.encode(claims, "", algorithm="none")
    forged = jwt.encode(claims, "another key of thirty-two bytes!", algorithm="HS256")
    head, body, signature = token.split(".")
    for each in (unsigned, forged, f"{head}.{body}.{signature[:-4]}AAAA"):
        _refused(lambda each=each: _enter(guarded, f"Bearer {each}"))  # type: ignore[misc]
    monkeypatch.setattr(tokens, "SECONDS", -1)
    old = tokens.issue(guarded, uuid.UUID(claims["sub"]))
    assert "expired" in _refused(lambda: _enter(guarded, f"Bearer {old}"))


def test_another_process_knows_the_same_tokens(guarded: Control, first: FirstStart) -> None:
    token = auth.exchange(guarded, first.client_id, first.client_secret, address=HERE).access_token
    other = open_control(guarded.settings)
    try:
        assert _enter(other, f"Bearer {token}").name == "admin@localhost"
        assert first_start(other) is None
    finally:
        other.close()


def test_nothing_that_opens_doors_is_stored(guarded: Control, first: FirstStart) -> None:
    admin = _enter(guarded, _basic(first.email, first.password or ""))
    _, key = api_keys.create(guarded, admin, "ci")
    auth.exchange(guarded, first.client_id, first.client_secret, address=HERE)
    with guarded.database.read() as transaction:
        text = "".join(repr(transaction.execute(sa.select(t)).all()) for t in tables.users.metadata.sorted_tables)
    for secret in (first.password, first.client_secret, key):
        assert secret is not None
        assert secret not in text
    assert first.client_secret not in repr(first)


def test_a_deleted_application_ends_its_tokens(guarded: Control, first: FirstStart) -> None:
    admin = _enter(guarded, _basic(first.email, first.password or ""))
    made, secret = applications.create(guarded, admin, "airflow")
    header = "Bearer " + auth.exchange(guarded, made.client_id, secret, address=HERE).access_token
    assert _enter(guarded, header).application_id == made.id
    applications.delete(guarded, admin, made.id)
    _refused(lambda: _enter(guarded, header))
    _refused(lambda: auth.exchange(guarded, made.client_id, secret, address=HERE))


def test_api_keys_live_until_they_expire_or_go(guarded: Control, first: FirstStart) -> None:
    admin = _enter(guarded, _basic(first.email, first.password or ""))
    made, key = api_keys.create(guarded, admin, "ci")
    assert key.startswith(made.prefix)
    assert _enter(guarded, f"Bearer {key}").name == "admin@localhost"
    assert api_keys.list_keys(guarded, admin)[0].last_used_at is not None
    api_keys.delete(guarded, admin, made.id)
    _refused(lambda: _enter(guarded, f"Bearer {key}"))
    _, old = api_keys.create(guarded, admin, "old", expires_at=now() - timedelta(seconds=1))
    _refused(lambda: _enter(guarded, f"Bearer {old}"))


def test_a_changed_password_and_a_deleted_user_end_access(guarded: Control, first: FirstStart) -> None:
    admin = _enter(guarded, _basic(first.email, first.password or ""))
    user = users.create(guarded, admin, email="Ann@Example.com", name=None, password="first password")
    assert _enter(guarded, _basic("ann@example.com", "first password")).user_id == user.id
    token = auth.login(guarded, "ann@example.com", "first password", address=HERE).access_token
    users.update(guarded, admin, user.id, password="second password")
    _refused(lambda: _enter(guarded, _basic("ann@example.com", "first password")))
    assert _enter(guarded, _basic("ann@example.com", "second password")).user_id == user.id
    users.delete(guarded, admin, user.id)
    _refused(lambda: _enter(guarded, f"Bearer {token}"))
    _refused(lambda: _enter(guarded, _basic("ann@example.com", "second password")))
    again = users.create(guarded, admin, email="ann@example.com", name=None, password=None)
    assert again.id != user.id
    _refused(lambda: _enter(guarded, _basic("ann@example.com", "")))


def test_guessing_is_slowed_down_and_bothers_nobody_else(guarded: Control, first: FirstStart) -> None:
    def guess(address: str) -> Any:
        return auth.exchange(guarded, first.client_id, "wrong", address=address)

    for _ in range(10):
        _refused(lambda: guess("198.51.100.1"))
    with pytest.raises(RateLimitedError) as caught:
        guess("198.51.100.1")
    assert 0 < caught.value.retry_after <= 30
    assert auth.exchange(guarded, first.client_id, first.client_secret, address=HERE).access_token


def test_right_credentials_are_not_slowed_down(guarded: Control, first: FirstStart) -> None:
    for _ in range(300):
        auth.exchange(guarded, first.client_id, first.client_secret, address=HERE)


def test_basic_with_every_call_is_cheap(guarded: Control, first: FirstStart, monkeypatch: pytest.MonkeyPatch) -> None:
    derived = []

    def counting(*arguments: Any, **named: Any) -> bytes:
        derived.append(arguments)
        return scrypt(*arguments, **named)

    scrypt = hashlib.scrypt
    monkeypatch.setattr(hashlib, "scrypt", counting)
    for _ in range(5):
        _enter(guarded, _basic(first.email, first.password or ""))
    assert len(derived) == 1
    _refused(lambda: _enter(guarded, _basic(first.email, "wrong")))
    assert len(derived) == 2


# Roles


def _somebody(control: Control, role: str | None, workspace_id: uuid.UUID | None) -> Caller:
    """A caller with a role of his own, as authentication makes him."""
    user = users.create(control, SYSTEM, email=f"{uuid.uuid4()}@x.org", name=None, password="some password")
    if role is not None:
        permissions.create(control, SYSTEM, user_id=user.id, role=role, workspace_id=workspace_id)
    return _enter(control, _basic(user.email, "some password"))


def test_each_role_may_what_it_may(guarded: Control, first: FirstStart, make_actor: MakeActor) -> None:
    room = first.workspace.id
    source, destination = make_actor("source"), make_actor("destination")
    acts: list[tuple[Role, Callable[[Caller], Any]]] = [
        (Role.READER, lambda c: actors.get(guarded, c, "source", source.id)),
        (Role.READER, lambda c: connections.list_connections(guarded, c, workspace_ids=[room])),
        (Role.EDITOR, lambda c: actors.update(guarded, c, "source", source.id, actors.ActorChange(name="x"))),
        (
            Role.EDITOR,
            lambda c: connections.create(guarded, c, NewConnection(source_id=source.id, destination_id=destination.id)),
        ),
        (Role.EDITOR, lambda c: tags.create(guarded, c, room, name=str(uuid.uuid4()), color="123456")),
        (Role.ADMIN, lambda c: workspaces.update(guarded, c, room, WorkspaceChange(name="mine"))),
        (Role.ADMIN, lambda c: audit.list_entries(guarded, c, workspace_id=room, page=Page())),
        (Role.ADMIN, lambda c: permissions.list_permissions(guarded, c, workspace_id=room)),
    ]
    for role in Role:
        caller = _somebody(guarded, f"workspace_{role}", room)
        for needed, act in acts:
            if role.rank >= needed.rank:
                act(caller)
            else:
                _refused(lambda act=act, caller=caller: act(caller), ErrorKind.PERMISSION)  # type: ignore[misc]
        for act in (
            lambda c: users.list_users(guarded, c),
            lambda c: workspaces.create(guarded, c, name="y"),
            lambda c: audit.list_entries(guarded, c, page=Page()),
        ):
            _refused(lambda act=act, caller=caller: act(caller), ErrorKind.PERMISSION)  # type: ignore[misc]


def test_a_stranger_learns_nothing(guarded: Control, first: FirstStart, make_actor: MakeActor) -> None:
    source, destination = make_actor("source"), make_actor("destination")
    connection = connections.create(
        guarded, ANONYMOUS, NewConnection(source_id=source.id, destination_id=destination.id)
    )
    other = workspaces.create(guarded, SYSTEM, name="elsewhere")
    for stranger in (_somebody(guarded, None, None), _somebody(guarded, "admin", other.id)):
        for look in (
            lambda c: workspaces.get(guarded, c, first.workspace.id),
            lambda c: actors.get(guarded, c, "source", source.id),
            lambda c: actors.delete(guarded, c, "source", source.id),
            lambda c: connections.get(guarded, c, connection.id),
            lambda c: connections.create(guarded, c, NewConnection(source_id=source.id, destination_id=destination.id)),
            lambda c: tags.create(guarded, c, first.workspace.id, name="x", color="000000"),
        ):
            with pytest.raises(NotFoundError):
                look(stranger)
        assert actors.list_actors(guarded, stranger, "source").items == ()
        assert connections.list_connections(guarded, stranger, workspace_ids=[first.workspace.id]).items == ()
        assert first.workspace.id not in {w.id for w in workspaces.list_workspaces(guarded, stranger).items}


def test_the_last_admin_stays(guarded: Control, first: FirstStart) -> None:
    admin = _enter(guarded, _basic(first.email, first.password or ""))
    assert admin.user_id is not None
    (right,) = permissions.list_permissions(guarded, admin, user_id=admin.user_id)
    _refused(lambda: users.delete(guarded, admin, admin.user_id), ErrorKind.CONFLICT)  # type: ignore[arg-type]
    _refused(lambda: permissions.delete(guarded, admin, right.id), ErrorKind.CONFLICT)
    _refused(lambda: permissions.update(guarded, admin, right.id, "reader"), ErrorKind.CONFLICT)


def test_the_last_workspace_stays(guarded: Control, first: FirstStart, make_actor: MakeActor) -> None:
    _refused(lambda: workspaces.delete(guarded, SYSTEM, first.workspace.id), ErrorKind.CONFLICT)
    source = make_actor("source")
    workspaces.create(guarded, SYSTEM, name="second")
    workspaces.delete(guarded, SYSTEM, first.workspace.id)
    with pytest.raises(NotFoundError):
        actors.get(guarded, SYSTEM, "source", source.id)


def test_a_server_for_everybody_asks_who_calls(control: Control) -> None:
    auth.check_bind(control.settings)
    _refused(lambda: auth.check_bind(replace(control.settings, host="0.0.0.0")), ErrorKind.CONFIG)
    auth.check_bind(replace(control.settings, host="0.0.0.0", auth="required"))


def test_the_admins_password_may_be_given(control: Control) -> None:
    control.settings = replace(control.settings, admin_password="given by the environment", auth="required")
    made = first_start(control)
    assert made is not None
    assert made.password is None
    assert _enter(control, _basic("admin@localhost", "given by the environment")).instance_role is Role.ADMIN
