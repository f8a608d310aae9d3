"""``syncline alerts``: who is told when something needs a person."""

from __future__ import annotations

import typer

from syncline.cli.options import FileArgument, JsonOption

__all__ = ["app"]

app = typer.Typer(help="Who is told when something needs a person.", no_args_is_help=True)


@app.callback()
def _alerts() -> None:
    """Who is told when something needs a person."""


@app.command("test")
def send_test(file: FileArgument, as_json: JsonOption = False) -> None:
    """Send a message to each channel of a project file now. Exit code 1 unless all arrive."""
    from syncline.cli.output import print_error, print_json
    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.service.project import load_project
    from syncline.service.telling import test_channels

    alerts = load_project(file).alerts
    if alerts is None or not alerts.channels:
        raise SynclineError(
            ErrorKind.CONFIG, f"{file} has no alert channels", hint="add alerts: {channels: [json://host/path]}"
        )
    outcomes = test_channels(alerts)
    if as_json:
        print_json([{"channel": kind, "error": error.to_json() if error else None} for kind, error in outcomes])
    else:
        for kind, error in outcomes:
            print(f"{kind}: {'FAILED' if error else 'sent'}")
            if error is not None:
                print_error(error)
    if any(error is not None for _, error in outcomes):
        raise typer.Exit(1)
