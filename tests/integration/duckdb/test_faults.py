"""SIGKILL at each named step inside the destination, then another run; the content is that of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.duckdb.driver import Attempt, destination, people, plan, rows, target
from tests.integration.duckdb.killed_run import PARTITIONS, aim, batches

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import WriteMode

pytestmark = pytest.mark.slow

CONTENT = "SELECT * FROM orders ORDER BY ALL"
ASIDE = "SELECT count(*) FROM _syncline_quarantine"


def run(path: Path, write: WriteMode, number: int, failpoint: str | None = None) -> tuple[int, list[str]]:
    """Exit code and lines of a run in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "SYNCLINE_FAILPOINT"}
    if failpoint is not None:
        environment["SYNCLINE_FAILPOINT"] = failpoint
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.duckdb.killed_run", str(path), write.value, str(number)],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout.splitlines()


def undisturbed(path: Path, write: WriteMode) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Content and quarantine after both plans without a kill; in this process, which is quicker."""
    to = destination(path)
    for number in (1, 2):
        attempt = Attempt(to, aim(write, number), plan(*PARTITIONS, name=f"plan {number}"))
        for partition in PARTITIONS:
            attempt.commit(attempt.stage(partition, *batches(number, partition)))
        attempt.commit(publish=True)
    return rows(path, CONTENT), rows(path, ASIDE)


@pytest.mark.parametrize("write", list(WriteMode))
def test_killed_at_each_step(tmp_path: Path, write: WriteMode) -> None:
    expected = undisturbed(tmp_path / "expected.duckdb", write)
    path = tmp_path / "killed.duckdb"
    assert run(path, write, 1)[0] == 0
    # Each run is killed at another step and goes on where the one before it was killed.
    lines: list[str] = []
    for failpoint in ("seal.inside", "commit.inside:2", "seal.inside", "commit.inside:2", "publish.inside"):
        code, more = run(path, write, 2, failpoint)
        assert code == -signal.SIGKILL, failpoint
        lines += more
    code, more = run(path, write, 2)
    assert code == 0
    lines += more
    assert (rows(path, CONTENT), rows(path, ASIDE)) == expected
    # The second partition was sealed when its commit was killed: it is not read again.
    assert "recovered 1" in lines
    assert max(lines.count(f"read {p}") for p in PARTITIONS) <= 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["expected.duckdb", "killed.duckdb"]


@pytest.mark.faults
@pytest.mark.parametrize("write", list(WriteMode))
@pytest.mark.parametrize(
    "failpoint", [f"{step}:{n}" for step in ("seal.inside", "commit.inside") for n in (1, 2, 3)] + ["publish.inside"]
)
def test_killed_once_in_each_plan(tmp_path: Path, write: WriteMode, failpoint: str) -> None:
    expected = undisturbed(tmp_path / "expected.duckdb", write)
    path = tmp_path / "killed.duckdb"
    for number in (1, 2):
        assert run(path, write, number, failpoint)[0] == -signal.SIGKILL
        assert run(path, write, number)[0] == 0
    assert (rows(path, CONTENT), rows(path, ASIDE)) == expected


@pytest.mark.faults
@pytest.mark.parametrize("write", list(WriteMode))
def test_killed_at_any_moment(tmp_path: Path, write: WriteMode) -> None:
    expected = undisturbed(tmp_path / "expected.duckdb", write)
    path = tmp_path / "killed.duckdb"
    for number in (1, 2):
        for delay in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            arguments = [
                sys.executable,
                "-m",
                "tests.integration.duckdb.killed_run",
                str(path),
                write.value,
                str(number),
            ]
            process = subprocess.Popen(arguments, cwd=Path(__file__).parents[3], stdout=subprocess.DEVNULL)
            try:
                process.wait(delay)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        else:
            assert run(path, write, number)[0] == 0
    assert (rows(path, CONTENT), rows(path, ASIDE)) == expected


def test_a_zombie_can_neither_seal_nor_commit(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    to = destination(path)
    old = Attempt(to, target(WriteMode.APPEND), plan("0", "1"))
    sealed = old.stage("0", people([(1, "zombie", 1)]))
    half = to.writer(old.aim, "1", old.token)
    half.write(people([(2, "zombie", 1)]))

    new = Attempt(to, target(WriteMode.APPEND, sync_id="s2"), plan("0", name="other"))
    with pytest.raises(SynclineError) as caught:
        half.seal()
    assert caught.value.kind is ErrorKind.CONFLICT
    half.abort()
    with pytest.raises(SynclineError, match="gone") as caught:
        to.writer(old.aim, "0", old.token).write(people([(3, "zombie", 1)]))
    assert caught.value.kind is ErrorKind.CONFLICT
    for act in (
        lambda: old.commit(sealed),
        lambda: old.commit(publish=True),
        lambda: to.prepare(old.aim, old.checkpoint, old.token),
    ):
        with pytest.raises(SynclineError, match="a newer run holds the stream") as caught:
            act()
        assert caught.value.kind is ErrorKind.CONFLICT
    new.commit(new.stage("0", people([(9, "new", 1)])), publish=True)
    assert rows(path, CONTENT) == [(9, "new", 1)]


def test_a_commit_twice_is_refused(tmp_path: Path) -> None:
    to = destination(tmp_path / "x.duckdb")
    attempt = Attempt(to, target(WriteMode.APPEND), plan("0", "1"))
    before, staged = attempt.checkpoint, attempt.stage("0", people([(1, "a", 1)]))
    attempt.commit(staged)
    attempt.checkpoint = before
    with pytest.raises(SynclineError, match="cannot follow") as caught:
        attempt.commit(staged)
    assert caught.value.kind is ErrorKind.CONFLICT
    assert rows(tmp_path / "x.duckdb", CONTENT) == [(1, "a", 1)]


def test_stages_of_a_plan_that_starts_over_are_not_taken(tmp_path: Path) -> None:
    to = destination(tmp_path / "x.duckdb")
    first = Attempt(to, target(WriteMode.APPEND), plan("0", resumable=False))
    first.stage("0", people([(1, "old", 1)]))
    second = Attempt(to, target(WriteMode.APPEND), plan("0", resumable=False))
    assert second.recovered == []
    second.commit(second.stage("0", people([(2, "new", 1)])), publish=True)
    assert rows(tmp_path / "x.duckdb", CONTENT) == [(2, "new", 1)]


def test_an_aborted_writer_leaves_nothing(tmp_path: Path) -> None:
    to = destination(tmp_path / "x.duckdb")
    attempt = Attempt(to, target(WriteMode.APPEND), plan("0"))
    writer = to.writer(attempt.aim, "0", attempt.token)
    writer.write(people([(1, "a", 1)]))
    writer.abort()
    left = [p.name for p in (tmp_path / "x.duckdb.syncline").rglob("*") if p.is_file()]
    assert left == ["plan.json"]
    resumed = Attempt(to, attempt.aim, None, resume=True)
    assert resumed.recovered == []


def test_a_hidden_generation_that_is_gone_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    to = destination(path)
    attempt = Attempt(to, target(), plan("0", "1"))
    attempt.commit(attempt.stage("0", people([(1, "a", 1)])))
    import duckdb

    (name,) = rows(path, "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, '_syncline_g')")[0]
    with duckdb.connect(str(path)) as con:
        con.execute(f'DROP TABLE "{name}"')
    with pytest.raises(SynclineError, match="is gone") as caught:
        Attempt(to, attempt.aim, None, resume=True)
    assert caught.value.kind is ErrorKind.CONFLICT


def test_a_replace_that_starts_over_drops_what_it_began(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    to = destination(path)
    first = Attempt(to, target(generation=1), plan("0", "1", name="p1"))
    first.commit(first.stage("0", people([(1, "old", 1)])))
    second = Attempt(to, target(generation=2), plan("0", name="p2"))
    assert len(rows(path, "SELECT 1 FROM duckdb_tables() WHERE starts_with(table_name, '_syncline_g')")) == 1
    second.commit(second.stage("0", people([(2, "new", 1)])), publish=True)
    assert rows(path, CONTENT) == [(2, "new", 1)]
