"""Sources and destinations: Airbyte's create and update semantics, and secrets that never come back."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.control.conftest import POSTGRES, S3, MakeActor

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import actors, audit, connections, definitions
from syncline.service.actors import ActorChange, NewActor
from syncline.service.callers import ANONYMOUS
from syncline.service.connections import NewConnection
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.service.first_start import FirstStart
from syncline.service.secrets import MASK
from syncline.store import tables
from syncline.store.paging import Page


def _clear(control: Control, actor: Any) -> dict[str, Any]:
    return actors.clear_configuration(control, actor)


def test_an_airbyte_configuration_is_taken_as_it_is(control: Control, make_actor: MakeActor) -> None:
    for role, sent in (("source", POSTGRES), ("destination", S3)):
        actor = make_actor(role)
        assert {**sent, **actor.configuration}.keys() == sent.keys()
        assert _clear(control, actor) == sent


def test_secrets_are_masked_also_when_nested_and_in_no_column(control: Control, make_actor: MakeActor) -> None:
    source, destination = make_actor("source"), make_actor("destination")
    assert source.configuration["password"] == MASK
    assert source.configuration["ssl_mode"] == {"mode": "verify-ca", "ca_certificate": MASK}
    assert destination.configuration["access_key_id"] == destination.configuration["secret_access_key"] == MASK
    with control.database.read() as transaction:
        everything = [
            repr(transaction.execute(sa.select(table)).all()) for table in tables.actors.metadata.sorted_tables
        ]
    assert "hunter2" not in "".join(everything)
    assert "-secret" not in "".join(everything)


def test_a_mask_keeps_the_secret_and_a_new_value_replaces_it(control: Control, make_actor: MakeActor) -> None:
    actor = make_actor("source")
    changed = actors.update(
        control,
        ANONYMOUS,
        "source",
        actor.id,
        ActorChange(configuration={"host": "other", "password": MASK, "ssl_mode": {"ca_certificate": "new"}}),
    )
    clear = _clear(control, changed)
    assert (clear["host"], clear["password"], clear["ssl_mode"]["ca_certificate"]) == ("other", "hunter2-secret", "new")
    assert clear["database"] == "shop"
    replaced = actors.replace(
        control, ANONYMOUS, "source", actor.id, name="new name", configuration={**POSTGRES, "password": MASK}
    )
    assert replaced.name == "new name"
    assert _clear(control, replaced) == POSTGRES


def test_another_form_of_an_object_takes_nothing_over(control: Control, make_actor: MakeActor) -> None:
    actor = make_actor("source")
    change = ActorChange(configuration={"replication_method": {"method": "Standard"}, "ssl_mode": None})
    clear = _clear(control, actors.update(control, ANONYMOUS, "source", actor.id, change))
    assert clear["replication_method"] == {"method": "Standard"}
    assert "ssl_mode" not in clear


def test_put_forgets_what_it_does_not_name(control: Control, make_actor: MakeActor) -> None:
    actor = make_actor("source")
    bare = {"host": "h", "database": "d", "username": "u"}
    replaced = actors.replace(control, ANONYMOUS, "source", actor.id, name="bare", configuration=bare)
    assert _clear(control, replaced) == {**bare, "port": 5432, "sourceType": "postgres"}
    with pytest.raises(SynclineError, match="none is stored"):
        actors.replace(control, ANONYMOUS, "source", actor.id, name="x", configuration={**bare, "password": MASK})


def test_the_connector_comes_from_the_definition_or_the_type(control: Control, first: FirstStart) -> None:
    known = {
        ("source", "postgres"): "decd338e-5647-4c0b-adf4-da0e75f5a750",
        ("destination", "s3"): "4816b78f-1489-44c1-9060-4b19d5fa9362",
        ("destination", "postgres"): "25c5221d-dce2-4163-ade9-739ef790f503",
        ("destination", "duckdb"): "94bd199c-2ff0-4aa2-b98e-17f0acb72610",
    }
    for (role, name), definition_id in known.items():
        assert str(definitions.for_type(role, name).id) == definition_id  # type: ignore[arg-type]
    configuration = {key: value for key, value in S3.items() if key != "destinationType"}
    new = NewActor(
        workspace_id=first.workspace.id,
        name="by id",
        configuration=configuration,
        definition_id=uuid.UUID(known["destination", "s3"]),
    )
    made = actors.create(control, ANONYMOUS, "destination", new)
    assert made.type_name == "s3"
    # A client that parses answers finds no model without it.
    assert made.configuration["destinationType"] == "s3"


def test_a_source_names_its_type_only_when_a_client_can_parse_it(make_actor: MakeActor) -> None:
    assert make_actor("source").configuration["sourceType"] == "postgres"
    files = {"sourceType": "files", "path": "/data", "name": "a", "globs": ["*.csv"]}
    assert "sourceType" not in make_actor("source", files).configuration
    assert "sourceType" not in make_actor("source", {"sourceType": "postgres", "host": "h"}).configuration


def test_friendlier_names_are_stored_as_airbytes(control: Control, make_actor: MakeActor) -> None:
    actor = make_actor("source", {"sourceType": "postgres", "host": "h", "dbname": "d", "user": "u", "password": "p"})
    assert actor.configuration["username"] == "u"
    assert actor.configuration["database"] == "d"
    assert _clear(control, actor)["password"] == "p"


@pytest.mark.parametrize(
    ("configuration", "says"),
    [
        ({}, "sourceType: is missing"),
        ({"sourceType": "postgress"}, "no source connector"),
        ({"sourceType": "bigquery"}, "bigquery"),
        ({"sourceType": "postgres", "hosst": "h"}, "unknown key 'hosst'"),
        ({"sourceType": "postgres", "port": "five"}, "'port'"),
        ({"sourceType": "postgres", "password": MASK}, "none is stored"),
        ({"sourceType": "postgres", "host": "a\0b"}, "U+0000"),
        ({"sourceType": "postgres", "host": "\ud800"}, "surrogate"),
        ({"sourceType": "postgres", "port": float("nan")}, "not a number"),
        ({"sourceType": "postgres", "host": "${env:HOME}"}, "does not follow"),
        ({"sourceType": "postgres", "password": "${file:/run/secrets/../../etc/shadow}"}, "does not follow"),
        ({"sourceType": "postgres", "tunnel_method": {"tunnel_method": "SSH_KEY_AUTH", "ssh_key": "k"}}, "tunnel"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(
    control: Control, first: FirstStart, configuration: dict[str, Any], says: str
) -> None:
    new = NewActor(workspace_id=first.workspace.id, name="bad", configuration=configuration)
    with pytest.raises(SynclineError) as caught:
        actors.create(control, ANONYMOUS, "source", new)
    assert says in str(caught.value)
    assert caught.value.policy.http_status == 422


def test_a_reference_stays_to_be_seen_and_a_literal_stays_literal(control: Control, make_actor: MakeActor) -> None:
    actor = make_actor("source", password="${vault:db/shop#password}", username="pa${ss}")
    assert actor.configuration["password"] == "${vault:db/shop#password}"
    assert actor.configuration["username"] == "pa${ss}"


def test_what_is_deleted_takes_its_secrets_and_connections_along(control: Control, make_actor: MakeActor) -> None:
    source, destination = make_actor("source"), make_actor("destination")
    connection = connections.create(
        control, ANONYMOUS, NewConnection(source_id=source.id, destination_id=destination.id)
    )
    actors.delete(control, ANONYMOUS, "source", source.id)
    for look in (
        lambda: actors.get(control, ANONYMOUS, "source", source.id),
        lambda: actors.delete(control, ANONYMOUS, "source", source.id),
        lambda: connections.get(control, ANONYMOUS, connection.id),
    ):
        with pytest.raises(NotFoundError):
            look()
    listed = actors.list_actors(control, ANONYMOUS, "source", include_deleted=True)
    assert [(a.id, a.deleted_at is None) for a in listed.items] == [(source.id, False)]
    (gone,) = connections.list_connections(control, ANONYMOUS, include_deleted=True).items
    assert gone.status == "deprecated"
    with control.database.read() as transaction:
        left = set(transaction.execute(sa.select(tables.secrets.c.id)).scalars())
        assert source.secret_id not in left
        assert destination.secret_id in left


def test_a_clone_has_secrets_of_its_own(control: Control, make_actor: MakeActor) -> None:
    actor = make_actor("source")
    copy = actors.clone(control, ANONYMOUS, "source", actor.id)
    actors.delete(control, ANONYMOUS, "source", actor.id)
    assert _clear(control, copy) == POSTGRES


def test_roles_are_not_mixed_up(control: Control, make_actor: MakeActor) -> None:
    with pytest.raises(NotFoundError):
        actors.get(control, ANONYMOUS, "destination", make_actor("source").id)


def test_every_change_is_in_the_audit_log_without_secrets(control: Control, make_actor: MakeActor) -> None:
    actor = make_actor("source")
    actors.update(control, ANONYMOUS, "source", actor.id, ActorChange(name="renamed"))
    actors.update(control, ANONYMOUS, "source", actor.id, ActorChange(configuration={"password": "new-secret"}))
    actors.delete(control, ANONYMOUS, "source", actor.id)
    entries = audit.list_entries(control, ANONYMOUS, noun="source", noun_id=str(actor.id), page=Page()).items
    assert [entry.action for entry in entries] == ["delete", "update", "update", "create"]
    assert (entries[2].before, entries[2].after) == ({"name": "a source"}, {"name": "renamed"})
    text = json.dumps([[entry.before, entry.after] for entry in entries])
    assert "secret" not in text.replace("secret_access_key", "")
    assert "hunter2" not in text


def test_a_custom_definition_stands_for_the_connector_of_its_image(control: Control, first: FirstStart) -> None:
    workspace = first.workspace.id
    image = definitions.NewDefinition(name="Mine", docker_repository="airbyte/source-postgres", docker_image_tag="3.6")
    mine = definitions.create(control, ANONYMOUS, "source", workspace, image)
    new = NewActor(workspace_id=workspace, name="a", configuration=POSTGRES, definition_id=mine.id)
    assert actors.create(control, ANONYMOUS, "source", new).connector == "postgres"
    other = definitions.NewDefinition(name="Other", docker_repository="acme/source-x", docker_image_tag="1")
    unknown = definitions.create(control, ANONYMOUS, "source", workspace, other)
    new = NewActor(workspace_id=workspace, name="a", configuration={}, definition_id=unknown.id)
    with pytest.raises(SynclineError, match="cannot run"):
        actors.create(control, ANONYMOUS, "source", new)
    assert {mine.id, unknown.id} <= {
        d.id for d in definitions.list_definitions(control, ANONYMOUS, "source", workspace)
    }
    definitions.delete(control, ANONYMOUS, "source", unknown.id)
    with pytest.raises(NotFoundError):
        definitions.get(control, ANONYMOUS, "source", unknown.id)


@pytest.mark.parametrize("form", [{"command": ["touch", "/tmp/x"]}, {"executable": "/bin/true"}])
@pytest.mark.parametrize("role", ["source", "destination"])
def test_a_program_of_the_callers_choice_needs_the_operators_leave(
    control: Control, first: FirstStart, role: Any, form: dict[str, Any]
) -> None:
    new = NewActor(workspace_id=first.workspace.id, name="any", configuration={f"{role}Type": "airbyte", **form})
    for made in (actors.create, actors.untried):
        with pytest.raises(SynclineError, match="which this server does not allow") as caught:
            made(control, ANONYMOUS, role, new)
        assert caught.value.kind is ErrorKind.PERMISSION
        assert "SYNCLINE_PROGRAMS=1" in caught.value.hint
    control.settings = replace(control.settings, jobs=replace(control.settings.jobs, programs=True))
    assert actors.create(control, ANONYMOUS, role, new).configuration.keys() >= form.keys()
