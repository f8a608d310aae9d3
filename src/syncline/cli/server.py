"""``syncline server``: the API, the scheduler and the supervisor in one process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from syncline.service.first_start import FirstStart
    from syncline.settings import ServerSettings

__all__ = ["server"]


def server(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (SYNCLINE_HOST; default 127.0.0.1).", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port; 0 takes a free one (SYNCLINE_PORT; default 8000).", show_default=False
        ),
    ] = None,
) -> None:
    """Serve the APIs and run connections by their schedules. Ctrl-C or SIGTERM ends it gracefully."""
    import logging

    from syncline.cli.extras import need_server_extra

    need_server_extra()
    from syncline.api.serve import bind, serve
    from syncline.service.auth import check_bind
    from syncline.service.control import open_control
    from syncline.service.first_start import first_start
    from syncline.settings import load_server_settings
    from syncline.wiring import make_machinery

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    _take_signals()
    settings = load_server_settings(host=host, port=port)
    check_bind(settings)
    listener = bind(settings.host, settings.port)
    settings = load_server_settings(host=settings.host, port=listener.getsockname()[1])  # the one that port 0 took
    control = open_control(settings)
    try:
        first = first_start(control)
        machinery = make_machinery(control)
        machinery.start()
        try:
            number = listener.getsockname()[1]
            serve(control, listener, lambda: _tell(settings, number, first))
        finally:
            machinery.stop()
    finally:
        control.close()
    _leave()


def _leave() -> None:
    """Without the interpreter's long farewell: all that matters is written, and threads that still wait for somebody
    else's database have nothing more to say."""
    import logging
    import os

    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _take_signals() -> None:
    """The first SIGTERM or SIGINT ends the server gracefully: uvicorn takes it while it serves, and gives it back here
    when it has ended, where there is nothing left to do. One more ends it at once; attempts are found again."""
    import os
    import signal

    seen: list[int] = []

    def take(number: int, _: object) -> None:
        seen.append(number)
        if len(seen) > 1:
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, take)
    signal.signal(signal.SIGINT, take)


def _tell(settings: ServerSettings, port: int, first: FirstStart | None) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    open_ = settings.auth == "none"
    base = f"http://{host}:{port}"
    lines = [
        f"Syncline listens on {base}",
        f"  public API   {base}/api/public/v1   (Airbyte's clients; also {base}/v1)",
        f"  config API   {base}/api/v1",
        f"  own API      {base}/api/syncline/v1",
        f"  home         {settings.home}",
        f"  login        {'none: everybody who reaches the port may do everything' if open_ else 'required'}",
    ]
    if first is not None:
        lines += [
            "First start. These are shown once and stored nowhere in the clear; write them down:",
            f"  workspace      {first.workspace.id}",
            f"  email          {first.email}",
            f"  password       {first.password or '(as given by SYNCLINE_ADMIN_PASSWORD)'}",
            f"  client id      {first.client_id}",
            f"  client secret  {first.client_secret}",
        ]
    print("\n".join(lines), flush=True)
