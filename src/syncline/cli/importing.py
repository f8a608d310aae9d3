"""``syncline import``: what another system was told to do, as a project file of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from syncline.cli.client import Client
    from syncline.service.declarations.airbyte import Workspace

__all__ = ["app"]

app = typer.Typer(help="Take over what another system was told to do.", no_args_is_help=True)

#: As many as Airbyte gives at once.
_PAGE = 100


@app.callback()
def _group() -> None:
    """Its commands are named by the other system."""


@app.command("airbyte")
def airbyte(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Answers of Airbyte's APIs (JSON): sources, destinations, …"),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--from", help="Ask a running Airbyte: the address of its public API.", metavar="URL")
    ] = None,
    workspace: Annotated[
        str | None, typer.Option("--workspace", help="Only this workspace of Airbyte's.", metavar="ID")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The project file to write.", metavar="FILE")] = Path(
        "airbyte.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a project file of an Airbyte workspace, and say which secrets to set. Nothing is changed anywhere.

    Credentials for --from: AIRBYTE_TOKEN, or AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET, or AIRBYTE_USER and
    AIRBYTE_PASSWORD."""
    import yaml

    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.service.declarations.airbyte import Workspace, imported

    if bool(files) == bool(url):
        raise SynclineError(ErrorKind.CONFIG, "give either files or --from URL", hint="syncline import airbyte --help")
    if out.exists() and not force:
        raise SynclineError(ErrorKind.CONFIG, f"{out} is there already", hint="choose another --out, or --force")
    told = Workspace()
    for path in files or ():
        told.add(_read(path), str(path))
    if url is not None:
        _ask(told, url, workspace)
    found = imported(told)
    if not found.file.get("connections"):
        typer.echo("no connection was found", err=True)
    head = "# Taken over from Airbyte by `syncline import airbyte`.\n"
    if found.secrets:
        head += "# Airbyte shows no secrets. Set these before `syncline check` or `syncline apply`:\n"
        head += "".join(f"#   {variable}  ({place})\n" for place, variable in found.secrets.items())
    out.write_text(head + yaml.safe_dump(found.file, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
    typer.echo(f"{out}: {', '.join(f'{len(each)} {name}' for name, each in found.file.items()) or 'nothing'}")
    for note in found.notes:
        typer.echo(f"  note: {note}")
    for place, variable in found.secrets.items():
        typer.echo(f"  missing: {place} -> export {variable}=…")
    if found.states:
        states = out.with_suffix(".states.json")
        states.write_text(json.dumps(found.states, indent=2), encoding="utf-8")
        typer.echo(f"{states}: positions of {len(found.states)} connections; after syncline apply {out}:")
        typer.echo(f"  syncline import states {states}")


@app.command("states")
def states(
    file: Annotated[Path, typer.Argument(help="As `syncline import airbyte` wrote it.", metavar="FILE")],
    server: Annotated[
        str | None,
        typer.Option("--server", "--url", help="The server's address (SYNCLINE_URL; default http://127.0.0.1:8000)."),
    ] = None,
) -> None:
    """Set the positions of connections on a server, by their names. Exit code 1 when one is refused."""
    from syncline.cli.client import connect
    from syncline.core.errors import SynclineError

    client = connect(server)
    named = {each["name"]: each["connectionId"] for each in _pages(client, "/v1/connections", {})}
    refused = 0
    for name, state in _read(file).items():
        if name not in named:
            typer.echo(f"{name}: the server has no connection of that name", err=True)
            refused += 1
            continue
        body = {"connectionId": named[name], "connectionState": {**state, "connectionId": named[name]}}
        try:
            client.post("/api/v1/state/create_or_update_safe", body)
            typer.echo(f"{name}: goes on from Airbyte's position")
        except SynclineError as error:
            typer.echo(f"{name}: {error.message}", err=True)
            refused += 1
    if refused:
        raise typer.Exit(1)


def _read(path: Path) -> Any:
    from syncline.core.errors import ErrorKind, SynclineError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"{path} cannot be read as JSON: {error}", hint="save an answer of Airbyte's API there"
        ) from None


def _ask(told: Workspace, url: str, workspace: str | None) -> None:
    """Everything, over the public API; states over the config API beside it, where that answers."""
    from syncline.cli.client import connect_airbyte
    from syncline.core.errors import SynclineError

    client = connect_airbyte(url)
    query = {} if workspace is None else {"workspaceIds": workspace}
    for noun in ("sources", "destinations", "connections"):
        told.add(_pages(client, f"/{noun}", query), url)
    config = client.at_config_api()
    for each in told.connections:
        try:
            told.add(config.post("/state/get", {"connectionId": each["connectionId"]}), url)
        except SynclineError as error:
            typer.echo(f"  note: positions are not taken over: {error.message}")
            return


def _pages(client: Client, path: str, query: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    while True:
        page = client.get(path, limit=_PAGE, offset=len(found), **query)["data"]
        found += page
        if len(page) < _PAGE:
            return found
