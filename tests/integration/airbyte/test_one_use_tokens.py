"""A connector whose refresh token works once, asked by several processes: nobody uses up what another holds."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import syncline.connectors.airbyte.program as program
from syncline.connectors.airbyte.config import AirbyteSourceConfig
from syncline.connectors.airbyte.source import AirbyteSource
from syncline.core.errors import ErrorKind
from syncline.core.stream import SelectedStream, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.feed import FedDone

SCRIPT = Path(__file__).with_name("scripted.py")


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    """The file with the token that is valid now."""
    file = tmp_path / "valid"
    file.write_text("one-use-0")
    return file


def source(valid: Path) -> AirbyteSource:
    config = {"streams": {"users": 3}, "api_token": "one-use-0", "valid_token": str(valid)}
    given = AirbyteSourceConfig(command=(sys.executable, str(SCRIPT)), config=config)
    return AirbyteSource(given, ConnectorContext(connection="c", work_dir=valid.parent / "work"))


def test_questions_at_once_come_one_after_the_other(valid: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda each: each.check(), [source(valid) for _ in range(3)]))
    assert ["can reach" in finding.message for (finding,) in found] == [True] * 3
    assert valid.read_text() == "one-use-3"


def test_a_read_keeps_its_token_until_its_end(valid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_WAIT_SECONDS", 0.2)
    reading, other = source(valid), source(valid)
    (stream,) = reading.discover().streams
    selected = SelectedStream(stream=stream, sync_mode=SyncMode.INCREMENTAL_APPEND)
    with closing(reading.feed([selected], {}, None)) as feed:
        (refused,) = other.check()
        assert (refused.kind, "at work already" in refused.message) == (ErrorKind.CONFLICT, True)
        assert [m.error for m in feed if isinstance(m, FedDone)] == [None]
    assert "can reach" in other.check()[0].message
    assert valid.read_text() == "one-use-3"
