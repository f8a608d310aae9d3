"""``syncline connectors``: what is installed and how it is configured."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer

from syncline.cli.options import JsonOption

__all__ = ["app"]

app = typer.Typer(help="List connectors and show their configuration.", no_args_is_help=True)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the installed connectors and what each still needs."""
    from syncline.cli.output import print_json, table
    from syncline.sdk.connector import Role, connectors

    specs = [s for role in get_args(Role) for s in connectors(role).values()]
    if as_json:
        print_json([{"name": s.name, "role": s.role, "title": s.title, "missing": s.missing_drivers()} for s in specs])
        return
    rows = []
    for s in specs:
        ready = f"needs: pip install 'syncline[{s.extra}]'" if s.missing_drivers() else "ready"
        rows.append([s.name, s.role, ready, s.summary])
    table(["NAME", "ROLE", "STATUS", "WHAT"], rows)


@app.command()
def spec(
    name: Annotated[str, typer.Argument(help="Connector name.")],
    role: Annotated[str | None, typer.Option(help="source or destination, where a name is both.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a connector's settings: a table, or its JSON Schema with --json."""
    from syncline.cli.output import print_json
    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.sdk.connector import Role, connector, connectors

    if role not in (None, "source", "destination"):
        raise SynclineError(ErrorKind.CONFIG, f"unknown role {role!r}", hint="--role source or --role destination")
    roles: list[Role] = [r for r in get_args(Role) if (r == role if role else name in connectors(r))]
    specs = [connector(r, name) for r in roles] or [connector("source", name)]
    if as_json:
        documents = {s.role: s.config_model().model_json_schema() for s in specs}
        print_json(documents[specs[0].role] if len(specs) == 1 else documents)
        return
    for s in specs:
        print(f"{s.title} ({s.role}): {s.summary}")
        for field_name, info in s.config_model().model_fields.items():
            print(f"  {field_name:24} {_kind(info)}")
            if info.description:
                print(f"  {'':24} {info.description}")


def _kind(info: Any) -> str:
    name = getattr(info.annotation, "__name__", None) or str(info.annotation).replace("typing.", "")
    if info.is_required():
        return f"{name}, required"
    return f"{name}, default {info.get_default(call_default_factory=True)!r}"
