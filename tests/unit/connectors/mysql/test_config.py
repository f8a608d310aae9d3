"""Airbyte's configuration of a MySQL source is understood; what would lose data is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from syncline.connectors.mysql.config import MySqlSourceConfig

GIVEN: dict[str, Any] = {
    "host": "db",
    "port": 3306,
    "database": "shop",
    "username": "u",
    "password": "p",
    "ssl_mode": {"mode": "preferred"},
    "tunnel_method": {"tunnel_method": "NO_TUNNEL"},
    "checkpoint_target_interval_seconds": 300,
    "concurrency": 1,
    "check_privileges": True,
    "jdbc_url_params": "",
    "replication_method": {
        "method": "CDC",
        "server_timezone": "",
        "invalid_cdc_cursor_position_behavior": "Fail sync",
        "initial_load_timeout_hours": 8,
        "initial_waiting_seconds": 300,
    },
}


def test_airbytes_configuration() -> None:
    config = MySqlSourceConfig.model_validate(GIVEN)
    assert config.log is not None
    assert "p" not in repr(config.password)
    assert MySqlSourceConfig.model_validate({**GIVEN, "replication_method": "standard"}).log is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replication_method": {"method": "CDC", "invalid_cdc_cursor_position_behavior": "Re-sync data"}}, "unasked"),
        ({"replication_method": "binlog"}, "CDC or STANDARD"),
        ({"tunnel_method": {"tunnel_method": "SSH_KEY_AUTH"}}, "open the tunnel outside"),
        ({"jdbc_url_params": "useSSL=false"}, "no JDBC"),
        ({"hots": "x"}, "hots"),
    ],
)
def test_what_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MySqlSourceConfig.model_validate({**GIVEN, **change})
