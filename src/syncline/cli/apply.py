"""``syncline apply`` and ``syncline export``: a project file and a server's workspace, made equal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncline.cli.options import FileArgument, JsonOption, ServerOption, WorkspaceOption

if TYPE_CHECKING:
    from syncline.cli.client import Client

__all__ = ["apply", "apply_document", "export"]

_SIGNS = {"create": "+", "change": "~", "replace": "!", "remove": "-"}


def apply(
    file: FileArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 when the server differs from the file.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove also what the workspace has and no file has made.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Make a server's sources, destinations and connections what the file says. Shows the plan and asks first."""
    from syncline.cli.client import connect
    from syncline.service.declarations.document import document_of
    from syncline.service.project import load_project

    document = document_of(load_project(file))
    apply_document(
        connect(server),
        document,
        workspace,
        yes=yes,
        check=check,
        prune=prune,
        as_json=as_json,
        again=f"syncline apply {file}",
    )


def export(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write to this file (default: print).", metavar="FILE")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Write the project file of a server's workspace. Secrets are masks, which mean "unchanged" to this server."""
    import yaml

    from syncline.cli.client import connect
    from syncline.cli.output import print_json
    from syncline.service.declarations.document import file_of

    found = file_of(connect(server).get("/api/syncline/v1/declarations", workspaceId=workspace))
    if as_json:
        print_json(found)
        return
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=110) if found else ""
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    typer.echo(f"{out}: {', '.join(f'{len(each)} {name}' for name, each in found.items()) or 'nothing'}")


def apply_document(
    client: Client,
    document: dict[str, Any],
    workspace: str | None,
    *,
    yes: bool,
    check: bool,
    prune: bool,
    as_json: bool,
    again: str,
) -> None:
    """Plan, show, ask, do. ``again`` is the command that goes on when a step fails."""
    from syncline.cli.output import print_json

    body = {"document": document, "prune": prune, **({"workspaceId": workspace} if workspace else {})}
    plan = client.post("/api/syncline/v1/declarations/plan", body)
    if as_json and (check or not plan["changes"]):
        print_json(plan)
    elif not as_json:
        _show(plan)
    if check:
        raise typer.Exit(1 if plan["changes"] else 0)
    if not plan["changes"]:
        return
    if not yes:
        typer.confirm("Apply?", abort=True, err=as_json)
    try:
        done = client.post("/api/syncline/v1/declarations/apply", {**body, "digest": plan["digest"]})
    except BaseException:
        typer.echo(f"stopped on the way; what is done stays, and {again} goes on from there", err=True)
        raise
    if as_json:
        print_json(done)
    else:
        typer.echo(f"applied: {_count(done)}")


def _show(plan: dict[str, Any]) -> None:
    for change in plan["changes"]:
        typer.echo(f"{_SIGNS[change['action']]} {change['action']} {change['noun']} {change['name']}")
        for line in change["details"]:
            typer.echo(f"    {line}")
        for line in change["effects"]:
            typer.echo(f"    => {line}")
    for each in plan["leftAlone"]:
        typer.echo(f"  left alone: {each} is not in the file, and no file has made it (--prune removes it)")
    typer.echo(f"plan: {_count(plan)}")


def _count(plan: dict[str, Any]) -> str:
    words = {"create": "created", "change": "changed", "replace": "replaced", "remove": "removed"}
    found = []
    for action, word in words.items():
        count = sum(change["action"] == action for change in plan["changes"])
        if count:
            found.append(f"{count} {word}")
    found.append(f"{plan['unchanged']} unchanged")
    return ", ".join(found)
