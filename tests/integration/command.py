"""The ``syncline`` command run inside the test's own process, and project files to run it on."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from syncline.cli.main import main
from syncline.testing.postgres_server import PostgresServer


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def text(self) -> str:
        return self.out + self.err


def syncline(*arguments: str | Path) -> Done:
    """Run one command. ``SYNCLINE_HOME`` must be set by the test."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", ["syncline", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int), code
    return Done(code=code, out=out.getvalue(), err=err.getvalue())


def succeed(*arguments: str | Path) -> Done:
    """Run one command that must end with 0."""
    done = syncline(*arguments)
    assert done.code == 0, (arguments, done.out, done.err)
    return done


def postgres(server: PostgresServer, database: str, **more: Any) -> dict[str, Any]:
    """A connector block for a database of the test server."""
    params = server.params(database)
    config = {
        "host": params["host"],
        "port": params["port"],
        "database": database,
        "username": params["user"],
        "password": params["password"],
    }
    return {"type": "postgres", "config": {k: v for k, v in {**config, **more}.items() if v is not None}}


def project(path: Path, source: dict[str, Any], destination: dict[str, Any], **sync: Any) -> Path:
    """Write a project file of one connection, which is named as the file."""
    data = {"source": source, "destination": destination, "sync": sync}
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return path
