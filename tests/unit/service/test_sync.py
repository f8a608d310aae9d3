"""A job's attempts, with a launcher that ends them as the test wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult
from syncline.service.project import load_project
from syncline.service.sync import SyncOutcome, sync_connection
from syncline.settings import Settings

BROKE = SynclineError(ErrorKind.TRANSIENT, "the connection broke")
FILE = """
source: {type: files, config: {path: ".", streams: [{name: rows, globs: ["*.csv"], format: {filetype: csv}}]}}
destination: {type: local, config: {path: lake}}
"""


class Ends:
    """The ends of the attempts, in order; the last one comes again and again."""

    def __init__(self, *ends: AttemptResult) -> None:
        self.ends, self.launched = list(ends), 0

    def launch(self, spec: AttemptSpec, folder: Path, emit: EventSink) -> AttemptResult:
        self.launched += 1
        return self.ends[min(self.launched, len(self.ends)) - 1]


def run(tmp_path: Path, launcher: Ends, *, follow: bool) -> SyncOutcome:
    path = tmp_path / "project.yaml"
    path.write_text(FILE, encoding="utf-8")
    (connection,) = load_project(path).connections.values()
    settings = Settings(home=tmp_path / "home", keep_runs=5)
    return sync_connection(connection, settings, launcher, lambda _: None, follow=follow, sleep=lambda _: None)


def test_who_follows_tries_again_until_it_goes_on(tmp_path: Path) -> None:
    failed, well = AttemptResult(streams=(), seconds=0.0, error=BROKE), AttemptResult(streams=(), seconds=0.0)
    launcher = Ends(*[failed] * 20, well)
    assert run(tmp_path, launcher, follow=True).succeeded
    assert launcher.launched == 21


@pytest.mark.parametrize("follow", [True, False])
def test_no_attempt_follows_one_that_was_asked_to_end(tmp_path: Path, follow: bool) -> None:
    """The connection breaks in the moment in which SIGTERM arrives: the signal must not be lost over that."""
    launcher = Ends(AttemptResult(streams=(), seconds=0.0, error=BROKE, stopped=True))
    outcome = run(tmp_path, launcher, follow=follow)
    assert launcher.launched == 1
    assert outcome.result.error == BROKE


def test_that_it_was_asked_to_end_is_known_outside_of_its_process() -> None:
    stopped = AttemptResult(streams=(), seconds=0.0, stopped=True)
    assert AttemptResult.from_json(stopped.to_json()) == stopped
