"""``syncline lag`` and ``syncline forget``: how far behind a log we are, and leaving its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

if TYPE_CHECKING:
    from syncline.service.lag import LagReport

__all__ = ["forget", "lag"]


def lag(
    file: FileArgument,
    connection: ConnectionOption = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="Exit code 1 when further behind than this.")
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", help="Exit code 1 when the source keeps more than this for us.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how far behind the source's log a connection is, and what the source keeps for it. For health checks."""
    from syncline.cli.output import print_json
    from syncline.service.lag import read_lag
    from syncline.service.project import load_project
    from syncline.settings import load_settings

    settings = load_settings()
    reports = [read_lag(item, settings) for item in load_project(file).only(connection)]
    if as_json:
        print_json([r.to_json() for r in reports])
    else:
        for report in reports:
            print(_line(report))
    if any(_too_far(r, max_seconds, max_bytes) for r in reports):
        raise typer.Exit(1)


def _line(report: LagReport) -> str:
    from syncline.cli.output import human_bytes

    behind = "never synced" if report.seconds is None else f"{report.seconds:.1f} s behind"
    size = "" if not report.bytes else f" ({human_bytes(report.bytes)} of log)"
    held = "".join(f"\n  stopped: {name}: {why}" for name, why in report.held.items())
    spool = f", {human_bytes(report.spool_bytes)} in our spool" if report.spool_bytes else ""
    return (
        f"{report.connection}: {behind}{size}; slot {report.slot}, "
        f"the source keeps {human_bytes(report.retained_bytes)} for us{spool}{held}"
    )


def _too_far(report: LagReport, max_seconds: float | None, max_bytes: int | None) -> bool:
    if report.slot == "lost" or report.held:
        return True
    if max_seconds is not None and (report.seconds is None or report.seconds > max_seconds):
        return True
    return max_bytes is not None and report.retained_bytes > max_bytes


def forget(file: FileArgument, connection: ConnectionOption = None, as_json: JsonOption = False) -> None:
    """Remove from the source what was made there for a connection: slot, publication. The destination stays."""
    from syncline.cli.output import print_json
    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.service.lag import forget_source
    from syncline.service.project import load_project
    from syncline.settings import load_settings

    settings = load_settings()
    chosen = load_project(file).only(connection)
    for item in chosen:
        if set(item.siblings) - {other.destination_name for other in chosen if other.name == item.name}:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the other destinations of {item.name!r} read from the same slot as {item.destination_name!r}",
                hint=f"take it out of the file's destinations, or leave the source for all: --connection {item.name}",
            )
    done = {item.name: forget_source(item, settings) for item in {each.name: each for each in chosen}.values()}
    if as_json:
        print_json(done)
        return
    for name, lines in done.items():
        print("\n".join(f"{name}: {line}" for line in lines) or f"{name}: nothing of ours is at the source")
