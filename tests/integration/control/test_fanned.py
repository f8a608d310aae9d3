"""Connections that read one source together, as a server keeps them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.integration.control.conftest import MakeActor

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import connections, fanned
from syncline.service.callers import ANONYMOUS
from syncline.service.connections import ConnectionChange, NewConnection
from syncline.service.control import Control
from syncline.service.stored_connections import runnable
from syncline.store.values import Actor, ConnectionOptions, Schedule, StoredConnection


def _part(control: Control, source: Actor, destination: Actor, name: str, **more: str) -> StoredConnection:
    options = ConnectionOptions(fan_out={"connection": "shop", "destination": name, **more})
    new = NewConnection(source_id=source.id, destination_id=destination.id, name=f"shop/{name}", options=options)
    return connections.create(control, ANONYMOUS, new)


def test_they_run_under_one_name_and_each_to_its_own_end(control: Control, make_actor: MakeActor) -> None:
    source = make_actor("source")
    lake = _part(control, source, make_actor("destination"), "lake", when_behind="wait")
    _part(control, source, make_actor("destination"), "warehouse")
    ready = runnable(control, lake.id)
    assert (ready.name, ready.label, ready.when_behind) == ("shop", "shop/lake", "wait")
    assert ready.siblings == ("lake", "warehouse")


def test_what_holds_for_all_is_changed_for_all(control: Control, make_actor: MakeActor) -> None:
    source = make_actor("source")
    lake = _part(control, source, make_actor("destination"), "lake")
    other = _part(control, source, make_actor("destination"), "warehouse")
    change = ConnectionChange(
        name="mine",
        status="inactive",
        schedule=Schedule(kind="continuous"),
        options=replace(lake.options, concurrency=5),
    )
    connections.update(control, ANONYMOUS, lake.id, change)
    after = connections.get(control, ANONYMOUS, other.id)
    assert (after.schedule.kind, after.options.concurrency) == ("continuous", 5)
    assert (after.name, after.status) == ("shop/warehouse", "active")
    assert after.options.fan_out["destination"] == "warehouse"
    with pytest.raises(SynclineError, match="stays for ever"):
        connections.update(control, ANONYMOUS, lake.id, ConnectionChange(options=ConnectionOptions()))


def test_two_that_would_mix_are_refused(control: Control, make_actor: MakeActor) -> None:
    source, destination = make_actor("source"), make_actor("destination")
    _part(control, source, destination, "lake")
    another = make_actor("destination")
    refused = [
        lambda: _part(control, source, another, "lake"),
        lambda: _part(control, source, destination, "again"),
        lambda: _part(control, make_actor("source"), another, "warehouse"),
        lambda: connections.create(
            control, ANONYMOUS, NewConnection(source_id=source.id, destination_id=another.id, key="shop")
        ),
    ]
    for make in refused:
        with pytest.raises(SynclineError) as raised:
            make()
        assert raised.value.kind is ErrorKind.CONFLICT


@pytest.mark.parametrize(
    "bad",
    [{"connection": "shop"}, {"connection": "a/b", "destination": "x"}, {"connection": "", "destination": "x"}],
)
def test_what_cannot_be_meant_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(SynclineError) as raised:
        fanned.check_fan_out(bad)
    assert raised.value.kind is ErrorKind.CONFIG
