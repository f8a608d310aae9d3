"""The server's key: made once, asked for when it is missing, changed while servers run."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import replace

import pytest
from tests.integration.control.conftest import POSTGRES, MakeActor

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import actors
from syncline.service.callers import ANONYMOUS
from syncline.service.control import Control, open_control
from syncline.service.secrets import keys, rotation


def test_the_key_file_is_made_at_first_start_for_its_user_only(control: Control, make_actor: MakeActor) -> None:
    path = control.settings.key_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_text()
    open_control(control.settings).close()
    assert path.read_text() == made
    path.chmod(0o640)
    with pytest.raises(SynclineError, match="chmod 600"):
        open_control(control.settings)


def test_a_lost_key_is_told_and_no_new_one_is_made(control: Control, make_actor: MakeActor) -> None:
    make_actor("source")
    control.settings.key_file.unlink()
    with pytest.raises(SynclineError, match="key is missing") as caught:
        open_control(control.settings)
    assert caught.value.kind is ErrorKind.CONFIG
    assert not control.settings.key_file.exists()
    other = replace(control.settings, secret_key=base64.b64encode(os.urandom(32)).decode())
    with pytest.raises(SynclineError, match="encrypted with key"):
        open_control(other)


def test_after_a_rotation_everything_opens_also_for_a_server_that_ran_meanwhile(
    control: Control, make_actor: MakeActor
) -> None:
    before = make_actor("source")
    running = open_control(control.settings)
    old_line = control.settings.key_file.read_text().strip()
    assert rotation.rotate(control) >= 1
    lines = control.settings.key_file.read_text().split()
    assert lines[0] != old_line
    assert actors.clear_configuration(running, before) == POSTGRES
    after = actors.clone(running, ANONYMOUS, "source", before.id)
    assert rotation.rotate(control) >= 2
    assert old_line not in control.settings.key_file.read_text()
    assert len(control.settings.key_file.read_text().split()) == 2
    for actor in (before, after):
        assert actors.clear_configuration(control, actor) == POSTGRES
        assert actors.clear_configuration(running, actor) == POSTGRES
    running.close()


def test_a_rotation_that_was_killed_half_way_is_done_again(
    control: Control, make_actor: MakeActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = make_actor("source")
    with monkeypatch.context() as patch:
        patch.setattr("syncline.store.secrets.rewrap", _killed)
        with pytest.raises(KeyboardInterrupt):
            rotation.rotate(control)
    again = open_control(control.settings)
    assert actors.clear_configuration(again, actor) == POSTGRES
    assert rotation.rotate(again) >= 1
    assert actors.clear_configuration(again, actor) == POSTGRES
    again.close()


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_keys_from_the_environment_rotate_by_their_order(control: Control, make_actor: MakeActor) -> None:
    actor = make_actor("source")
    old = control.settings.key_file.read_text().strip()
    new = os.urandom(32).hex()
    both = open_control(replace(control.settings, secret_key=f"{new},{old}"))
    assert rotation.rotate(both) >= 1
    both.close()
    only = open_control(replace(control.settings, secret_key=new))
    assert actors.clear_configuration(only, actor) == POSTGRES
    only.close()


@pytest.mark.parametrize("text", ["", "short", "zz" * 32, base64.b64encode(b"x" * 31).decode()])
def test_what_is_no_key(control: Control, text: str) -> None:
    control.settings.key_file.write_text(text)
    with pytest.raises(SynclineError) as caught:
        keys.load_keys(control.settings, make=False)
    assert caught.value.kind is ErrorKind.CONFIG
    assert not text or text not in str(caught.value)
