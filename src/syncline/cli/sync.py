"""``syncline sync``: run the connections of a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

if TYPE_CHECKING:
    from syncline.engine.ports import EventSink
    from syncline.service.project import Connection
    from syncline.service.sync import SyncOutcome

__all__ = ["sync"]


def sync(
    file: FileArgument,
    connection: ConnectionOption = None,
    as_json: JsonOption = False,
    attempts: Annotated[int, typer.Option(min=1, max=20, help="Tries for errors that may pass by themselves.")] = 3,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on applying the changes of the source's log until stopped (Ctrl-C).")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve Prometheus metrics on this port of 127.0.0.1 while it runs."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Print traces of defects.")] = False,
) -> None:
    """Run the connections of a file once: read what is new, commit it, say what was done. Or follow a log."""
    from syncline.cli.output import print_json
    from syncline.cli.progress import make_progress, plain_progress
    from syncline.jobs.launcher import InProcessLauncher, Launcher, ProcessLauncher
    from syncline.service.fan_out import sync_parts
    from syncline.service.project import load_project
    from syncline.service.sync import sync_connection
    from syncline.service.telling import listening
    from syncline.settings import load_settings

    settings = load_settings()
    project = load_project(file)
    chosen = project.only(connection)
    groups = {item.name: [each for each in chosen if each.name == item.name] for item in chosen}
    if follow and len(groups) > 1:
        raise typer.BadParameter("several connections cannot be followed by one command: choose one by --connection")
    # One connection runs in this process; several get a process each: what kills one leaves the others alone.
    launcher: Launcher = InProcessLauncher() if len(chosen) == 1 else ProcessLauncher()
    outcomes: list[SyncOutcome] = []
    with listening(settings, project.alerts, file, metrics_port=metrics_port) as listener:
        for parts in groups.values():
            item = parts[0]
            if item.destination_name is not None:
                sinks = {p.label: plain_progress(p.label, quiet=as_json, debug=debug, follow=follow) for p in parts}
                done = sync_parts(
                    parts,
                    settings,
                    partial(_sink_of, sinks),
                    follow=follow,
                    max_attempts=attempts,
                    listener=listener,
                )
            else:
                with make_progress(item.name, quiet=as_json, debug=debug, follow=follow) as emit:
                    done = [
                        sync_connection(
                            item, settings, launcher, emit, follow=follow, max_attempts=attempts, listener=listener
                        )
                    ]
            outcomes += done
            for outcome in [] if as_json else done:
                _report(outcome)
    if as_json:
        documents = [
            {"connection": o.connection, "sync_id": o.sync_id, "attempts": o.attempts, **o.result.to_json()}
            for o in outcomes
        ]
        print_json(documents[0] if len(documents) == 1 else documents)
    failed = next((o.result.error for o in outcomes if o.result.error), None)
    if failed is not None:
        raise typer.Exit(failed.policy.exit_code)


def _sink_of(sinks: Mapping[str, EventSink], part: Connection) -> EventSink:
    return sinks[part.label]


def _report(outcome: SyncOutcome) -> None:
    from syncline.cli.output import human_bytes, human_seconds, print_error

    result = outcome.result
    for stream in result.streams:
        if stream.error is not None:
            print_error(stream.error)
    if result.error is not None and all(s.error is None for s in result.streams):
        print_error(result.error)
    done = [s for s in result.streams if s.status == "succeeded"]
    rows = sum(s.rows_written for s in done)
    quarantined = sum(s.rows_quarantined for s in result.streams)
    size = sum(s.bytes_read for s in result.streams)
    rate = f", {rows / result.seconds:,.0f} rows/s" if rows and result.seconds > 0.5 else ""
    print(
        f"{outcome.connection}: {'succeeded' if outcome.succeeded else 'FAILED'}: "
        f"{len(done)} of {len(result.streams)} streams, {rows:,} rows ({human_bytes(size)}) "
        f"in {human_seconds(result.seconds)}{rate}" + (f"; {quarantined:,} rows in quarantine" if quarantined else "")
    )
