"""The configuration of change data capture: Airbyte's names, ours, and what is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncline.connectors.postgres import SOURCE
from syncline.connectors.postgres.changes.config import ChangeCapture
from syncline.connectors.postgres.changes.names import log_names, spool_folder
from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.reference import ConnectorReference, validated


def capture(**values) -> ChangeCapture:
    method = {"method": "CDC", **values}
    found = validated(SOURCE, ConnectorReference(type="postgres", config={"replication_method": method}), "source")
    assert isinstance(found, PostgresSourceConfig)
    assert isinstance(found.replication_method, ChangeCapture)
    return found.replication_method


def test_an_airbyte_configuration_loads_as_it_stands():
    found = capture(
        plugin="pgoutput",
        publication="airbyte_publication",
        replication_slot="airbyte_slot",
        queue_size=10000,
        lsn_commit_behaviour="After loading Data in the destination",
        heartbeat_action_query="INSERT INTO heartbeat (text) VALUES ('beat')",
        initial_waiting_seconds=1200,
        initial_load_timeout_hours=8,
        invalid_cdc_cursor_position_behavior="Fail sync",
    )
    assert (found.slot_timeout, found.heartbeat.statement) == (1200, "INSERT INTO heartbeat (text) VALUES ('beat')")


def test_short_forms_and_defaults():
    found = capture(heartbeat="30 s", spool="/var/spool/syncline", max_retained_wal="10 GB")
    assert (found.heartbeat.interval, found.spool.path) == (30, Path("/var/spool/syncline"))
    assert found.max_retained_wal == 10**10
    assert (capture().max_retained_wal, capture().on_budget, capture().manage) == (4 * 10**9, "pause", False)
    assert capture(heartbeat_action_query="").heartbeat.statement is None
    whole = validated(SOURCE, ConnectorReference(type="postgres", config={"replication_method": "cdc"}), "source")
    assert isinstance(whole, PostgresSourceConfig)
    assert isinstance(whole.replication_method, ChangeCapture)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"invalid_cdc_cursor_position_behavior": "Re-sync data"}, ["Re-sync data", "not done unasked"]),
        ({"lsn_commit_behaviour": "While reading Data"}, ["loses changes", "spool.durable"]),
        ({"plugin": "wal2json"}, ["plugin", "pgoutput"]),
        ({"replication_slot": "With-Dash"}, ["replication_slot"]),
        ({"slott": 1}, ["slott"]),
        ({"on_budget": "explode"}, ["on_budget", "pause"]),
        ({"heartbeat": {"table": "t", "statement": "SELECT 1"}}, ["table or statement"]),
        ({"heartbeat": {"interval": 5}, "heartbeat_action_query": "SELECT 1"}, ["heartbeat.statement"]),
    ],
)
def test_what_is_wrong_is_named(values, words):
    with pytest.raises(SynclineError) as caught:
        capture(**values)
    assert caught.value.kind is ErrorKind.CONFIG
    for word in words:
        assert word in caught.value.message


def test_names_are_the_connection_s_valid_and_unlike_each_other():
    names = ["shop", "Shop", "shop orders", "shop-orders", "Läden", "x" * 200, "x" * 201, "---", "+++"]
    slots = [log_names(name, capture()).slot for name in names]
    assert slots[0] == "syncline_shop"
    assert len(set(slots)) == len(names)
    for slot in slots:
        assert len(slot) <= 63
        assert set(slot) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    given = log_names("shop", capture(replication_slot="mine", publication="Mine"))
    assert (given.slot, given.publication, given.own_slot, given.own_publication) == ("mine", "Mine", False, False)
    assert log_names("shop", capture(replication_slot="syncline_shop")).own_slot


def test_the_spool_lies_in_the_scratch_unless_told_otherwise(tmp_path: Path):
    context = ConnectorContext(connection="shop", work_dir=tmp_path)
    names = log_names("shop", capture())
    assert spool_folder(capture(), context, names) == tmp_path / "spool" / "syncline_shop"
    assert spool_folder(capture(spool="/data"), context, names) == Path("/data/syncline_shop")


def test_every_setting_is_in_the_guide():
    guide = (Path(__file__).parents[4] / "docs" / "connectors" / "postgres-cdc.md").read_text(encoding="utf-8")
    for name in ChangeCapture.model_fields:
        assert f"`{name}`" in guide or f"`{name}:" in guide, name
