"""Steps after a sync: SQL at the destination, a command, an HTTP call, a Databricks job; and that their failure is the
job's. The workspace is a small server that speaks the Jobs API as documented: nothing real can be had."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.integration.quality.pipe import Pipe

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.transform.facts import filled, filled_sql
from syncline.jobs.transform.program import run_program
from syncline.jobs.transform.step import parse_steps
from syncline.jobs.transform.web import run_http
from syncline.service.transforms import allowed_steps
from syncline.settings import JobSettings
from syncline.testing.postgres_server import PostgresServer


class Workspace:
    """Answers as scripted, remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.states: list[dict[str, Any]] = []
        self.status = 200
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                workspace.asked.append((self.command, self.path, dict(self.headers), body))
                data: Any = {}
                if self.path.endswith("/run-now"):
                    data = {"run_id": 77}
                elif "/runs/get" in self.path:
                    data = {"state": workspace.states.pop(0), "run_page_url": "http://workspace/77"}
                self.send_response(workspace.status)
                self.end_headers()
                self.wfile.write(json.dumps(data).encode())

            do_GET = do_POST = _answer  # noqa: N815 - names of the library

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    yield made
    made.close()


@pytest.fixture(params=["duckdb", "postgres"])
def pipe(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Pipe:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return Pipe(postgres_server, postgres_db, tmp_path, request.param)


@pytest.mark.slow
def test_steps_follow_a_sync_in_order_and_know_its_facts(
    pipe: Pipe, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret-token")
    (pipe.folder / "models").mkdir()
    (pipe.folder / "models" / "daily.sql").write_text(
        "CREATE TABLE IF NOT EXISTS daily (run text, n int);\n"
        "INSERT INTO daily SELECT {{sync_id}}, {{rows_written}} FROM customers LIMIT 1;"
    )
    script = "import os, pathlib; pathlib.Path('seen').write_text(os.environ['SYNCLINE_RUN_ROWS_WRITTEN'])"
    workspace.states = [
        {"life_cycle_state": "RUNNING"},
        {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"},
    ]
    databricks = {"host": workspace.url, "token": "${TOKEN}", "job_id": 5, "poll_seconds": 0.01}
    steps = [
        {"sql": "models/daily.sql"},
        {"command": [sys.executable, "-c", script]},
        {"http": {"url": workspace.url + "/hook", "body": {"rows": "{{ rows_written }}"}}},
        {"databricks": databricks, "name": "lake"},
    ]
    pipe.project([], {"transforms": steps})
    done = pipe.sync()
    assert done.code == 0, done.text
    assert pipe.rows("SELECT run, n FROM dst.daily") == [(done.json["sync_id"], 5)]
    assert (pipe.folder / "seen").read_text() == "5"
    hook, started, *polls = workspace.asked
    assert hook[3] == {"rows": "5"}
    assert started[1] == "/api/2.1/jobs/run-now"
    assert started[2]["Authorization"] == "Bearer s3cret-token"
    assert started[3]["job_id"] == 5
    assert started[3]["job_parameters"]["rows_written"] == "5"
    assert len(polls) == 2
    assert "s3cret" not in done.text


@pytest.mark.slow
def test_a_failed_step_fails_the_job_and_stops_the_later_ones(pipe: Pipe) -> None:
    pipe.project(
        [], {"transforms": [{"sql": {"script": "CREATE TABLE kept (a int); SELECT nonsense"}}, {"command": ["true"]}]}
    )
    done = pipe.sync()
    assert done.code == 8
    assert "refused the script" in done.json["error"]["message"]
    assert done.json["error"]["where"]["step"] == "sql 1"
    assert len(pipe.rows()) == 5  # the rows are there
    (journal,) = (pipe.folder / "home").rglob("attempt-1.jsonl")
    told = [json.loads(line) for line in journal.read_text().splitlines()]
    ends = [(t["event"], t["status"]) for t in told if t["event"] in ("TransformFinished", "AttemptFinished")]
    assert ends == [("TransformFinished", "failed"), ("AttemptFinished", "failed")]  # the step is part of the attempt
    with pytest.raises(Exception, match=r"kept"):
        pipe.rows("SELECT * FROM dst.kept")  # nothing of the script is
    pipe.project([{"min_records": 100}], {"transforms": [{"command": ["touch", "ran"]}]})
    assert pipe.sync().code == 8
    assert not (pipe.folder / "ran").exists()  # nothing follows a sync that failed


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"life_cycle_state": "TERMINATED", "result_state": "FAILED", "state_message": "no cluster"}, "no cluster"),
        ({"life_cycle_state": "INTERNAL_ERROR"}, "INTERNAL_ERROR"),
    ],
)
def test_a_databricks_run_that_fails_says_why(workspace: Workspace, state: dict[str, Any], words: str) -> None:
    from syncline.jobs.transform.databricks import run_databricks

    workspace.states = [state]
    options = {"host": workspace.url, "token": "t", "job_id": 1, "poll_seconds": 0.01}
    with pytest.raises(SynclineError, match=words) as caught:
        run_databricks(options, {}, 5.0, "key")
    assert caught.value.kind is ErrorKind.DATA


def test_a_databricks_run_that_takes_too_long_is_cancelled(workspace: Workspace) -> None:
    from syncline.jobs.transform.databricks import run_databricks

    workspace.states = [{"life_cycle_state": "RUNNING"}] * 1000
    options = {"host": workspace.url, "token": "t", "job_id": 1, "poll_seconds": 0.05}
    with pytest.raises(SynclineError, match="cancelled"):
        run_databricks(options, {}, 0.3, "key")
    assert workspace.asked[-1][1] == "/api/2.1/jobs/runs/cancel"


@pytest.mark.parametrize(("status", "kind"), [(500, ErrorKind.TRANSIENT), (403, ErrorKind.AUTH), (404, ErrorKind.DATA)])
def test_an_answer_that_is_no_success(workspace: Workspace, status: int, kind: ErrorKind) -> None:
    workspace.status = status
    with pytest.raises(SynclineError) as caught:
        run_http({"url": workspace.url}, {"rows_written": 1}, 5.0)
    assert caught.value.kind is kind
    assert run_http({"url": workspace.url, "expect": status}, {}, 5.0) == f"answered {status}"


def test_nobody_answers() -> None:
    with pytest.raises(SynclineError) as caught:
        run_http({"url": "http://127.0.0.1:9"}, {}, 2.0)
    assert caught.value.kind is ErrorKind.UNREACHABLE
    with pytest.raises(SynclineError, match="no http address"):
        run_http({"url": "file:///etc/passwd"}, {}, 2.0)


def test_a_program_is_ended_by_the_clock_with_all_that_it_has_started(tmp_path: Path) -> None:
    said: list[str] = []
    script = f"echo begun; (sleep 1; touch {tmp_path}/late) & sleep 60"
    with pytest.raises(SynclineError, match="took longer") as caught:
        run_program(["sh", "-c", script], env={}, folder=None, timeout=0.4, tell=said.append)
    assert caught.value.kind is ErrorKind.RESOURCE
    assert said == ["begun"]
    threading.Event().wait(1.0)
    assert not (tmp_path / "late").exists()


def test_a_program_sees_no_secrets_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_SECRET_KEY", "hidden")
    said: list[str] = []
    run_program(["env"], env={"SYNCLINE_RUN_SYNC_ID": "x"}, folder=None, timeout=5, tell=said.append)
    assert "SYNCLINE_RUN_SYNC_ID=x" in said
    assert not any("hidden" in line for line in said)
    with pytest.raises(SynclineError, match="ended with code 3"):
        run_program(["sh", "-c", "exit 3"], env={}, folder=None, timeout=5, tell=said.append)
    with pytest.raises(SynclineError, match="cannot be started"):
        run_program(["no-such-program"], env={}, folder=None, timeout=5, tell=said.append)


def test_facts_are_literals_in_sql_and_an_unknown_one_is_named() -> None:
    facts: dict[str, str | int] = {"streams": "o'; DROP TABLE x; --", "rows_written": 3}
    assert filled_sql("SELECT {{ streams }}, {{rows_written}}", facts) == "SELECT 'o''; DROP TABLE x; --', 3"
    assert filled({"a": ["{{rows_written}}"]}, facts) == {"a": ["3"]}
    with pytest.raises(SynclineError, match="it has: streams"):
        filled("{{nonsense}}", facts)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"sqll": "a.sql"}, "did you mean 'sql'"),
        ({"command": "rm -rf /"}, "list of arguments"),
        ({"http": {"url": "http://x", "verb": "PUT"}}, "has no option 'verb'"),
        ({"databricks": {"host": "h"}}, "needs token"),
        ({"sql": {"script": "SELECT 1"}, "timeout": 0}, "timeout"),
        ({"sql": "a.sql", "http": "http://x"}, "one kind"),
        ("sql", "no mapping"),
    ],
)
def test_what_cannot_be_a_step(item: Any, words: str) -> None:
    with pytest.raises(SynclineError) as caught:
        parse_steps([item], lambda _: "SELECT 1")
    assert words in str(caught.value)


def test_a_server_runs_programs_only_when_its_operator_says_so() -> None:
    steps = [s.to_json() for s in parse_steps([{"command": ["true"]}])]
    with pytest.raises(SynclineError, match="SYNCLINE_PROGRAMS") as caught:
        allowed_steps(steps, JobSettings())
    assert caught.value.kind is ErrorKind.PERMISSION
    assert len(allowed_steps(steps, JobSettings(programs=True))) == 1
