"""``syncline connectors``: what is installed and how it is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from syncline.cli.connectors_own import conform, new
from syncline.cli.options import JsonOption

if TYPE_CHECKING:
    from syncline.service.connectors import Installable

__all__ = ["app"]

app = typer.Typer(help="List, install, write and test connectors, and show their configuration.", no_args_is_help=True)
app.command()(new)
app.command("test")(conform)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the built-in connectors and what each still needs, and those that can be installed."""
    from syncline.cli.output import print_json, table
    from syncline.sdk.connector import Role, connectors
    from syncline.service.connectors import installables

    specs = [s for role in get_args(Role) for s in connectors(role).values()]
    others = installables()
    if as_json:
        print_json(
            [
                *({"name": s.name, "role": s.role, "title": s.title, "missing": s.missing_drivers()} for s in specs),
                *(i.to_json() for i in others),
            ]
        )
        return
    rows = []
    for s in specs:
        ready = f"needs: pip install 'syncline[{s.extra}]'" if s.missing_drivers() else "ready"
        rows.append([s.name, s.role, ready, s.summary])
    table(["NAME", "ROLE", "STATUS", "WHAT"], [*rows, *map(_row, others)])


@app.command()
def search(word: Annotated[str, typer.Argument(help="Part of a name.")] = "", as_json: JsonOption = False) -> None:
    """Search the connectors that can be installed."""
    from syncline.cli.output import print_json, table
    from syncline.service.connectors import installables

    found = installables(word)
    if as_json:
        print_json([i.to_json() for i in found])
    else:
        table(["NAME", "ROLE", "STATUS", "WHAT"], [_row(i) for i in found])


@app.command()
def info(name: Annotated[str, typer.Argument(help="Connector name or package.")], as_json: JsonOption = False) -> None:
    """Show what the catalog says of a connector that can be installed."""
    from syncline.cli.output import print_json
    from syncline.service.connectors import describe

    found = describe(name).to_json()
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        print(f"{key:12} {', '.join(value) or '-' if isinstance(value, list) else value}")


@app.command()
def install(
    name: Annotated[str, typer.Argument(help="Name of the catalog, or PyPI package.")],
    version: Annotated[str | None, typer.Option(help="Exact version (default: the catalog's).")] = None,
    override: Annotated[
        list[str] | None, typer.Option(help="Requirement that replaces one of the package's metadata; repeatable.")
    ] = None,
    python: Annotated[str | None, typer.Option(help="Version (3.11) or path of the Python to use.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Install a connector into an environment of its own."""
    import sys

    from syncline.cli.output import print_json
    from syncline.service.connectors import install_connector

    done = install_connector(
        name,
        version=version,
        overrides=override,
        python=python,
        tell=lambda text: print(text, file=sys.stderr),
    )
    if as_json:
        print_json(done)
    else:
        print(f"{done['package']} {done['version']} on Python {done['python']}: {done['executable']}")


@app.command()
def update(
    name: Annotated[str | None, typer.Argument(help="Name of the catalog (default: all that are installed).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Install the catalog's version where another one is installed; the others stay."""
    import sys

    from syncline.cli.output import print_json
    from syncline.service.connectors import update_connectors

    done = update_connectors(name, lambda text: print(text, file=sys.stderr))
    if as_json:
        print_json(done)
    else:
        for each in done:
            print(f"{each['package']} {each['version']}: {each['executable']}")
        if not done:
            print("nothing to update")


@app.command("import")
def import_(
    registry: Annotated[typer.FileBinaryRead, typer.Argument(help="JSON file of a registry, as Airbyte publishes it.")],
) -> None:
    """Add the sources of an Airbyte registry to the catalog of this machine."""
    from syncline.service.connectors import import_connectors

    print(f"{import_connectors(registry.read())} connectors")


def _row(one: Installable) -> list[str]:
    e = one.entry
    other = f"exists as {e.form}" if e.form != "pypi" else f"syncline connectors install {e.name}"
    status = "installed" if one.ready else other
    return [e.name, "source", status, f"{e.title} ({e.package} {e.version}, {e.licence}; type: airbyte)"]


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
    if not roles and role != "destination":
        from syncline.service.connectors import specification_of

        _show(specification_of(name), as_json=as_json)
        return
    specs = [connector(r, name) for r in roles] or [connector("destination", name)]
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


def _show(specification: dict[str, Any], *, as_json: bool) -> None:
    """What a connector of others says of its configuration."""
    from syncline.cli.output import print_json

    if as_json:
        print_json(specification)
        return
    schema = specification.get("connectionSpecification") or {}
    needed = schema.get("required") or []
    print(f"{schema.get('title', 'configuration')} (type: airbyte, under config:)")
    for name, value in (schema.get("properties") or {}).items():
        kind = value.get("type") or ("one of" if "oneOf" in value else "any")
        marks = [", required"] * (name in needed) + [", secret"] * bool(value.get("airbyte_secret"))
        print(f"  {name:24} {kind}{''.join(marks)}")
        if value.get("description"):
            print(f"  {'':24} {' '.join(str(value['description']).split())[:200]}")


def _kind(info: Any) -> str:
    name = getattr(info.annotation, "__name__", None) or str(info.annotation).replace("typing.", "")
    if info.is_required():
        return f"{name}, required"
    return f"{name}, default {info.get_default(call_default_factory=True)!r}"
