"""What the source's configuration accepts, refuses, and passes on to libpq."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncline.connectors.postgres import SOURCE
from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.connection import connection_parameters
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.reference import ConnectorReference, validated

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


def config(**values) -> PostgresSourceConfig:
    found = validated(SOURCE, ConnectorReference(type="postgres", config=values), "source")
    assert isinstance(found, PostgresSourceConfig)
    return found


def test_an_airbyte_configuration_loads_as_it_stands():
    found = config(
        host="erp-prod-db.aws",
        port=5432,
        database="erp_db",
        schemas=["public"],
        username="u",
        password="p",
        ssl_mode={"mode": "verify-ca", "ca_certificate": PEM},
        replication_method={"method": "Xmin"},
        tunnel_method={"tunnel_method": "NO_TUNNEL"},
        jdbc_url_params="",
    )
    assert found.replication_method.method == "Xmin"
    assert found.ssl_mode is not None
    assert found.ssl_mode.mode == "verify-ca"
    assert "p" not in repr(found.password)


def test_friendly_names_and_short_forms_load_too():
    found = config(
        dbname="d",
        user="u",
        sslmode="require",
        schemas="a",
        tables="t",
        replication_method="standard",
        partition_bytes="64 MiB",
        max_transaction_age="15 min",
        lookback_window="90",
        lock_timeout="500 ms",
        cursor="ts",
    )
    assert (found.database, found.username, found.schemas) == ("d", "u", ("a",))
    assert (found.tables, found.cursor) == (("t",), ("ts",))
    assert found.ssl_mode is not None
    assert found.ssl_mode.mode == "require"
    assert found.replication_method.method == "Standard"
    assert (found.partition_bytes, found.max_transaction_age) == (64 << 20, 900)
    assert (found.lookback_window, found.lock_timeout) == (90, 0.5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replication_method": {"method": "cdcc"}}, ["replication_method", "CDC, Standard or Xmin"]),
        ({"tunnel_method": {"tunnel_method": "SSH_KEY_AUTH", "tunnel_host": "h"}}, ["SSH_KEY_AUTH", "ssh -N -L"]),
        ({"jdbc_url_params": "connectTimeout=1"}, ["jdbc_url_params", "libpq"]),
        ({"ssl_mode": "sometimes"}, ["ssl_mode.mode", "verify-full"]),
        ({"pasword": "x"}, ["pasword", "did you mean 'password'"]),
        ({"port": 70000}, ["port"]),
        ({"max_transaction_age": "soon"}, ["'soon'", "10 min"]),
        ({"partition_bytes": "1 KiB"}, ["partition_bytes"]),
        ({"schemas": []}, ["schemas"]),
        ({"tables": [""]}, ["tables", "empty name"]),
        ({"host": ""}, ["host"]),
        ({"concurrency": 0}, ["concurrency"]),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(values, words):
    with pytest.raises(SynclineError) as caught:
        config(**values)
    assert caught.value.kind is ErrorKind.CONFIG
    for word in words:
        assert word in caught.value.message


def test_left_out_fields_are_left_to_libpq(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    found = connection_parameters(config(), work_dir=tmp_path, application_name="syncline " + "é" * 60)
    watch = {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
    assert set(found) == {"application_name", "client_encoding", "connect_timeout", *watch}
    assert len(found["application_name"].encode()) <= 63
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    assert "connect_timeout" not in connection_parameters(config(), work_dir=tmp_path)


def test_certificates_as_text_become_private_files_and_paths_stay(tmp_path: Path):
    ssl = {"mode": "verify-full", "ca_certificate": PEM, "client_key": "/etc/key.pem", "client_key_password": "s"}
    found = connection_parameters(config(ssl_mode=ssl), work_dir=tmp_path / "new")
    assert found["sslmode"] == "verify-full"
    assert found["sslkey"] == "/etc/key.pem"
    assert found["sslpassword"] == "s"
    path = Path(found["sslrootcert"])
    assert path.read_text().strip() == PEM
    assert path.stat().st_mode & 0o777 == 0o600
    assert connection_parameters(config(ssl_mode=ssl), work_dir=tmp_path / "new")["sslrootcert"] == str(path)


def test_listing_the_connector_imports_no_driver():
    import subprocess
    import sys

    code = (
        "import sys; from syncline.connectors.postgres import SOURCE, DESTINATION;"
        "SOURCE.config_model(); DESTINATION.config_model(); print('psycopg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
