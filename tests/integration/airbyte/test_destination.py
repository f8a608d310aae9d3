"""A destination of Airbyte's through the real ``syncline sync``: what is promised, and what it does wrong."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.command import Done, succeed, syncline

from syncline.core.errors import POLICY, ErrorKind

SOURCE = Path(__file__).with_name("scripted.py")
KEEPER = Path(__file__).with_name("table_keeper.py")
pytestmark = pytest.mark.slow

TOKEN = "tok-81c2f0aa97"


class Project:
    """The scripted source into the table keeper."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SYNCLINE_HOME", str(folder / "home"))
        self.folder, self.file, self.note = folder, folder / "kept.sqlite", folder / "note"
        self.users = 120
        self.mode = "incremental_deduped_history"
        self.config: dict[str, Any] = {"file": str(self.file), "note": str(self.note), "api_token": TOKEN}
        self.more: dict[str, Any] = {}

    def write(self, *acts: Sequence[Any]) -> Path:
        source = {"command": [sys.executable, str(SOURCE)], "config": {"streams": {"users": self.users}}}
        config = {**self.config, "acts": list(acts)}
        destination = {"command": [sys.executable, "-S", str(KEEPER)], "config": config, **self.more}
        data = {
            "name": "c",
            "source": {"type": "airbyte", "config": source},
            "destination": {"type": "airbyte", "config": destination},
            "sync": {"mode": self.mode},
        }
        path = self.folder / "p.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    def sync(self, *acts: Sequence[Any]) -> Done:
        # A configuration that differs is another place; the acts of tests are no such difference.
        for place in self.folder.rglob("*.place.json"):
            place.unlink()
        return syncline("sync", self.write(*acts), "--json", "--attempts", "1")

    def ids(self) -> list[int]:
        con = sqlite3.connect(self.file)
        try:
            return sorted(json.loads(i) for (i,) in con.execute("SELECT id FROM users"))
        finally:
            con.close()

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line)[1][0] for line in self.note.read_text().splitlines()]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def failed(done: Done, kind: ErrorKind, words: str) -> None:
    assert done.code == POLICY[kind].exit_code, done.text
    assert words in done.text, done.text
    assert TOKEN not in done.text
    assert "Traceback" not in done.err


def test_first_and_incremental(project: Project) -> None:
    assert project.sync().code == 0
    assert project.ids() == list(range(120))
    project.users = 150
    assert project.sync().json["streams"][0]["rows_read"] == 30
    assert project.ids() == list(range(150))
    modes = [run["destination_sync_mode"] for run in project.runs()]
    assert modes == ["overwrite", "append_dedup", "append_dedup"]
    last = project.runs()[-1]
    assert (last["generation_id"], last["minimum_generation_id"]) == (1, 0)
    assert last["sync_id"] > project.runs()[0]["sync_id"]
    con = sqlite3.connect(project.file)
    found = con.execute('SELECT name, "at", price, tags, "on" FROM users WHERE id = ?', ["3"]).fetchone()
    con.close()
    assert [json.loads(text) for text in found] == [
        "users 3",
        "2026-01-01T00:00:03.000000Z",
        0.75,
        [3, {"k": "ü"}],
        False,
    ]
    assert last["stream"]["json_schema"]["properties"]["at"]["format"] == "date-time"


@pytest.mark.parametrize("refreshes", [False, True])
def test_a_whole_copy_takes_the_place_of_the_former(project: Project, refreshes: bool) -> None:
    project.mode = "full_refresh_overwrite"
    project.more = {"supports_refreshes": refreshes}
    project.config["refreshes"] = refreshes
    assert project.sync().code == 0
    project.users = 40
    assert project.sync().code == 0
    assert project.ids() == list(range(40))
    first, second = project.runs()
    assert first["destination_sync_mode"] == ("append" if refreshes else "overwrite")
    assert (first["generation_id"], second["generation_id"]) == (1, 2)
    assert second["minimum_generation_id"] == 2


def test_appended_rows_come_with_a_warning_and_whole(project: Project) -> None:
    project.mode = "incremental_append"
    done = syncline("sync", project.write())
    assert done.code == 0
    assert "at least once" in done.text
    project.users = 130
    assert project.sync().code == 0
    assert project.ids() == list(range(130))


WRONG: list[tuple[list[Any], ErrorKind, str]] = [
    (["exit", 30, 3], ErrorKind.TRANSIENT, "ended with exit code 3"),
    (["signal", 30, 9], ErrorKind.TRANSIENT, "killed by signal 9"),
    (["no echo"], ErrorKind.TRANSIENT, "never said that the rows are durable"),
    (["deaf", 30], ErrorKind.TRANSIENT, "never said that the rows are durable"),
    (["reject", 2], ErrorKind.DATA, "refused 2 of"),
    (["trace", f"no right to write, {TOKEN}", "config_error"], ErrorKind.CONFIG, "no right to write, ****"),
]


@pytest.mark.parametrize(("act", "kind", "words"), WRONG, ids=[str(w[0][0]) for w in WRONG])
def test_what_it_does_wrong_is_named_and_made_good(
    project: Project, act: list[Any], kind: ErrorKind, words: str
) -> None:
    assert project.sync().code == 0
    project.users = 200
    failed(project.sync(act), kind, words)
    assert syncline("state", "show", project.write(), "--json").code == 0
    done = project.sync()
    assert done.code == 0, done.text
    assert project.ids() == list(range(200))


def test_a_silent_one_is_ended(project: Project) -> None:
    project.more = {"max_seconds_between_messages": 1.5}
    failed(project.sync(["hang"]), ErrorKind.TRANSIENT, "has said nothing")


def test_what_it_says_besides_is_kept_without_secrets(project: Project) -> None:
    assert project.sync(["garbage"]).code == 0
    (log,) = project.folder.rglob("last-delivery.log")
    assert log.read_text() == "no message at all, with ****\n"


def test_a_configuration_that_it_changes_is_kept(project: Project) -> None:
    changed = {**project.config, "api_token": "tok-another-one", "acts": [["garbage"]]}
    assert project.sync(["control", changed]).code == 0
    project.users = 130
    assert project.sync(["control", changed]).code == 0
    assert "tok-another-one" not in next(project.folder.rglob("last-delivery.log")).read_text()
    assert project.ids() == list(range(130))


def test_another_place_needs_another_journal(project: Project) -> None:
    assert project.sync().code == 0
    project.config["file"] = str(project.folder / "other.sqlite")
    done = syncline("sync", project.write(), "--attempts", "1")
    failed(done, ErrorKind.CONFIG, "another config.file")
    assert not Path(project.config["file"]).exists()
    project.config["file"], project.config["api_token"] = str(project.file), "tok-rotated-meanwhile"
    assert syncline("sync", project.write(), "--attempts", "1").code == 0


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["incremental_deduped_history", "full_refresh_overwrite", "incremental_append"])
@pytest.mark.parametrize(
    "step", ["seal.after", "commit.inside", "commit.inside:2", "commit.inside:3", "publish.inside:2"]
)
def test_killed_at_any_step(project: Project, mode: str, step: str) -> None:
    """Everything arrives; only appended rows may come twice, and only where we die before the journal knows."""
    project.mode = mode
    path = project.write()
    environment = {**os.environ, "SYNCLINE_FAILPOINT": step}
    command = [sys.executable, "-m", "syncline", "sync", str(path), "--attempts", "1"]
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    succeed("sync", path)
    project.users = 130
    project.write()
    succeed("sync", path) if mode != "full_refresh_overwrite" else None
    ids = project.ids()
    expected = list(range(120 if mode == "full_refresh_overwrite" else 130))
    twice = mode == "incremental_append" and step == "commit.inside:2"
    assert (sorted(set(ids)) if twice else ids) == expected
    assert len(ids) == len(expected) + (120 if twice else 0)
