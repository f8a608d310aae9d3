"""The whole application on a free port, over a store of its own, with or without authentication."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from syncline.api.serve import bind, make_server
from syncline.service.control import Control, open_control
from syncline.service.first_start import FirstStart, first_start
from syncline.settings import ServerSettings

__all__ = ["Served", "served"]

POSTGRES = {
    "sourceType": "postgres",
    "host": "db.invalid",
    "port": 5432,
    "database": "shop",
    "username": "reader",
    "password": "hunter2-secret",
    "schemas": ["public"],
}
DUCKDB = {"destinationType": "duckdb", "destination_path": "/nowhere/copy.duckdb"}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server: its address, its store, and the credentials of its first start."""

    base: str
    control: Control
    first: FirstStart

    @property
    def workspace(self) -> str:
        return str(self.first.workspace.id)

    def client(self, **options: Any) -> httpx.Client:
        """Follows no redirects, as Prefect's does not. Clients give up after 5 s; a busy machine needs more."""
        return httpx.Client(base_url=self.base, timeout=15.0, **options)

    def token(self) -> str:
        answer = httpx.post(
            f"{self.base}/v1/applications/token",
            json={"client_id": self.first.client_id, "client_secret": self.first.client_secret},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def bearer(self, **options: Any) -> httpx.Client:
        return self.client(auth=_Renewed(self.token), **options)


class _Renewed(httpx.Auth):
    """A token is good for fifteen minutes, and a whole run's tests may take longer on a busy machine."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token, self._until, self._header = token, 0.0, ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if time.monotonic() > self._until:
            self._header, self._until = f"Bearer {self._token()}", time.monotonic() + 600
        request.headers.setdefault("Authorization", self._header)
        yield request


@contextmanager
def served(folder: Path, *, auth: str = "required", database_url: str | None = None) -> Iterator[Served]:
    """Start, and stop at the end. Jobs are taken by nobody: they stay pending."""
    home = folder / f"home-{uuid.uuid4().hex[:8]}"
    home.mkdir(parents=True)
    settings = ServerSettings(
        home=home,
        keep_runs=5,
        database_url=database_url or f"sqlite:///{home / 'syncline.db'}",
        host="127.0.0.1",
        port=0,
        auth=auth,  # type: ignore[arg-type]
        secret_key=None,
        key_file=home / "secret.key",
        kms_key=None,
        admin_email="admin@localhost",
        admin_password="correct horse battery",
        references=("env:SYNCLINE_VAR_*",),
    )
    control = open_control(settings)
    try:
        first = first_start(control)
        assert first is not None
        with running(control) as base:
            yield Served(base=base, control=control, first=first)
    finally:
        control.close()


@contextmanager
def running(control: Control) -> Iterator[str]:
    """The application over ``control`` on a free port; gives its address."""
    listener = bind("127.0.0.1", 0)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ready = threading.Event()
    server = make_server(control, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(20)
        yield base
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
