"""Configuration and names of the Postgres destination."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from syncline.connectors.postgres.writing.config import PostgresDestinationConfig
from syncline.connectors.postgres.writing.names import place_of
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName


def config(**values):
    return PostgresDestinationConfig.model_validate(values)


def table(name, stream_namespace=None, /, **values):
    return str(place_of(config(**values), "c", StreamName(namespace=stream_namespace, name=name)).table)


def test_airbytes_configuration_loads():
    found = config(
        host="h",
        port=5432,
        database="d",
        schema="s",
        username="u",
        password="p",
        ssl_mode={"mode": "require"},
        tunnel_method={"tunnel_method": "NO_TUNNEL"},
        ssl=True,
        drop_cascade=True,
        raw_data_schema="airbyte_internal",
        disable_type_dedupe=False,
        unconstrained_number=False,
    )
    assert found.target_schema == "s"
    assert "p" not in repr(found.password)


def test_aliases_and_refusals():
    assert config(user="u", dbname="d", prefix="x_").table_prefix == "x_"
    with pytest.raises(ValidationError):
        config(disable_type_dedupe=True)
    with pytest.raises(ValidationError):
        config(scheme="typo")
    with pytest.raises(ValidationError):
        config(schema="")


def test_where_streams_go():
    assert table("orders", "shop") == "public.orders"
    assert table("orders", "shop", schema="staging", table_prefix="erp_") == "staging.erp_orders"
    assert table("orders", "shop", namespace="source") == "shop.orders"
    assert table("orders", None, namespace="source", schema="files") == "files.orders"
    assert table("orders", "shop", schema="raw_${SOURCE_NAMESPACE}") == "raw_shop.orders"
    assert table("entries", None, table="time_entries") == "public.time_entries"
    assert table("x" * 63) == "public." + "x" * 63


@pytest.mark.parametrize(
    ("stream", "namespace", "values"),
    [
        ("x" * 64, None, {}),
        ("x" * 60, None, {"table_prefix": "erp_"}),
        ("ü" * 32, None, {}),
        ("nul\0", None, {}),
        ("_syncline_ledger", None, {}),
        ("orders", "pg_temp", {"namespace": "source"}),
        ("orders", None, {"schema": "${SOURCE_NAMESPACE}"}),
    ],
)
def test_names_that_cannot_be(stream, namespace, values):
    with pytest.raises(SynclineError) as caught:
        table(stream, namespace, **values)
    assert caught.value.kind is ErrorKind.CONFIG
    assert caught.value.hint


def test_our_tables_are_the_streams_own_and_short_enough():
    places = [
        place_of(config(), connection, StreamName(namespace=namespace, name=name))
        for connection, namespace, name in [("a", "b", "c"), ("a", None, "b.c"), ("ab", "", "c"), ("x" * 300, "y", "z")]
    ]
    names = [p.generation(12).name for p in places] + [p.stage("part " * 50, 2**40).name for p in places]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for name in names)
    assert all(-(2**31) <= p.lock_class < 2**31 for p in places)
