"""``syncline state``: the ledger of each stream, shown, set and reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

if TYPE_CHECKING:
    from syncline.service.state import StreamState

__all__ = ["app"]

app = typer.Typer(
    help="Show, reset or set how far each stream was synced. The ledger at the destination is the truth.",
    no_args_is_help=True,
)

StreamsOption = Annotated[
    list[str] | None, typer.Option("--stream", "-s", help="A stream (repeat for several; default: all).")
]


@app.command()
def show(file: FileArgument, connection: ConnectionOption = None, as_json: JsonOption = False) -> None:
    """Show the committed state of each stream."""
    from syncline.service.project import load_project
    from syncline.service.state import read_states
    from syncline.settings import load_settings

    found = {item.label: read_states(item, load_settings()) for item in load_project(file).only(connection)}
    _print(found, as_json)


@app.command()
def reset(
    file: FileArgument,
    connection: ConnectionOption = None,
    stream: StreamsOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget how far streams were read: the next sync copies them anew and swaps the copy in. Deletes nothing now."""
    from syncline.service.project import load_project
    from syncline.service.state import reset_state
    from syncline.settings import load_settings

    chosen = load_project(file).only(connection)
    if not yes:
        what = ", ".join(stream) if stream else "all streams"
        typer.confirm(f"Read {what} of {', '.join(c.label for c in chosen)} anew at the next sync?", abort=True)
    _print({item.label: reset_state(item, load_settings(), stream or None) for item in chosen}, as_json)


@app.command("set")
def set_(
    file: FileArgument,
    stream: Annotated[str, typer.Option("--stream", "-s", help="The stream.")],
    position: Annotated[
        str, typer.Option("--position", help="The position as JSON, in the form that `show --json` prints.")
    ],
    connection: ConnectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the position from which the next incremental sync of a stream reads."""
    import json

    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.service.project import load_project
    from syncline.service.state import set_state
    from syncline.settings import load_settings

    try:
        parsed = json.loads(position)
    except json.JSONDecodeError as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"--position is not JSON: {error}", hint="copy the form from: syncline state show --json"
        ) from error
    if not isinstance(parsed, dict):
        raise SynclineError(
            ErrorKind.CONFIG, "--position must be a JSON object", hint="see: syncline state show --json"
        )
    chosen = load_project(file).only(connection)
    if len(chosen) != 1:
        raise SynclineError(ErrorKind.CONFIG, "the file has several connections", hint="name one with --connection")
    _print({chosen[0].label: set_state(chosen[0], load_settings(), stream, parsed)}, as_json)


def _print(found: dict[str, list[StreamState]], as_json: bool) -> None:
    import json

    from syncline.cli.output import print_json, table

    if as_json:
        print_json({name: [s.to_json() for s in states] for name, states in found.items()})
        return
    for name, states in found.items():
        print(f"{name}:")
        rows = []
        for state in states:
            j = state.to_json()
            if not j["synced"]:
                rows.append([j["stream"], "never synced", "-", "-", "-"])
                continue
            phase = j["phase"] if j["phase"] == "idle" else f"reading {j['partitions_done']}/{j['partitions']}"
            position = json.dumps(j["position"], ensure_ascii=False) if j["position"] is not None else "-"
            short = position if len(position) <= 100 else position[:99] + "…"
            rows.append([j["stream"], phase, str(j["generation"]), str(j["sequence"]), short])
        table(["STREAM", "PHASE", "GENERATION", "SEQUENCE", "POSITION"], rows)
