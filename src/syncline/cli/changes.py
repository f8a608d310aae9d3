"""``syncline changes`` and ``syncline backfill``: what a changed source means, and old rows of a new column."""

from __future__ import annotations

from typing import Annotated

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

__all__ = ["backfill", "changes"]


def changes(
    file: FileArgument,
    connection: ConnectionOption = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="You have looked at them: the next run goes on with them.")
    ] = False,
    stream: Annotated[
        list[str] | None, typer.Option("--stream", "-s", help="Accept those of this stream (repeat for several).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the source's tables changed since the last run, and which streams wait for you to accept it."""
    from syncline.cli.output import print_error, print_json
    from syncline.service.project import load_project
    from syncline.service.schema_changes import accept_changes, look_for_changes
    from syncline.settings import load_settings

    settings = load_settings()
    found = {
        item.label: accept_changes(item, settings, stream) if accept else look_for_changes(item, settings)
        for item in load_project(file).only(connection)
    }
    if as_json:
        print_json({name: seen.to_json() for name, seen in found.items()})
        return
    for name, seen in found.items():
        if not seen.changes:
            print(f"{name}: nothing has changed since the last run")
        for changed, words in seen.changes:
            print(f"{name}: {changed}: {words}")
        if accept:
            print(f"{name}: accepted: {', '.join(seen.accepted) or 'nothing was waiting'}")
            continue
        for error in seen.refused:
            print_error(error)


def backfill(
    file: FileArgument,
    stream: Annotated[str, typer.Option("--stream", "-s", help="The stream.")],
    column: Annotated[list[str], typer.Option("--column", help="The column (repeat for several).")],
    connection: ConnectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fill a new column in the rows that are at the destination: reads key and column alone, and merges them."""
    from syncline.cli.output import print_json
    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.service.project import load_project
    from syncline.service.schema_changes import backfill_columns
    from syncline.settings import load_settings

    chosen = load_project(file).only(connection)
    if len(chosen) != 1:
        raise SynclineError(ErrorKind.CONFIG, "the file has several connections", hint="name one with --connection")
    done = backfill_columns(chosen[0], load_settings(), stream, column)
    if as_json:
        print_json({"rows": done.rows, "absent": done.absent, "quarantined": done.quarantined})
        return
    absent = f"; {done.absent:,} rows are not there yet, the next sync brings them" if done.absent else ""
    aside = f"; {done.quarantined:,} rows in quarantine" if done.quarantined else ""
    print(f"{chosen[0].name}: {stream}: {', '.join(column)} filled in {done.rows - done.absent:,} rows{absent}{aside}")
