"""Processes that answer one question: they get it, are ended in time, and never outlive their server."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.children import Children

ECHO = [sys.executable, "-S", "-c", "import sys; sys.stdout.write(sys.stdin.read().upper())"]
#: Its child keeps the pipe open as well: whoever waits for the pipe's end waits for both.
SLEEP = ["sh", "-c", "sleep 60 & sleep 60"]


def test_a_question_is_answered() -> None:
    assert Children().ask(ECHO, b"hello", {}, 30.0) == b"HELLO"


def test_one_that_takes_too_long_is_ended_with_all_that_it_started() -> None:
    began = time.monotonic()
    with pytest.raises(SynclineError, match="no answer within") as caught:
        Children().ask(SLEEP, b"", {"PATH": "/usr/bin:/bin"}, 0.2)
    assert caught.value.kind is ErrorKind.UNREACHABLE
    assert time.monotonic() - began < 20


def test_whoever_waits_is_let_go_when_the_server_ends() -> None:
    children, said = Children(), []

    def wait() -> None:
        try:
            children.ask(SLEEP, b"", {"PATH": "/usr/bin:/bin"}, 60.0)
        except SynclineError as error:
            said.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)
    children.close()
    waiting.join(20)
    assert [error.kind for error in said] == [ErrorKind.TRANSIENT]
    with pytest.raises(SynclineError, match="being stopped"):
        children.ask(ECHO, b"", {}, 30.0)
