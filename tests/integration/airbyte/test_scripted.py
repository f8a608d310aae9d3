"""Connectors of our own that behave and misbehave, through the real ``syncline sync``: named errors, nothing lost,
nothing twice, and the next run goes on from the last good state."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest
import yaml
from tests.integration.command import Done, postgres, syncline

from syncline.core.errors import POLICY, ErrorKind
from syncline.testing.postgres_server import PostgresServer

SCRIPT = Path(__file__).with_name("scripted.py")
TOKEN = "tok-3f9c2e7b11"


class Project:
    """A project file with the scripted connector as its source."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SYNCLINE_HOME", str(folder / "home"))
        self.folder, self.note = folder, folder / "note"
        self.database = folder / "out.duckdb"
        self.config: dict[str, Any] = {"streams": {"users": 120}, "api_token": TOKEN, "note": str(self.note)}
        self.source: dict[str, Any] = {"command": [sys.executable, str(SCRIPT)]}
        self.destination: dict[str, Any] = {"type": "duckdb", "config": {"destination_path": str(self.database)}}
        self.mode = "incremental_append"

    def sync(self, *acts: Sequence[Any], attempts: int = 1) -> Done:
        source = {**self.source, "config": {**self.config, "acts": list(acts)}}
        data = {
            "name": "c",
            "source": {"type": "airbyte", "config": source},
            "destination": self.destination,
            "sync": {"mode": self.mode},
        }
        path = self.folder / "p.yaml"
        path.write_text(yaml.safe_dump(data))
        return syncline("sync", path, "--json", "--attempts", str(attempts))

    def rows(self, columns: str = "id", table: str = "users") -> list[Any]:
        with duckdb.connect(str(self.database), read_only=True) as con:
            return con.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()

    def ids(self, table: str = "users") -> list[int]:
        return [i for (i,) in self.rows(table=table)]

    def reads(self) -> list[list[Any]]:
        said = [json.loads(line) for line in self.note.read_text().splitlines()]
        return [each for each in said if each[0] == "read"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def failed(done: Done, kind: ErrorKind, words: str) -> None:
    assert done.code == POLICY[kind].exit_code, done.text
    assert words in done.text, done.text
    assert TOKEN not in done.text
    assert "Traceback" not in done.err


@pytest.mark.parametrize("mode", ["incremental_append", "incremental_deduped_history", "full_refresh_overwrite"])
def test_a_good_connector_first_and_again(project: Project, mode: str) -> None:
    project.mode = mode
    project.config["streams"]["orders"] = 7
    assert project.sync().code == 0
    assert project.ids() == list(range(120))
    assert project.ids("orders") == list(range(7))
    found = project.rows('name, "at"::VARCHAR, price, tags::VARCHAR, "on"')[3]
    assert found[0] == "users 3"
    assert found[2:] == (0.75, '[3, {"k": "\\u00fc"}]', False)
    project.config["streams"]["users"] = 150
    assert project.sync().code == 0
    assert project.ids() == list(range(150))
    state = project.reads()[1][3]
    if mode.startswith("full"):
        assert state is None
    else:
        assert {s["stream"]["stream_descriptor"]["name"]: s["stream"]["stream_state"] for s in state} == {
            "users": {"n": 120},
            "orders": {"n": 7},
        }


def test_into_postgres_and_files(project: Project, postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database()
    project.destination = postgres(postgres_server, database)
    project.mode = "incremental_deduped_history"
    assert project.sync().code == 0
    project.config["streams"]["users"] = 130
    assert project.sync().code == 0
    with postgres_server.connect(database) as connection:
        found = connection.execute("SELECT count(*), sum(id), count(tags->0) FROM users").fetchone()
    assert found == (130, sum(range(130)), 130)
    postgres_server.drop_database(database)


def test_into_parquet(project: Project) -> None:
    folder = project.folder / "lake"
    project.destination = {"type": "local", "config": {"destination_path": str(folder)}}
    assert project.sync().code == 0
    project.config["streams"]["users"] = 130
    assert project.sync().code == 0
    files = [str(p) for p in folder.rglob("*.parquet")]
    assert sorted(ds.dataset(files).to_table(columns=["id"]).column("id").to_pylist()) == list(range(130))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (["exit", 1], "exit code 1"),
        (["signal", 9], "killed by signal 9"),
        (["hang"], "has said nothing"),
        (["raw", '{"type": "RECORD", "record": {"stream": "users", "da'], "not valid JSON"),
    ],
)
@pytest.mark.parametrize("mode", ["incremental_append", "incremental_deduped_history"])
def test_what_came_before_the_last_state_is_kept(project: Project, mode: str, end: list[Any], words: str) -> None:
    project.mode = mode
    if end == ["hang"]:  # every other connector may be slow to start on a busy machine
        project.source["max_seconds_between_messages"] = 1.0
    acts: list[Any] = [["rows", "users", 0, 40], ["state", "users", 40, 40], ["rows", "users", 40, 55], end]
    kind = ErrorKind.DATA if "JSON" in words else ErrorKind.TRANSIENT
    failed(project.sync(*acts), kind, words)
    if mode == "incremental_append":
        assert project.ids() == list(range(40))
    assert project.sync().code == 0
    assert project.ids() == list(range(120))
    assert project.reads()[1][3][0]["stream"]["stream_state"] == {"n": 40}
    for _, pid, *_ in project.reads():
        assert not _group_lives(pid), "something of the connector's process group still runs"


@pytest.mark.parametrize(
    ("mode", "generations"),
    [
        ("full_refresh_overwrite", [(1, 1), (2, 2)]),
        ("full_refresh_append", [(1, 0), (2, 0)]),
        ("incremental_append", [(1, 0), (1, 0)]),
        ("incremental_deduped_history", [(1, 1), (1, 0)]),
    ],
)
def test_the_connector_is_told_of_generations(project: Project, mode: str, generations: list[tuple[int, int]]) -> None:
    project.mode = mode
    found, runs = [], []
    for _ in generations:
        assert project.sync().code == 0
        (said,) = json.loads(project.note.with_name("configured").read_text())
        found.append((said["generation_id"], said["minimum_generation_id"]))
        runs.append(said["sync_id"])
    assert found == generations
    assert runs[0] < runs[1]


def _group_lives(pid: int) -> bool:
    for _ in range(20):
        try:
            os.killpg(pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        time.sleep(0.1)
    return True


def test_the_next_attempt_of_a_job_goes_on_by_itself(project: Project) -> None:
    acts: list[Any] = [["rows", "users", 0, 40], ["state", "users", 40, 40], ["exit", 1]]
    done = project.sync(*acts, attempts=2)
    failed(done, ErrorKind.TRANSIENT, "exit code 1")
    assert [read[3] and read[3][0]["stream"]["stream_state"] for read in project.reads()] == [None, {"n": 40}]


def test_garbage_and_stderr_are_logs(project: Project) -> None:
    acts: list[Any] = [
        ["raw", "Downloading 42%"],
        ["raw", "{broken"],
        ["stderr", f"a warning with {TOKEN}"],
        ["raw", '"text"'],
        ["rows", "users", 0, 3],
        ["raw", '{"type": "FUTURE", "future": {}}'],
        ["state", "users", 3, 3],
        ["status", "users", "COMPLETE"],
    ]
    done = project.sync(*acts)
    assert done.code == 0, done.text
    assert project.ids() == [0, 1, 2]
    journal = "".join(p.read_text() for p in (project.folder / "home" / "runs").rglob("*") if p.is_file())
    assert "Downloading 42%" in journal
    assert "a warning with ****" in journal
    assert TOKEN not in journal


def test_without_complete_a_copy_is_not_seen(project: Project) -> None:
    project.mode = "full_refresh_overwrite"
    assert project.sync().code == 0
    acts: list[Any] = [["rows", "users", 0, 5], ["status", "users", "INCOMPLETE"]]
    failed(project.sync(*acts), ErrorKind.TRANSIENT, "says INCOMPLETE")
    assert len(project.ids()) == 120
    # A connector from before stream statuses: its exit code alone decides.
    assert project.sync(["rows", "users", 0, 5]).code == 0
    assert len(project.ids()) == 5


def test_a_trace_error_names_its_kind(project: Project) -> None:
    said = {"message": f"401: {TOKEN} has expired", "failure_type": "config_error", "internal_message": "Unauthorized"}
    acts: list[Any] = [["rows", "users", 0, 5], ["trace", {"type": "ERROR", "error": said}], ["exit", 1]]
    failed(project.sync(*acts, attempts=3), ErrorKind.CONFIG, "401: **** has expired")
    assert len(project.reads()) == 1


def test_a_storm_of_limits_ends_the_run_and_the_next_goes_on(project: Project) -> None:
    own = {"stream_descriptor": {"name": "users"}, "status": "RUNNING", "reasons": [{"type": "RATE_LIMITED"}]}
    said = {"message": "429: too many requests", "failure_type": "transient_error"}
    acts: list[Any] = [
        ["rows", "users", 0, 40],
        ["state", "users", 40, 40],
        *[["trace", {"type": "STREAM_STATUS", "stream_status": own}]] * 50,
        ["trace", {"type": "ERROR", "error": said}],
        ["status", "users", "INCOMPLETE"],
        ["exit", 1],
    ]
    failed(project.sync(*acts), ErrorKind.TRANSIENT, "429: too many requests")
    journal = "".join(p.read_text() for p in (project.folder / "home" / "runs").rglob("*") if p.is_file())
    assert "the connector says: RATE_LIMITED" in journal
    assert project.sync().code == 0
    assert project.ids() == list(range(120))
    assert project.reads()[1][3][0]["stream"]["stream_state"] == {"n": 40}


def test_a_type_that_changes_in_the_middle(project: Project) -> None:
    """The first part stays committed as it was; what no longer fits is set aside, with every value."""
    acts: list[Any] = [
        ["rows", "users", 0, 2],
        ["state", "users", 2, 2],
        ["data", "users", {"id": 2, "name": "n", "price": {"amount": 1, "currency": "EUR"}}],
        ["data", "users", {"id": 3, "name": ["a", "b"], "price": 1}],
        ["state", "users", 4, 2],
        ["status", "users", "COMPLETE"],
    ]
    done = project.sync(*acts)
    assert done.code == 0, done.text
    assert project.rows("id, name")[2:] == [(3, '["a", "b"]')]
    assert done.json["streams"][0]["rows_quarantined"] == 1


def test_a_failed_check_stops_before_anything_is_read(project: Project) -> None:
    project.config["check"] = "FAILED"
    failed(project.sync(), ErrorKind.CONFIG, "401: bad ****")
    assert project.reads() == []


def test_contradicting_types_are_turned_or_set_aside_and_counted(project: Project) -> None:
    good = {"at": "2026-01-01", "price": 1, "tags": None, "on": True}
    acts: list[Any] = [
        ["rows", "users", 0, 2],
        ["data", "users", {**good, "id": "2", "name": 17}],
        ["data", "users", {**good, "id": 3.0, "name": {"a": 1}, "price": "2.5"}],
        ["data", "users", {**good, "id": 4, "name": "x", "price": "much"}],
        ["data", "users", {**good, "id": 5, "name": None, "at": "yesterday"}],
        ["state", "users", 6, 6],
        ["status", "users", "COMPLETE"],
    ]
    done = project.sync(*acts)
    assert done.code == 0, done.text
    assert project.rows("id, name, price")[2:] == [(2, "17", 1.0), (3, '{"a": 1}', 2.5)]
    stream = done.json["streams"][0]
    assert (stream["rows_read"], stream["rows_written"], stream["rows_quarantined"]) == (6, 4, 2)


def test_a_column_that_appears_in_the_middle_is_said_and_the_rest_kept(project: Project) -> None:
    acts: list[Any] = [
        ["rows", "users", 0, 2],
        ["state", "users", 2, 2],
        ["data", "users", {"id": 2, "name": "n", "surprise": 1}],
        ["state", "users", 3, 1],
        ["status", "users", "COMPLETE"],
    ]
    assert project.sync(*acts).code == 0
    assert project.rows("id, name")[2] == (2, "n")
    journal = "".join(p.read_text() for p in (project.folder / "home" / "runs").rglob("*") if p.is_file())
    assert "column surprise is not in the connector's catalog" in journal


def test_a_record_of_fifty_megabytes(project: Project) -> None:
    acts: list[Any] = [
        ["rows", "users", 0, 2],
        ["big", "users", 2, 50_000_000],
        ["rows", "users", 3, 4],
        ["state", "users", 4, 4],
        ["status", "users", "COMPLETE"],
    ]
    assert project.sync(*acts).code == 0
    assert project.rows("id, length(name)")[2] == (2, 50_000_000)


def test_a_state_before_its_records(project: Project) -> None:
    acts: list[Any] = [["state", "users", 0, 0], ["rows", "users", 0, 9], ["exit", 1]]
    failed(project.sync(*acts), ErrorKind.TRANSIENT, "exit code 1")
    assert project.sync().code == 0
    assert project.ids() == list(range(120))


def test_records_and_states_of_an_unknown_stream_are_left_out(project: Project) -> None:
    acts: list[Any] = [
        ["rows", "strangers", 0, 3],
        ["state", "strangers", 3, 3],
        ["rows", "users", 0, 3],
        ["state", "users", 3, 3],
        ["status", "users", "COMPLETE"],
    ]
    assert project.sync(*acts).code == 0
    assert project.ids() == [0, 1, 2]


def test_a_common_state_goes_on_for_all(project: Project) -> None:
    project.config["streams"]["orders"] = 7
    acts: list[Any] = [
        ["rows", "users", 0, 5],
        ["rows", "orders", 0, 2],
        ["global", {"users": 5, "orders": 2}],
        ["exit", 1],
    ]
    project.mode = "incremental_deduped_history"
    failed(project.sync(*acts), ErrorKind.TRANSIENT, "exit code 1")
    assert project.sync().code == 0
    (given,) = project.reads()[1][3]
    assert given["type"] == "GLOBAL"
    assert given["global"]["shared_state"] == {"lsn": 7}
    assert (project.ids(), project.ids("orders")) == (list(range(120)), list(range(7)))


def test_a_changed_configuration_is_saved_at_once_and_used_next_time(project: Project) -> None:
    acts: list[Any] = [["control", {**project.config, "api_token": "rotated-token-2"}], ["exit", 1]]
    assert project.sync(*acts, attempts=2).code == 0  # the changed configuration says nothing of acts
    assert [read[2] for read in project.reads()] == [TOKEN, "rotated-token-2"]
    (saved,) = (project.folder / "home").rglob("airbyte-config.json")
    assert saved.stat().st_mode & 0o777 == 0o600
    # The user's own new configuration takes its place.
    project.config["api_token"] = "tok-by-hand-77"
    assert project.sync().code == 0
    assert project.reads()[-1][2] == "tok-by-hand-77"


def test_nothing_private_stays_behind(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    private = project.folder / "tmp"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    monkeypatch.setenv("TMPDIR", str(private))
    assert project.sync().code == 0
    assert not list(private.glob("syncline-connector-*"))


def test_what_cannot_be_started_or_is_no_connector(project: Project) -> None:
    project.source["command"] = ["/nonexistent/connector"]
    failed(project.sync(), ErrorKind.CONFIG, "cannot be started")
    project.source["command"] = [sys.executable, "-c", "print('hello')"]
    failed(project.sync(), ErrorKind.CONFIG, "gave no answer to discover")
    project.source = {"package": "stripe"}
    failed(project.sync(), ErrorKind.CONFIG, "syncline connectors install airbyte-source-stripe")
