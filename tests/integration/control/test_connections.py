"""Connections: Airbyte's defaults, what is refused at once, schedules, tags, and the form that runs."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from tests.integration.control.conftest import S3, MakeActor

from syncline.core.errors import SynclineError
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.sdk.connector import connector
from syncline.sdk.interpolation import resolve
from syncline.sdk.reference import check_config
from syncline.service import actors, audit, connections, tags, workspaces
from syncline.service.actors import NewActor
from syncline.service.callers import ANONYMOUS
from syncline.service.connections import ConnectionChange, NewConnection
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.service.first_start import FirstStart
from syncline.service.stored_connections import runnable
from syncline.store import connections as rows
from syncline.store.paging import Page
from syncline.store.values import Actor, ConnectionOptions, Schedule, StoredConnection, StreamConfig

DUCKDB = {"destinationType": "duckdb", "destination_path": "/data/out.duckdb"}
TARGET = {"destinationType": "postgres", "host": "h", "database": "d", "username": "u", "password": "p"}


@pytest.fixture
def source(make_actor: MakeActor) -> Actor:
    return make_actor("source")


@pytest.fixture
def destination(make_actor: MakeActor) -> Actor:
    return make_actor("destination")


def _make(control: Control, source: Actor, destination: Actor, **values: Any) -> StoredConnection:
    new = NewConnection(source_id=source.id, destination_id=destination.id, **values)
    return connections.create(control, ANONYMOUS, new)


def test_the_defaults_are_airbytes(control: Control, source: Actor, destination: Actor) -> None:
    made = _make(control, source, destination)
    assert (made.name, made.status, made.prefix) == ("a source → a destination", "active", "")
    assert made.schedule.public_type == "manual"
    assert made.streams is None
    assert (made.namespace_definition, made.namespace_format, made.non_breaking_updates) == (
        "destination",
        None,
        "ignore",
    )
    assert made.tags == ()
    assert made.key == str(made.id)
    assert connections.get(control, ANONYMOUS, made.id) == made


def test_everything_given_comes_back(control: Control, first: FirstStart, source: Actor, destination: Actor) -> None:
    tag = tags.create(control, ANONYMOUS, first.workspace.id, name="nightly", color="#75dcff")
    streams = (
        StreamConfig(
            name="users",
            namespace="public",
            sync_mode="incremental_append",
            cursor_field=("updated_at",),
            primary_key=(("tenant",), ("id",)),
            selected_fields=(("id",), ("tenant",), ("updated_at",)),
        ),
        StreamConfig(name="orders"),
    )
    values: dict[str, Any] = {
        "name": "mine",
        "status": "inactive",
        "schedule": Schedule(kind="cron", cron_expression="0 0 3 * * ? UTC"),
        "streams": streams,
        "namespace_definition": "custom_format",
        "namespace_format": "raw_${SOURCE_NAMESPACE}",
        "prefix": "erp_",
        "non_breaking_updates": "propagate_columns",
        "options": ConnectionOptions(concurrency=4, priority=7, timeout_seconds=43200.0, max_attempts=5),
        "key": "shop-to-lake",
    }
    made = _make(control, source, destination, tag_ids=(tag.id,), **values)
    read = connections.get(control, ANONYMOUS, made.id)
    assert {name: getattr(read, name) for name in values} == values
    assert read.tags == (tag,)
    assert tag.color == "75DCFF"


def test_a_change_leaves_alone_what_it_does_not_name(control: Control, source: Actor, destination: Actor) -> None:
    made = _make(control, source, destination, prefix="a_", streams=(StreamConfig(name="users"),))
    change = ConnectionChange(schedule=Schedule(kind="basic", units=3, time_unit="hours"))
    after = connections.update(control, ANONYMOUS, made.id, change)
    assert after.schedule.basic_timing == "Every 3 HOURS"
    changed = {f.name for f in dataclasses.fields(made) if getattr(made, f.name) != getattr(after, f.name)}
    assert changed == {"schedule", "updated_at"}
    (entry,) = audit.list_entries(control, ANONYMOUS, noun_id=str(made.id), page=Page(limit=1)).items
    assert (entry.before, entry.after) == (
        {"schedule": {"kind": "manual"}},
        {"schedule": {"kind": "basic", "units": 3, "time_unit": "hours"}},
    )
    assert connections.update(control, ANONYMOUS, made.id, ConnectionChange(streams=())).streams is None
    assert connections.update(control, ANONYMOUS, made.id, ConnectionChange()).updated_at >= after.updated_at


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\0"}, "U+0000"),
        ({"status": "running"}, "status"),
        ({"schedule": Schedule(kind="cron")}, "cronExpression"),
        ({"schedule": Schedule(kind="cron", cron_expression="0 0 30 2 *")}, "never due"),
        ({"schedule": Schedule(kind="cron", cron_expression="0 0 3 * * ? Mars/Olympus")}, "Mars"),
        ({"schedule": Schedule(kind="basic", units=0, time_unit="hours")}, "units"),
        ({"schedule": Schedule(kind="basic", units=1, time_unit="moons")}, "moons"),
        ({"schedule": Schedule(kind="after", after={"all": []})}, "names nothing"),
        ({"schedule": Schedule(kind="after", after={"all": ["x"]})}, "not the id"),
        ({"namespace_definition": "custom_format"}, "namespaceFormat"),
        ({"streams": (StreamConfig(name="a", sync_mode="full_refresh_update"),)}, "not supported"),
        ({"streams": (StreamConfig(name="a", mappers=({"type": "hashing"},)),)}, "mappers"),
        ({"streams": (StreamConfig(name="a", cursor_field=("a", "b")),)}, "cursorField"),
        ({"streams": (StreamConfig(name="a"), StreamConfig(name="a"))}, "twice"),
        ({"options": ConnectionOptions(concurrency=0)}, "concurrency"),
        ({"options": ConnectionOptions(timeout_seconds=float("inf"))}, "timeoutSeconds"),
        ({"key": "a/b"}, "key"),
    ],
)
def test_what_would_fail_later_is_refused_now(
    control: Control, source: Actor, destination: Actor, values: dict[str, Any], says: str
) -> None:
    with pytest.raises(SynclineError) as caught:
        _make(control, source, destination, **values)
    assert says in str(caught.value)
    assert caught.value.policy.http_status == 422


def test_ends_that_are_not_there(control: Control, source: Actor, destination: Actor) -> None:
    nobody = uuid.uuid4()
    for ends in ((nobody, destination.id), (source.id, nobody), (destination.id, source.id)):
        with pytest.raises(NotFoundError):
            connections.create(control, ANONYMOUS, NewConnection(source_id=ends[0], destination_id=ends[1]))
    other = workspaces.create(control, ANONYMOUS, name="other")
    foreign = actors.create(
        control, ANONYMOUS, "destination", NewActor(workspace_id=other.id, name="f", configuration=S3)
    )
    with pytest.raises(SynclineError, match="another workspace"):
        _make(control, source, foreign)


def test_connections_that_would_wait_for_themselves(control: Control, source: Actor, destination: Actor) -> None:
    one = _make(control, source, destination)
    two = _make(control, source, destination, schedule=Schedule(kind="after", after={"all": [str(one.id)]}))
    circle = ConnectionChange(schedule=Schedule(kind="after", after={"any": [str(two.id)]}))
    with pytest.raises(SynclineError, match="wait for itself"):
        connections.update(control, ANONYMOUS, one.id, circle)


def test_lists_by_workspace_tag_name_and_end(
    control: Control, first: FirstStart, source: Actor, destination: Actor
) -> None:
    tag = tags.create(control, ANONYMOUS, first.workspace.id, name="t", color="000000")
    made = [_make(control, source, destination, name=f"c{n}", tag_ids=(tag.id,) if n else ()) for n in range(3)]

    def names(**values: Any) -> list[str]:
        return [c.name for c in connections.list_connections(control, ANONYMOUS, **values).items]

    assert names() == ["c0", "c1", "c2"]
    assert names(page=Page(limit=1, offset=1)) == ["c1"]
    assert names(tag_ids=[tag.id]) == ["c1", "c2"]
    assert names(name="c2") == ["c2"]
    assert names(source_id=destination.id) == []
    assert names(workspace_ids=[uuid.uuid4()]) == []
    connections.delete(control, ANONYMOUS, made[0].id)
    assert names() == ["c1", "c2"]
    tags.delete(control, ANONYMOUS, tag.id)
    assert connections.get(control, ANONYMOUS, made[1].id).tags == ()


def test_the_scheduler_sees_what_runs_by_itself(control: Control, source: Actor, destination: Actor) -> None:
    schedule = Schedule(kind="cron", cron_expression="0 3 * * *", time_zone="Europe/Berlin")
    active = _make(control, source, destination, schedule=schedule)
    _make(control, source, destination)
    _make(control, source, destination, schedule=schedule, status="inactive")
    gone = _make(control, source, destination, schedule=schedule)
    connections.delete(control, ANONYMOUS, gone.id)
    with control.database.read() as transaction:
        (found,) = rows.scheduled(transaction)
    assert (found.id, found.schedule, found.options) == (active.id, schedule, active.options)


# The form that runs


def test_a_runnable_connection_has_secrets_and_is_accepted_by_both_connectors(
    control: Control, source: Actor, destination: Actor
) -> None:
    streams = (StreamConfig(name="users", namespace="public", sync_mode="incremental_append"),)
    made = _make(control, source, destination, streams=streams, prefix="raw_", namespace_definition="source")
    run = runnable(control, made.id)
    assert run.name == str(made.id)
    assert run.source.config["password"] == "hunter2-secret"
    assert run.destination.config["s3_path_format"] == "raw_${STREAM_NAME}/"
    assert not {"sourceType", "destinationType"} & {*run.source.config, *run.destination.config}
    check_config(connector("source", run.source.type), run.source.config, "source")
    check_config(connector("destination", run.destination.type), run.destination.config, "destination")
    started = now()
    spec = AttemptSpec(
        connection=run.name,
        source=run.source,
        destination=run.destination,
        choices=run.choices(),
        default=run.default_choice(),
        sync_id=new_sync_id(),
        sync_date=started.date(),
        started_at=started,
        attempt=1,
        work_dir="/nowhere",
    )
    assert AttemptSpec.from_json(spec.to_json()) == spec
    assert [(c.name, c.mode) for c in spec.choices or ()] == [("public.users", "incremental_append")]


def test_a_password_that_looks_like_a_reference_arrives_as_it_is(
    control: Control, make_actor: MakeActor, destination: Actor
) -> None:
    for password in ("pa${ss}", "a$${b}", "${HOME}", "$$$", "${", "$${env:SYNCLINE_VAR_X}"):
        made = _make(control, make_actor("source", password=password), destination)
        wanted = "${env:SYNCLINE_VAR_X}" if "env" in password else password
        assert resolve(dict(runnable(control, made.id).source.config))["password"] == wanted


def test_a_reference_is_followed_by_the_attempt_only(
    control: Control, make_actor: MakeActor, destination: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _make(control, make_actor("source", password="${env:SYNCLINE_VAR_PW}"), destination)
    config = runnable(control, made.id).source.config
    assert config["password"] == "${env:SYNCLINE_VAR_PW}"
    monkeypatch.setenv("SYNCLINE_VAR_PW", "from outside")
    assert resolve(dict(config))["password"] == "from outside"


def _options(mappings: Sequence[Any] = (), transforms: Sequence[Any] = ()) -> dict[str, Any]:
    return {"options": ConnectionOptions(mappings=tuple(mappings), transforms=tuple(transforms))}


@pytest.mark.parametrize(
    "values",
    [
        {"prefix": "${env:HOME}"},
        {"namespace_definition": "custom_format", "namespace_format": "x/${ env:HOME}"},
        _options(mappings=[{"from": "*", "steps": [{"hash": ["a"], "key": "${env:HOME}"}]}]),
        _options(mappings=[{"from": "*", "steps": [{"encrypt": ["a"], "keys": {"1": "${file:/etc/passwd}"}}]}]),
        _options(transforms=[{"http": {"url": "http://example.com/", "headers": {"X": "${env:HOME}"}}}]),
        _options(transforms=[{"http": "http://example.com/?${HOME}"}]),
        _options(transforms=[{"databricks": {"host": "h", "token": "${file:/run/secrets/../../etc/x}", "job_id": 1}}]),
        {
            "streams": [
                StreamConfig(
                    name="t",
                    mappers=(
                        {
                            "type": "encryption",
                            "mapperConfiguration": {
                                "algorithm": "AES",
                                "mode": "GCM",
                                "padding": "NoPadding",
                                "targetField": "a",
                                "key": "${env:HOME}",
                            },
                        },
                    ),
                )
            ]
        },
    ],
)
def test_an_editor_reads_nothing_of_the_server_through_a_connection(
    control: Control, source: Actor, destination: Actor, values: dict[str, Any]
) -> None:
    """Everywhere in a connection where a reference would be followed, and whichever way it comes in."""
    with pytest.raises(SynclineError, match=r"does not follow|by its bare name"):
        _make(control, source, destination, **values)
    made = _make(control, source, destination)
    with pytest.raises(SynclineError, match=r"does not follow|by its bare name"):
        connections.update(control, ANONYMOUS, made.id, ConnectionChange(**values))
    # What was stored while more was allowed does not run, and can be switched off.
    with control.database.write() as transaction:
        stored = dataclasses.replace(made, **{**values, "streams": tuple(values.get("streams", ())) or None})
        rows.change(transaction, stored)
    with pytest.raises(SynclineError, match=r"does not follow|by its bare name"):
        runnable(control, made.id)
    off = connections.update(control, ANONYMOUS, made.id, ConnectionChange(status="inactive"))
    assert off.status == "inactive"


def test_a_public_key_is_none_of_the_servers_variables(control: Control, source: Actor, destination: Actor) -> None:
    steps = [{"encrypt": ["a"], "method": "rsa", "key": "${HOME}"}]
    with pytest.raises(SynclineError, match="is no key"):
        _make(control, source, destination, **_options(mappings=[{"from": "*", "steps": steps}]))


def test_a_connection_may_name_what_the_operator_allows(control: Control, source: Actor, destination: Actor) -> None:
    key = "${env:SYNCLINE_VAR_KEY}"
    options = _options(
        mappings=[{"from": "*", "steps": [{"hash": ["a"], "key": key}]}],
        transforms=[
            {"http": {"url": "http://example.com/", "headers": {"X": key, "Y": "$${HOME}"}}},
            {"sql": {"script": "SELECT '${HOME}'"}},  # nothing is followed there
        ],
    )
    run = runnable(control, _make(control, source, destination, **options).id)
    assert run.source.mappings[0]["steps"][0]["key"] == key


@pytest.mark.parametrize(
    ("configuration", "values", "wanted"),
    [
        (TARGET, {}, {"schema": "public"}),
        (TARGET, {"namespace_definition": "source"}, {"schema": "public", "namespace": "source"}),
        (
            TARGET,
            {"namespace_definition": "custom_format", "namespace_format": "raw_${SOURCE_NAMESPACE}", "prefix": "x_"},
            {"schema": "raw_${SOURCE_NAMESPACE}", "namespace": "destination", "table_prefix": "x_"},
        ),
        (
            DUCKDB,
            {"namespace_definition": "custom_format", "namespace_format": "${SOURCE_NAMESPACE}"},
            {"namespace": "source"},
        ),
        (
            DUCKDB,
            {"namespace_definition": "custom_format", "namespace_format": "bronze"},
            {"schema": "bronze", "namespace": "destination"},
        ),
        (
            {**S3, "s3_path_format": "${NAMESPACE}/${STREAM_NAME}/${YEAR}/"},
            {"namespace_definition": "custom_format", "namespace_format": "raw_${SOURCE_NAMESPACE}"},
            {"s3_path_format": "raw_${NAMESPACE}/${STREAM_NAME}/${YEAR}/"},
        ),
        ({**S3, "s3_path_format": "${NAMESPACE}/${STREAM_NAME}/"}, {}, {"s3_path_format": "${STREAM_NAME}/"}),
        (
            {"destinationType": "local-json", "destination_path": "/local/x"},
            {},
            {"format": {"format_type": "JSONL", "compression_codec": "UNCOMPRESSED"}},
        ),
        ({**TARGET, "cdc_deletion_mode": "Soft delete", "raw_data_schema": "airbyte_internal"}, {}, {}),
    ],
)
def test_namespaces_and_prefixes_reach_the_destination(
    control: Control,
    source: Actor,
    make_actor: MakeActor,
    configuration: dict[str, Any],
    values: dict[str, Any],
    wanted: dict[str, Any],
) -> None:
    made = _make(control, source, make_actor("destination", configuration), **values)
    run = runnable(control, made.id)
    assert {key: run.destination.config.get(key) for key in wanted} == wanted
    check_config(connector("destination", run.destination.type), run.destination.config, "destination")
    assert run.sync.deletes == ("soft" if "cdc_deletion_mode" in configuration else "hard")


def test_what_a_destination_cannot_name_is_refused(control: Control, source: Actor, make_actor: MakeActor) -> None:
    for configuration, values in (
        (DUCKDB, {"namespace_definition": "custom_format", "namespace_format": "a_${SOURCE_NAMESPACE}"}),
        (TARGET, {"namespace_definition": "custom_format", "namespace_format": "${YEAR}"}),
        (S3, {"prefix": "../"}),
    ):
        with pytest.raises(SynclineError):
            _make(control, source, make_actor("destination", configuration), **values)


def test_a_connection_without_its_end_does_not_run(control: Control, source: Actor, destination: Actor) -> None:
    made = _make(control, source, destination)
    actors.delete(control, ANONYMOUS, "destination", destination.id)
    with pytest.raises(NotFoundError):
        runnable(control, made.id)
