"""A process that dies, or sleeps, at any change it makes to the store: afterwards every row is there once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.files.driver import (
    Crash,
    Step,
    attempt,
    by_folder,
    by_manifest,
    counted,
    destination,
    leftovers,
    local,
    s3,
    source,
)

from syncline.connectors.files.config import FilesDestinationConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import WriteMode

pytestmark = pytest.mark.slow

MODES = [WriteMode.REPLACE, WriteMode.APPEND]
#: No attempt of these tests changes the store more often; the walk over the steps ends by itself before.
MANY = 200


@pytest.fixture(params=["local", "s3", pytest.param("s3 every step", marks=pytest.mark.slow)])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FilesDestinationConfig]:
    if request.param == "local":
        yield local(tmp_path / "lake")
        return
    server = request.getfixturevalue("s3_server")
    config = s3(server, request.getfixturevalue("s3_bucket"))
    yield config if request.param == "s3" else config.model_copy(update={"target_file_size": 10**6})


def stride(config: FilesDestinationConfig) -> int:
    """Every step for local files; a walk over S3 takes a minute, so there by default every fifth."""
    return 5 if hasattr(config, "s3_bucket_path") and config.target_file_size != 10**6 else 1


def fresh(config: FilesDestinationConfig, tmp_path: Path, number: int) -> FilesDestinationConfig:
    """The same store, another folder."""
    if hasattr(config, "s3_bucket_path"):
        return config.model_copy(update={"s3_bucket_path": f"n{number}/"})
    return config.model_copy(update={"path": tmp_path / f"n{number}"})


def expected(write: WriteMode, first: Any, second: Any) -> Counter[Any]:
    return counted(second) if write is WriteMode.REPLACE else counted(first, second)


def steps(config: FilesDestinationConfig) -> Iterator[tuple[int, bool]]:
    """The numbers of the changes at which to stop, and whether after them: that is before the next, unless several run
    at once, so each second time is enough."""
    for number in range(0, MANY, stride(config)):
        yield number, number % 2 == 1


@pytest.mark.parametrize("write", MODES)
def test_dies_at_each_step(config: FilesDestinationConfig, write: WriteMode, tmp_path: Path) -> None:
    one, two = source(1), source(2)
    ended = False
    for number, after in steps(config):
        place = fresh(config, tmp_path, number * 2 + after)
        attempt(destination(place, tmp_path), 1, one, write)

        dying = destination(place, tmp_path)

        def die() -> None:
            raise Crash

        step = Step(dying._store, number, die, after=after)
        dying._store = step
        try:
            attempt(dying, 2, two, write)
        except Crash:
            pass
        else:
            ended = True

        reader = destination(place, tmp_path)
        seen = by_manifest(reader)
        if write is WriteMode.REPLACE:
            assert seen in (counted(one), counted(two)), f"a mixture is visible after {step.names}"
        else:
            # Visible are whole commits only.
            parts = [counted({p: rows}) for p, rows in two.items()]
            assert seen - counted(one) in [sum(parts[:n], Counter()) for n in range(4)], step.names

        after_crash = destination(place, tmp_path)
        attempt(after_crash, 2, two, write)
        assert by_manifest(after_crash) == expected(write, one, two), step.names
        attempt(destination(place, tmp_path), 3, {}, WriteMode.APPEND)  # a run with nothing to do cleans up the rest
        assert by_manifest(after_crash) == expected(write, one, two), step.names
        assert by_folder(after_crash) == expected(write, one, two), step.names
        assert leftovers(after_crash) == [], step.names
        if ended:
            assert number > 12, "too few steps were seen for this test to mean something"
            return
    pytest.fail("the attempt never ended by itself")


@pytest.mark.parametrize("write", MODES)
def test_sleeps_at_each_step_while_another_takes_over(
    config: FilesDestinationConfig, write: WriteMode, tmp_path: Path
) -> None:
    one, two, three = source(1), source(2), source(3)
    ended = False
    conflicts = 0
    for number, after in steps(config):
        place = fresh(config, tmp_path, number * 2 + after)
        attempt(destination(place, tmp_path), 1, one, write)
        asleep, wake = threading.Event(), threading.Event()

        def sleep(asleep: threading.Event = asleep, wake: threading.Event = wake) -> None:
            asleep.set()
            assert wake.wait(60)

        zombie = destination(place, tmp_path)
        step = Step(zombie._store, number, sleep, after=after)
        zombie._store = step
        failures: list[BaseException] = []

        def run(zombie: Any = zombie, failures: list[BaseException] = failures, asleep: Any = asleep) -> None:
            try:
                attempt(zombie, 2, two, write)
            except (Exception, Crash) as failure:  # noqa: BLE001 - looked at below
                failures.append(failure)
            finally:
                asleep.set()

        thread = threading.Thread(target=run)
        thread.start()
        assert asleep.wait(60)
        ended = step.count <= number
        attempt(destination(place, tmp_path), 2, two, write)
        attempt(destination(place, tmp_path), 3, three, write)
        wake.set()
        thread.join(60)
        for error in failures:
            assert isinstance(error, SynclineError), error
            # Fenced off; or its upload was thrown away under its hands, as one of a dead attempt, to which the S3 of
            # the tests answers 500 instead of NoSuchUpload when a part is sent.
            assert error.kind in (ErrorKind.CONFLICT, ErrorKind.DATA, ErrorKind.TRANSIENT), error
            conflicts += 1
        last = destination(place, tmp_path)
        attempt(last, 4, {}, WriteMode.APPEND)
        wanted = counted(three) if write is WriteMode.REPLACE else counted(one, two, three)
        assert by_manifest(last) == wanted, step.names
        assert by_folder(last) == wanted, step.names
        assert leftovers(last) == [], step.names
        if ended:
            assert conflicts > (5 if stride(config) == 1 else 0)
            return
    pytest.fail("the attempt never ended by itself")
