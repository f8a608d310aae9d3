"""What is said of attempts that could not speak for themselves."""

from __future__ import annotations

import errno
import os

import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.endings import never_begun, not_started, overdue
from syncline.jobs.verdict import StopReason


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ErrorKind.RESOURCE),
        (errno.EMFILE, ErrorKind.RESOURCE),
        (errno.ENOMEM, ErrorKind.RESOURCE),
        (errno.EAGAIN, ErrorKind.RESOURCE),
        (errno.EIO, ErrorKind.TRANSIENT),
    ],
)
def test_what_the_system_lacks_is_said(number: int, kind: ErrorKind) -> None:
    error = not_started(OSError(number, os.strerror(number)))
    assert error.kind is kind
    assert os.strerror(number) in error.message


def test_a_defect_ends_its_own_job_and_tells_no_value() -> None:
    error = not_started(ValueError("hunter2"))
    assert error.kind is ErrorKind.INTERNAL
    assert "ValueError" in error.message
    assert "hunter2" not in str(error)
    known = SynclineError(ErrorKind.CONFIG, "no")
    assert not_started(known) is known


def test_an_attempt_that_never_began_costs_its_job_none() -> None:
    assert never_begun().stop is StopReason.SHUTDOWN
    assert "12 s" in overdue(12.0).message
