"""The project file: both forms, references, and every kind of mistake with the words that mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.connector import connector
from syncline.sdk.interpolation import resolve
from syncline.sdk.reference import ConnectorReference, validated
from syncline.service.project import load_project, project_json_schema

ERP = """
# Sample Source Configuration
source:
  type: postgres
  config:
    host: erp-prod-db.aws
    port: 5432
    database: erp_db
    schemas: ["public"]
    tables: ["erp_cust_az12", "erp_loc_a101", "erp_px_cat_g1v2"]
    replication_method:
      method: Standard
destination:
  type: s3
  config:
    bucket: "v1-data-lake"
    path_prefix: "bronze/erp/"
    format:
      file_type: "Parquet"
      compression: "SNAPPY"
    partitioning:
      - field_name: "_sync_date"
        type: "DATE"
# Airbyte Security Config
security:
  source_tls: true
  destination_tls: true
  encryption:
    type: "KMS"
    key_arn: "arn:aws:kms:us-east-1:123456789012:key/abcd1234"
"""
LONG = """
sources:
  erp: {type: postgres, config: {host: db}}
destinations:
  lake: {type: local, config: {path: lake}}
connections:
  a: {source: erp, destination: lake, mode: incremental, streams: [orders, {name: public.c, mode: full_refresh}]}
  b: {source: erp, destination: lake}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "erp.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_users_erp_file_loads_as_written(tmp_path: Path) -> None:
    [connection] = load_project(write(tmp_path, ERP)).only(None)
    assert connection.name == "erp"
    assert connection.choices() is None
    source = validated(connector("source", "postgres"), connection.source, "source")
    destination = validated(connector("destination", "s3"), connection.destination, "destination")
    assert connection.source.config["ssl_mode"] == "require"
    assert connection.destination.config["encryption"]["key_arn"].endswith("abcd1234")
    assert source is not None
    assert destination is not None


def test_the_long_form(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, LONG))
    a, b = project.only(None)
    assert [c.name for c in (a, b)] == ["a", "b"]
    choices = a.choices()
    assert choices is not None
    assert [(c.name, c.mode) for c in choices] == [("orders", None), ("public.c", "full_refresh")]
    assert a.default_choice().mode == "incremental"
    assert b.default_choice().mode == "full_refresh"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ERP.replace("destination:\n", "destinaton:\n"), "did you mean 'destination'"),
        (ERP.replace("source:\n  type", "source:\n  tpye", 1), "did you mean 'type'"),
        ("source: {type: postgres}", "destination is missing"),
        ("{}", "nothing to sync"),
        ("- a\n- b", "holds no mapping"),
        ("source: {type: [", "line 1"),
        (LONG.replace("source: erp, destination: lake}", "source: epr, destination: lake}"), "did you mean 'erp'"),
        (LONG.replace("mode: incremental", "concurrency: 0"), "concurrency"),
        (LONG.replace("mode: incremental", "concurrency: many"), "concurrency"),
        (LONG + "sync: {mode: full_refresh, shedule: x}", "did you mean 'schedule'"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SynclineError) as caught:
        load_project(write(tmp_path, text))
    assert caught.value.kind is ErrorKind.CONFIG
    assert words in f"{caught.value.message} {caught.value.hint}"


def test_an_unknown_connection_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SynclineError, match="no connection 'aa'") as caught:
        load_project(write(tmp_path, LONG)).only("aa")
    assert "'a'" in caught.value.hint


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SynclineError, match="cannot be read") as caught:
        load_project(tmp_path / "none.yaml")
    assert "syncline init" in caught.value.hint


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hots": "x"}, "did you mean 'host'"),
        ({"port": "many"}, "'port'"),
        ({"replication_method": {"method": "Standrad"}}, "Standard"),
    ],
)
def test_mistakes_in_a_connectors_settings(config: dict[str, object], words: str) -> None:
    with pytest.raises(SynclineError) as caught:
        validated(connector("source", "postgres"), ConnectorReference(type="postgres", config=config), "source")
    assert caught.value.kind is ErrorKind.CONFIG
    assert words in caught.value.message


def test_an_unknown_connector_is_answered_with_the_nearest() -> None:
    with pytest.raises(SynclineError, match="no source connector") as caught:
        connector("source", "postgers")
    assert "postgres" in caught.value.hint


def test_references(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n", encoding="utf-8")
    monkeypatch.setenv("DB_USER", "ann")
    value = {"user": "${DB_USER}", "both": "${env:DB_USER}:${file:" + str(secret) + "}", "list": ["$${DB_USER}", 5]}
    assert resolve(value) == {"user": "ann", "both": "ann:s3cret", "list": ["${DB_USER}", 5]}
    assert resolve("${NAMESPACE}/${STREAM_NAME}/") == "${NAMESPACE}/${STREAM_NAME}/"
    with pytest.raises(SynclineError, match="NOT_SET_AT_ALL") as caught:
        resolve({"config": {"password": "${NOT_SET_AT_ALL}"}})
    assert caught.value.where["key"] == "config.password"
    with pytest.raises(SynclineError, match="unknown secret provider"):
        resolve("${vualt:x}")


def test_the_json_schema_accepts_what_the_loader_accepts() -> None:
    schema = project_json_schema()
    assert set(schema["properties"]) == {
        "name", "source", "destination", "sync", "security", "alerts", "sources", "destinations", "connections"
    }  # fmt: skip
    assert yaml.safe_load(ERP).keys() <= schema["properties"].keys()
