"""The command line: parse, call a use case, render. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import gc
import os
import sys

import typer

from syncline import __version__
from syncline.cli import (
    alerts,
    apply,
    changes,
    check,
    connectors,
    demo,
    discover,
    doctor,
    importing,
    init,
    jobs,
    lag,
    logs,
    quality,
    quarantine,
    schema,
    secrets,
    server,
    state,
    sync,
    verify,
)
from syncline.cli.output import fail_with

__all__ = ["app", "main"]

app = typer.Typer(
    name="syncline",
    help="Replicate data from databases and files into lakes, warehouses and databases: exactly once, and provably.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 not equal or not fit, 2 wrong usage, 3-12 by kind of error (docs/exit-codes.md).",
)
app.command("init")(init.init)
app.command("check")(check.check)
app.command("discover")(discover.discover)
app.command("sync")(sync.sync)
app.command("verify")(verify.verify)
app.add_typer(state.app, name="state")
app.command("changes")(changes.changes)
app.command("backfill")(changes.backfill)
app.add_typer(quality.app, name="quality")
app.add_typer(quarantine.app, name="quarantine")
app.command("lag")(lag.lag)
app.command("forget")(lag.forget)
app.add_typer(connectors.app, name="connectors")
app.command("server")(server.server)
app.add_typer(jobs.connections_app, name="connections")
app.add_typer(jobs.app, name="jobs")
app.command("logs")(logs.logs)
app.command("apply")(apply.apply)
app.command("export")(apply.export)
app.add_typer(importing.app, name="import")
app.add_typer(secrets.app, name="secrets")
app.add_typer(alerts.app, name="alerts")
app.command("doctor")(doctor.doctor)
app.command("diagnose")(doctor.diagnose)
app.command("schema")(schema.schema)
app.command("demo")(demo.demo)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"syncline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point of the ``syncline`` command: our errors become one line and an exit code, others a defect report."""
    from syncline.core.errors import ErrorKind, SynclineError  # needs no driver; here so that --help stays quick

    # Python's default collects a thousand times while modules are loaded, which is an eighth of a short command's time.
    gc.set_threshold(10_000, 20, 20)
    try:
        app()
    except SynclineError as error:
        sys.exit(fail_with(error))
    except KeyboardInterrupt:
        print("interrupted; run again and it goes on where it was", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:  # the last resort: a defect is an error with a kind too, not a trace
        if os.environ.get("SYNCLINE_DEBUG"):
            raise
        hint = "this is a defect of Syncline: please report it with the trace that SYNCLINE_DEBUG=1 prints"
        sys.exit(fail_with(SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}", hint=hint)))
