"""Rotated tokens outlive the machine that got them, and nobody reads them in the store."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from uuid import UUID

import pytest

from syncline.engine.events import Event
from syncline.engine.listener import Run, RunEnd
from syncline.sdk.own_config import OwnConfig
from syncline.service.control import Control
from syncline.service.kept_tokens import TokenKeeper, lay_out
from syncline.store import secrets, server_values

RUN = Run(connection="people", sync_id="1", attempt=1, started_at=datetime.now(UTC), connection_id="c")
EVENT = Event(at="2026-11-21T10:00:00+00:00")
END = RunEnd(status="succeeded", final=True, error=None, seconds=1.0, rows=0, bytes=0)
GIVEN = {"refresh_token": "first-token"}


def own(control: Control, place: str) -> OwnConfig:
    if place == "tokens":
        return OwnConfig(control.settings.home / "tokens", GIVEN, name="account.json")
    return OwnConfig(control.settings.scratch("people"), GIVEN, name="airbyte-config.json")


@pytest.mark.parametrize("place", ["tokens", "scratch"])
def test_a_rotated_token_outlives_its_home_folder(control: Control, place: str) -> None:
    keeper = TokenKeeper(control)
    own(control, place).save({"refresh_token": "second-token"})
    keeper.heard(RUN, EVENT)
    own(control, place).save({"refresh_token": "third-token"})
    keeper.ended(RUN, END)
    shutil.rmtree(control.settings.home / place)
    assert own(control, place).load() == GIVEN
    lay_out(control)
    assert own(control, place).load() == {"refresh_token": "third-token"}
    with control.database.read() as transaction:
        (value,) = server_values.beginning(transaction, "kept:").values()
        row = secrets.find(transaction, UUID(value["secret_id"]))
        assert row is not None
        assert b"token" not in row.sealed
        assert "third" not in json.dumps(value)


def test_what_is_here_and_newer_stays(control: Control) -> None:
    keeper = TokenKeeper(control)
    own(control, "tokens").save({"refresh_token": "second-token"})
    keeper.look()
    own(control, "tokens").save({"refresh_token": "third-token"})  # the server died before it looked
    lay_out(control)
    assert own(control, "tokens").load() == {"refresh_token": "third-token"}
    # What it missed is taken by whoever looks next.
    TokenKeeper(control).look()
    shutil.rmtree(control.settings.home / "tokens")
    lay_out(control)
    assert own(control, "tokens").load() == {"refresh_token": "third-token"}


def test_what_the_user_has_changed_since_comes_first(control: Control) -> None:
    own(control, "tokens").save({"refresh_token": "second-token"})
    TokenKeeper(control).look()
    lay_out(control)
    changed = OwnConfig(control.settings.home / "tokens", {"refresh_token": "new-by-hand"}, name="account.json")
    assert changed.load() == {"refresh_token": "new-by-hand"}


def test_what_is_no_json_is_left_alone(control: Control) -> None:
    folder = control.settings.home / "tokens"
    folder.mkdir()
    (folder / "broken.json").write_text("{")
    TokenKeeper(control).look()
    with control.database.read() as transaction:
        assert server_values.beginning(transaction, "kept:") == {}
