"""``syncline quarantine``: rows that were set aside, looked at, written after all, or dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

if TYPE_CHECKING:
    from syncline.service.project import Connection

__all__ = ["app"]

app = typer.Typer(
    help="Rows that a destination could not hold or that broke a gate: look at them, write them after all, drop them.",
    no_args_is_help=True,
)

StreamsOption = Annotated[
    list[str] | None, typer.Option("--stream", "-s", help="A stream (repeat for several; default: all).")
]
StreamOption = Annotated[str, typer.Option("--stream", "-s", help="The stream.")]
IdsOption = Annotated[
    list[str] | None, typer.Option("--id", help="A row by its id, as `show` prints it (repeat for several).")
]
_WIDEST = 60


@app.command("list")
def list_(
    file: FileArgument, connection: ConnectionOption = None, stream: StreamsOption = None, as_json: JsonOption = False
) -> None:
    """How many rows lie in quarantine, by stream and reason."""
    from syncline.cli.output import print_json, table
    from syncline.service.project import load_project
    from syncline.service.quarantine import list_quarantine
    from syncline.settings import load_settings

    settings = load_settings()
    found = {c.label: list_quarantine(c, settings, stream or None) for c in load_project(file).only(connection)}
    if as_json:
        print_json({name: [s.to_json(rows=False) for s in streams] for name, streams in found.items()})
        return
    for name, streams in found.items():
        rows = [[s.stream, c or "-", r, f"{n:,}"] for s in streams for c, r, n in s.reasons()]
        print(f"{name}: {sum(len(s.entries) for s in streams):,} rows in quarantine")
        if rows:
            table(["STREAM", "COLUMN", "REASON", "ROWS"], rows)


@app.command()
def show(
    file: FileArgument,
    stream: StreamOption,
    connection: ConnectionOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """The rows of one stream with their values, oldest first."""
    from syncline.cli.output import print_json
    from syncline.service.project import load_project
    from syncline.service.quarantine import list_quarantine
    from syncline.settings import load_settings

    for item in load_project(file).only(connection):
        (found,) = list_quarantine(item, load_settings(), [stream])
        if as_json:
            print_json(found.to_json(rows=True))
            continue
        for each in found.entries[:limit]:
            replayable = "" if each.original else " (its bytes were not kept)"
            print(f"{each.id or '(no id)'}  {each.at}  run {each.sync_id}, partition {each.partition}{replayable}")
            print(f"  {each.column or '-'}: {each.reason}")
            for column, value in each.record.items():
                text = "NULL" if value is None else repr(value)
                print(f"    {column} = {text if len(text) <= _WIDEST else text[: _WIDEST - 1] + '…'}")
        if len(found.entries) > limit:
            print(f"… and {len(found.entries) - limit:,} more: --limit, or --json for all")


@app.command()
def replay(
    file: FileArgument,
    stream: StreamOption,
    ids: IdsOption = None,
    connection: ConnectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write rows after all, by the normal path and each once: after the table, the mapping or the gate was mended."""
    from syncline.cli.output import print_json
    from syncline.service.quarantine import replay_quarantined
    from syncline.settings import load_settings

    outcome = replay_quarantined(_only(file, connection), load_settings(), stream, ids or None)
    if as_json:
        print_json(outcome.to_json())
        return
    print(
        f"{stream}: {outcome.written:,} rows written" + (f", {outcome.aside:,} refused again" if outcome.aside else "")
    )
    for stays in (outcome.failing, outcome.superseded, outcome.unreadable):
        for number, reason in stays.items():
            print(f"  {number} stays: {reason}")


@app.command()
def drop(
    file: FileArgument,
    stream: StreamOption,
    ids: IdsOption = None,
    every: Annotated[bool, typer.Option("--all", help="All rows of the stream.")] = False,
    connection: ConnectionOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove rows from quarantine for good."""
    from syncline.cli.output import print_json
    from syncline.service.quarantine import drop_quarantined
    from syncline.settings import load_settings

    if bool(ids) == every:
        raise typer.BadParameter("name rows by --id, or all of them by --all")
    chosen = _only(file, connection)
    if not yes:
        typer.confirm(f"Drop {'all rows' if every else f'{len(ids or [])} rows'} of {stream} for good?", abort=True)
    dropped = drop_quarantined(chosen, load_settings(), stream, ids or None)
    if as_json:
        print_json({"stream": stream, "dropped": dropped})
    else:
        print(f"{stream}: {dropped:,} rows dropped")


def _only(file: FileArgument, connection: str | None) -> Connection:
    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.service.project import load_project

    chosen = load_project(file).only(connection)
    if len(chosen) != 1:
        raise SynclineError(ErrorKind.CONFIG, "the file has several connections", hint="name one with --connection")
    return chosen[0]
