"""Each row of the users' troubleshooting table is recognised, from errors as connectors raise them."""

from __future__ import annotations

import re

import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.causes import CAUSES, diagnose


@pytest.mark.parametrize(
    ("error", "cause", "commands"),
    [
        (
            SynclineError(
                ErrorKind.UNREACHABLE,
                'connection failed: connection to server at "10.0.0.7", port 5432 failed: Connection refused',
                where={"connector": "source postgres", "host": "10.0.0.7", "port": 5432},
            ),
            "connection refused",
            ["nc -vz 10.0.0.7 5432", "security groups", "ssh -N -L 5432:10.0.0.7:5432"],
        ),
        (
            SynclineError(
                ErrorKind.CONFLICT, "replication slot syncline_ab does not exist any more, somebody dropped it"
            ),
            "replication slot missing",
            ["pg_replication_slots", "pg_create_logical_replication_slot"],
        ),
        (
            SynclineError(
                ErrorKind.PERMISSION,
                "s3:PutObject on v1-data-lake/bronze is denied",
                where={"connector": "destination s3", "bucket": "v1-data-lake"},
            ),
            "S3 permission denied",
            ["get-bucket-policy --bucket v1-data-lake", "s3:PutObject"],
        ),
        (SynclineError(ErrorKind.AUTH, 'password authentication failed for user "x"'), "wrong credentials", ["check"]),
        (
            SynclineError(ErrorKind.TRANSIENT, "timeout: nothing was read or committed for 600 s"),
            "no progress",
            ["pg_blocking_pids"],
        ),
        (
            SynclineError(ErrorKind.TRANSIENT, "the attempt's process ended by signal SIGKILL before it could report"),
            "out of memory",
            ["dmesg"],
        ),
        (SynclineError(ErrorKind.RESOURCE, "No space left on device"), "disk full", ["df -h"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_recognised(error: SynclineError, cause: str, commands: list[str]) -> None:
    first = diagnose(error)[0]
    assert first.name == cause
    for command in commands:
        assert any(command in each for each in first.commands), (command, first.commands)
    assert not any(re.search(r"\{\w+\}", each) for each in first.commands), "a place that was not filled in"


def test_the_log_tells_what_the_error_does_not() -> None:
    error = SynclineError(ErrorKind.INTERNAL, "something")
    found = diagnose(error, ["INFO all well", "WARN HTTP 429 from api.example.com", "INFO bye"])
    assert [each.name for each in found] == ["rate limit"]
    assert found[0].evidence == "WARN HTTP 429 from api.example.com"


def test_the_unknown_is_not_guessed() -> None:
    assert diagnose(SynclineError(ErrorKind.INTERNAL, "ZeroDivisionError: division by zero")) == []


def test_patterns_are_well_formed() -> None:
    assert len({cause.name for cause in CAUSES}) == len(CAUSES)
    for cause in CAUSES:
        re.compile(cause.pattern)
        assert cause.commands
