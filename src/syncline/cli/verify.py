"""``syncline verify``: is the copy right?"""

from __future__ import annotations

from typing import Annotated

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

__all__ = ["verify"]


def verify(
    file: FileArgument,
    connection: ConnectionOption = None,
    stream: Annotated[
        list[str] | None, typer.Option("--stream", "-s", help="A stream (repeat for several; default: all).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare source and destination by content. Exit code 0 only if every stream is equal."""
    from syncline.cli.output import print_error, print_json
    from syncline.service.project import load_project
    from syncline.service.verify import verify_connection
    from syncline.settings import load_settings

    results = []
    for item in load_project(file).only(connection):
        for verdict in verify_connection(item, load_settings(), stream):
            results.append(verdict)
            if as_json:
                continue
            if verdict.error is not None:
                print_error(verdict.error)
            elif verdict.report is not None:
                print(f"{verdict.connection}: {verdict.report.summary()}", flush=True)
    if as_json:
        print_json([r.to_json() for r in results])
    failed = next((r.error for r in results if r.error), None)
    if failed is not None:
        raise typer.Exit(failed.policy.exit_code)
    if not all(r.equal for r in results):
        raise typer.Exit(1)
